"""Networks for texts: padding changes nothing, ONNX says the same at every size, and what does not fit is refused."""

import numpy as np
import pytest

from builder.errors import ConfigError, UserError
from builder.export import onnx_format, source
from builder.networks import text
from builder.recipes import text as recipes

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("transformers")
from tests.recipes import folders  # noqa: E402  needs transformers

TOKENS = {"kind": "tokens", "vocabulary": 70, "pad": 69}
TERMS = recipes.terms(["a few words"], ["document"])
SIZES = [(1, 1), (1, 9), (5, 16), (3, 40)]


def linear(classes=2):
    torch.manual_seed(0)
    module = text.linear(TERMS, classes)
    with torch.no_grad():
        for values in (module.backbone.weight, module.backbone.bias):
            values.normal_()
        module.backbone.idf.uniform_(0.5, 3)
    return module.eval()


def recurrent(kind, **arguments):
    torch.manual_seed(0)
    return text.recurrent(TOKENS, 3, kind, embedding=12, width=8, **arguments).eval()


def transformer(folder, kind="wordpiece"):
    torch.manual_seed(0)
    folders.write(folder, kind, weights=True)
    recipe = recipes.tokens([], ["document"], length=32, side="right", vocabulary=0, folder=folder)
    return text.transformer(folder, recipe, 3, pretrained=True), recipe


def ports(names, second="int64"):
    return tuple(source.Port(name, kind, ("batch", names[2])) for name, kind in zip(names[:2], ("int64", second), strict=True))


def as_source(module, name):
    if name == "linear":
        return source.Source(module, ports(("terms", "counts", "terms"), "float32"))
    return source.Source(module, ports(("input_ids", "attention_mask", "tokens")))


def feeds(name, rows, width, pad, seed=0):
    """Rows of every length from one to `width`, padded at the right."""
    draw = np.random.default_rng(seed)
    mask = np.arange(width) < draw.integers(1, width + 1, (rows, 1))
    mask[0] = True
    if name == "linear":
        counts = draw.integers(1, 5, (rows, width)).astype(np.float32) * mask
        return {"terms": draw.integers(0, 8000, (rows, width)) * mask, "counts": counts}
    return {"input_ids": np.where(mask, draw.integers(5, 60, (rows, width)), pad), "attention_mask": mask.astype(np.int64)}


MADE = {
    "linear": lambda _: (linear(), 0),
    "lstm": lambda _: (recurrent("lstm"), 69),
    "gru": lambda _: (recurrent("gru", layers=2), 69),
    "transformer": lambda folder: (transformer(folder)[0], 0),
    "decoder": lambda folder: (transformer(folder, "decoder")[0], 2),
}
SLOW = [name if name == "linear" else pytest.param(name, marks=pytest.mark.slow) for name in MADE]


@pytest.mark.parametrize("name", MADE)
def test_padding_changes_nothing(tmp_path, name):
    module, pad = MADE[name](tmp_path)
    given = [torch.from_numpy(values) for values in feeds(name, 6, 11, pad).values()]
    with torch.inference_mode():
        narrow = module(*given)
        assert narrow.shape == (6, 2 if name == "linear" else 3)
        assert len({tuple(row) for row in narrow.tolist()}) == 6
        wide = [torch.nn.functional.pad(one, (0, 21), value=fill) for one, fill in zip(given, (pad, 0), strict=True)]
        torch.testing.assert_close(module(*wide), narrow, atol=1e-5, rtol=1e-5)
        for row in range(6):
            length = int((given[1][row] > 0).sum())
            torch.testing.assert_close(
                module(*(one[row : row + 1, :length] for one in given))[0], narrow[row], atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("name", SLOW)
def test_onnx_says_the_same_at_every_size(tmp_path, name):
    module, pad = MADE[name](tmp_path)
    traced = as_source(module, name)
    session = onnxruntime.InferenceSession(onnx_format.trace(traced).whole().SerializeToString())
    for rows, width in SIZES:
        given = feeds(name, rows, width, pad, seed=width)
        found = session.run(None, given)[0]
        np.testing.assert_allclose(found, traced.answers(given)["logits"], atol=1e-4)


@pytest.mark.parametrize("classes", [2, 5])
def test_linear_is_tfidf_times_weights(classes):
    """Against plain numpy, term by term; a text of nothing, or of terms that nobody has seen, gets the bias."""
    module = linear(classes)
    idf, weight, bias = (getattr(module.backbone, name).detach().numpy() for name in ("idf", "weight", "bias"))
    terms, counts = (
        np.array([[3, 7, 9, 0], [0, 0, 0, 0], [5, 0, 0, 0]]),
        np.array([[1, 4, 2, 0], [0] * 4, [3, 0, 0, 0]], dtype=np.float32),
    )
    module.backbone.idf[5] = 0
    values = np.array([1, 1 + np.log(4), 1 + np.log(2)]) * idf[[3, 7, 9]]
    expected = values / np.linalg.norm(values) @ weight[[3, 7, 9]] + bias
    with torch.inference_mode():
        found = module(torch.from_numpy(terms), torch.from_numpy(counts)).numpy()
    assert found.shape == (3, classes)
    if classes == 2:
        assert (found[:, 0] == 0).all()
        found = found[:, 1:]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1:], [bias, bias], rtol=1e-5)


def test_half_precision_says_the_same_of_long_texts():
    """Squares of terms that are frequent and rare at once would be infinite in it."""
    traced = as_source(linear(), "linear")
    draw = np.random.default_rng(0)
    given = {"terms": draw.integers(0, 8000, (2, 9000)), "counts": draw.integers(1, 30, (2, 9000)).astype(np.float32)}
    whole, half = (one.answers(given)["logits"] for one in (traced, traced.halved()))
    np.testing.assert_allclose(half, whole, atol=5e-3)
    assert (np.abs(whole[:, 1] - linear().backbone.bias.item()) > 0.01).all()


def test_what_is_learned_is_in_the_backbone(tmp_path):
    for make in MADE.values():
        module, _ = make(tmp_path / str(id(make)))
        learned = module.backbone.state_dict()
        assert {f"backbone.{name}" for name in learned} == set(module.state_dict())
        assert {name for name, _ in module.named_parameters()} <= set(module.state_dict())
    assert {"idf", "weight", "bias"} == set(linear().backbone.state_dict())


def test_words_are_left_out_in_training_alone():
    module = recurrent("gru", dropout=0, words=0.5)
    ids, mask = torch.randint(5, 60, (3, 12)), torch.ones(3, 12, dtype=torch.int64)
    assert torch.equal(module(ids, mask), module(ids, mask))
    module.train()
    assert not torch.equal(module(ids, mask), module(ids, mask))


def test_order_matters_to_what_reads_in_order():
    module = recurrent("lstm")
    ids, mask = torch.tensor([[5, 6, 7, 8], [8, 7, 6, 5]]), torch.ones(2, 4, dtype=torch.int64)
    assert not torch.allclose(*module(ids, mask), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("rnn", {}),
        ("lstm", {"widht": 3}),
        ("gru", {"known": 3}),
        ("lstm", {"width": 0}),
        ("gru", {"dropout": 1}),
        ("gru", {"words": -0.1}),
    ],
)
def test_unknown_kinds_and_arguments_are_refused(kind, arguments):
    with pytest.raises(ConfigError, match="model"):
        text.recurrent(TOKENS, 2, kind, **arguments)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    _, recipe = transformer(tmp_path)
    with pytest.raises(UserError, match="does not fit"):
        text.transformer(tmp_path, recipe | {"vocabulary": recipe["vocabulary"] + 1}, 3, pretrained=False)


def test_a_checkpoint_of_the_library_fits_the_network(tmp_path):
    from builder import checkpoints

    module, recipe = transformer(tmp_path)
    fresh = text.transformer(tmp_path, recipe, 3, pretrained=False).eval()
    given = [torch.from_numpy(values) for values in feeds("transformer", 4, 9, 0).values()]
    with torch.inference_mode():
        assert not torch.allclose(fresh(*given), module(*given), atol=1e-4)
    changed = transformer_of_three(tmp_path)
    checkpoints.load(fresh.backbone, tmp_path / "three", 3)
    with torch.inference_mode():
        torch.testing.assert_close(fresh(*given), changed(*given).logits)


def transformer_of_three(folder):
    import transformers

    torch.manual_seed(7)
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=3)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder / "three")
    return model
