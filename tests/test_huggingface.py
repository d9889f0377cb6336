"""Hugging Face folders: read without a hub and without their code, and called like any other network."""

import json

import numpy as np
import pytest

from builder import checkpoints, huggingface, models
from builder.errors import UserError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXTS = {
    "bert": lambda: transformers.BertConfig(**SMALL, vocab_size=60, num_labels=4),
    "gpt2": lambda: transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=60, n_positions=32, num_labels=4, bos_token_id=1, eos_token_id=1
    ),
    "deberta-v2": lambda: transformers.DebertaV2Config(**SMALL, vocab_size=60, num_labels=4),
}


def vit(labels=3):
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SMALL, image_size=32, patch_size=8, num_labels=labels)
    return transformers.ViTForImageClassification(config).eval()


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] if k == "deberta-v2" else []) for k in TEXTS])
def test_a_text_classifier_answers_by_the_words_that_are_not_padding(tmp_path, kind):
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(TEXTS[kind]()).eval()
    model.save_pretrained(tmp_path)
    module = huggingface.text_classifier(huggingface.load(tmp_path, "text"))
    padding = module.model.config.pad_token_id
    assert padding is not None
    ids = torch.randint(3, 60, (2, 7))
    mask = torch.ones_like(ids)
    alone = module(ids, mask)
    assert (alone.shape, alone.dtype) == ((2, 4), torch.float32)
    padded = torch.cat([ids, torch.full((2, 5), padding)], dim=1)
    wide = module(padded, torch.cat([mask, torch.zeros(2, 5, dtype=torch.int64)], dim=1))
    torch.testing.assert_close(wide, alone, atol=1e-5, rtol=1e-4)


def test_an_image_folder_gives_the_network_that_was_saved(tmp_path):
    model = vit()
    model.save_pretrained(tmp_path)
    module = models.create("hf/x", {}, 3, pretrained=True, image_size=None, folder=tmp_path)
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(module(pixels), model(pixels).logits)
    fresh = models.create("hf/x", {}, 7, pretrained=False, image_size=None, folder=tmp_path)
    assert fresh(pixels).shape == (2, 7)


@pytest.mark.parametrize("form", ["folder", "file", "state", "wrapped", "bin"])
def test_weights_arrive_whatever_names_the_library_gave_them(tmp_path, form):
    """Files keep names that a later version of the library has changed in the modules."""
    from safetensors.torch import load_file

    model = vit()
    model.save_pretrained(tmp_path / "hf")
    saved = load_file(str(tmp_path / "hf/model.safetensors"))
    path = {"folder": tmp_path / "hf", "file": tmp_path / "hf/model.safetensors"}.get(form, tmp_path / "w.pth")
    if form == "state":
        torch.save(model.state_dict(), path)
    elif form == "wrapped":
        torch.save({"state_dict": {f"net.{key}": value for key, value in saved.items()}}, path)
    elif form == "bin":
        torch.save(saved, path)
    module = models.create("hf/x", {}, 3, pretrained=False, image_size=None, folder=tmp_path / "hf")
    checkpoints.load(module, path, 3)
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(module(pixels), model(pixels).logits)


def test_weights_of_other_classes_or_with_a_hole_are_refused(tmp_path):
    model = vit(labels=9)
    model.save_pretrained(tmp_path)
    module = models.create("hf/x", {}, 3, pretrained=False, image_size=None, folder=tmp_path)
    with pytest.raises(UserError, match="other classes") as caught:
        checkpoints.load(module, tmp_path, 3)
    assert "9 outputs" in caught.value.found
    torch.save({k: v for k, v in vit().state_dict().items() if "layernorm_before" not in k}, tmp_path / "hole.pth")
    with pytest.raises(UserError, match="missing keys"):
        checkpoints.load(module, tmp_path / "hole.pth", 3)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": {"height": 40, "width": 50}, "resample": 3}, ((3, 40, 50), "squash", "bicubic", 0)),
        ({"size": 48, "resample": 2}, ((3, 48, 48), "squash", "bilinear", 0)),
        ({"size": {"shortest_edge": 48}}, ((3, 48, 48), "crop", "bilinear", 0)),
        (
            {"size": {"shortest_edge": 48}, "do_center_crop": True, "crop_size": {"height": 48, "width": 48}},
            ((3, 48, 48), "crop", "bilinear", 0),
        ),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, ((3, 224, 224), "crop", "bilinear", 1)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, ((3, 224, 224), "crop", "bilinear", 1)),
        ({"size": 48, "resample": 1}, ((3, 48, 48), "squash", "bicubic", 1)),
    ],
)
def test_the_preprocessor_is_read_in_our_words(tmp_path, said, expected):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = huggingface.data_config(tmp_path)
    assert (found["input_size"], found["resize"], found["interpolation"], len(found["notes"])) == expected


@pytest.mark.parametrize(
    "said",
    [
        {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]},
        {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3], "rescale_factor": 1 / 127.5, "rescale_offset": True},
        {"image_mean": [120, 110, 100], "image_std": [60, 61, 62], "do_rescale": False},
        {"do_normalize": False},
    ],
)
def test_the_arithmetic_is_the_preprocessor_s_own(tmp_path, said):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = huggingface.data_config(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    values = pixels.astype(np.float64)
    if said.get("do_rescale", True):
        values = values * said.get("rescale_factor", 1 / 255) - bool(said.get("rescale_offset"))
    if said.get("do_normalize", True):
        values = (values - said["image_mean"]) / said["image_std"]
    module = models.portable(torch.nn.Identity(), found["mean"], found["std"])
    ours = module(torch.from_numpy(pixels)).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, values, atol=1e-4)


def test_code_that_comes_with_a_folder_is_never_run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net"}}
        )
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')")
    with pytest.raises(UserError, match="can be loaded"):
        huggingface.load(tmp_path, "image")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(("content", "told"), [(None, "missing file"), ("{", "JSON"), ("[]", "JSON object")])
def test_a_folder_that_is_none_is_named(tmp_path, content, told):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=told) as caught:
        huggingface.load(tmp_path, "image")
    assert caught.value.file.endswith("config.json")


def test_tokenizer_files_come_along_and_are_missed(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no tokenizer"):
        huggingface.companions(tmp_path, "text")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    found = [path.name for path in huggingface.companions(tmp_path, "text")]
    assert found == ["config.json", "merges.txt", "tokenizer_config.json", "vocab.json"]


def test_weights_in_pieces_are_found_and_stay_in_their_folder(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}})
    )
    assert [path.name for path in huggingface.weights_in(tmp_path)] == ["model-1.safetensors", "model-2.safetensors"]
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    with pytest.raises(UserError, match="outside"):
        huggingface.weights_in(tmp_path)


def test_what_pads_a_text_is_the_models_own_or_its_end(tmp_path):
    said = {
        "own": ({"pad_token_id": 5, "eos_token_id": 2}, 5),
        "end": ({"pad_token_id": None, "eos_token_id": [7, 8]}, 7),
        "none": ({"pad_token_id": None, "eos_token_id": None}, 0),
        "minus": ({"pad_token_id": -1, "eos_token_id": None}, 0),
    }
    for name, (ids, expected) in said.items():
        transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=60, n_positions=32, num_labels=2).save_pretrained(
            tmp_path / name
        )
        written = tmp_path / name / "config.json"
        written.write_text(json.dumps(json.loads(written.read_text()) | ids))
        assert huggingface.token_limits(tmp_path / name) == (60, 32, expected)
        assert huggingface.load(tmp_path / name, "text", pretrained=False).config.pad_token_id == expected


def test_token_limits_are_those_of_a_text_model(tmp_path):
    vit().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="vocab_size"):
        huggingface.token_limits(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "never-heard-of"}')
    with pytest.raises(UserError, match="configuration"):
        huggingface.token_limits(tmp_path)
