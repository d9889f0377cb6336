"""The linear baseline: scikit-learn's own answer in the network, from the rows of the fold and no others."""

import numpy as np
import pytest

from builder.errors import ConfigError
from builder.recipes import text as recipes
from builder.runtime import cells, heads, hooks
from builder.runtime.contract import Head
from builder.runtime.heads import single
from builder.train import linear

torch = pytest.importorskip("torch")

GOOD, BAD, COLD = ("good", "great", "재밌어요", "lovely"), ("bad", "awful", "노잼", "boring"), ("cold", "snow", "겨울", "frost")
FILLER = ("the", "film", "영화", "was", "and", "a", "story")


def corpus(classes=2, rows=240, seed=0):
    """Texts that give their class away by one word, and the classes."""
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, classes, rows)
    told = (BAD, GOOD, COLD)
    texts = [
        " ".join([*draw.choice(FILLER, draw.integers(2, 9)), draw.choice(told[code]), *draw.choice(FILLER, 2)]) for code in codes
    ]
    return texts, codes.astype(np.int64)


def of(classes):
    return single([str(code) for code in range(classes)])


def read(texts):
    recipe = recipes.terms(texts, ["document"])
    return recipe, cells.reader(recipe, hooks.Hooks()).read([{"document": text} for text in texts])


def probabilities(module, material):
    out = {}
    with torch.inference_mode():
        for places, feeds in material.batches("identity", 32):
            answers = torch.softmax(module(*map(torch.from_numpy, feeds.values())), dim=1).numpy()
            out |= dict(zip(places.tolist(), answers, strict=True))
    return np.stack([out[place] for place in range(len(material))])


LEARNERS = [{}, {"learner": "bayes"}]


@pytest.mark.parametrize("arguments", LEARNERS, ids=str)
@pytest.mark.parametrize("classes", [2, 3])
def test_it_learns_what_the_words_say(classes, arguments):
    texts, codes = corpus(classes)
    recipe, material = read(texts)
    rows = np.arange(160)
    found = probabilities(linear.fit(recipe, material, codes, rows, of(classes), 0, arguments), material)
    assert found.shape == (240, classes)
    assert (found[160:].argmax(1) == codes[160:]).mean() > 0.95


def test_the_network_says_what_scikit_learn_says():
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    texts, codes = corpus()
    recipe, material = read(texts)
    common = {"alternate_sign": False, "norm": None}
    blocks = [
        HashingVectorizer(
            analyzer=block["analyzer"], ngram_range=tuple(block["ngrams"]), n_features=block["features"],
            token_pattern=r"(?u)\b\w+\b", **common,
        ).transform(texts)
        for block in recipe["blocks"]
    ]  # fmt: skip
    matrix = TfidfTransformer(sublinear_tf=True).fit_transform(hstack(blocks).tocsr())
    model = LogisticRegression(C=2.0, solver="liblinear", random_state=0, max_iter=200).fit(matrix, codes)
    module = linear.fit(recipe, material, codes, np.arange(len(texts)), of(2), 0, {"C": 2.0})
    np.testing.assert_allclose(probabilities(module, material), model.predict_proba(matrix), atol=2e-4)


def test_naive_bayes_is_scikit_learns_but_for_how_sure_it_is():
    from sklearn.naive_bayes import MultinomialNB

    texts, codes = corpus(3)
    recipe, material = read(texts)
    module = linear.fit(recipe, material, codes, np.arange(240), of(3), 0, {"learner": "bayes", "alpha": 0.5})
    matrix, _ = linear._weighted(material, len(module.backbone.idf))
    seen = np.flatnonzero(np.asarray(matrix.sum(axis=0)).ravel())
    model = MultinomialNB(alpha=0.5).fit(matrix[:, seen], codes)
    weight = module.backbone.weight.detach().numpy().T
    scale = weight[0, seen[0]] / model.feature_log_prob_[0, 0]
    assert scale > 0
    np.testing.assert_allclose(weight[:, seen], scale * model.feature_log_prob_, rtol=1e-3)
    np.testing.assert_allclose(module.backbone.bias.detach().numpy(), model.class_log_prior_, rtol=1e-4)
    assert not np.delete(weight, seen, axis=1).any()


def test_naive_bayes_is_as_sure_as_it_may_be():
    """Half of the labels are drawn anew: nobody can be sure of them."""
    draw = np.random.default_rng(3)
    texts, codes = corpus(rows=600)
    codes = np.where(draw.random(600) < 0.5, draw.integers(0, 2, 600), codes)
    recipe, material = read(texts)
    module = linear.fit(recipe, material, codes, np.arange(400), of(2), 0, {"learner": "bayes"})
    found = probabilities(module, material)[400:]
    loss = -np.log(found[np.arange(200), codes[400:]]).mean()
    assert loss < np.log(2)
    assert 0.6 < found.max(axis=1).mean() < 0.85


@pytest.mark.parametrize("arguments", LEARNERS, ids=str)
def test_rows_that_are_not_to_be_learned_from_change_nothing(arguments):
    texts, codes = corpus()
    recipe, material = read(texts)
    rows = np.random.default_rng(1).permutation(240)[:150]
    others = np.setdiff1d(np.arange(240), rows)
    module = linear.fit(recipe, material, codes, rows, of(2), 0, arguments)
    changed = [f"{text} bad bad never" if place in set(others) else text for place, text in enumerate(texts)]
    elsewhere = cells.reader(recipe, hooks.Hooks()).read([{"document": text} for text in changed])
    flipped = codes.copy()
    flipped[others] = 1 - flipped[others]
    again = linear.fit(recipe, elsewhere, flipped, rows, of(2), 0, arguments)
    for name, values in module.state_dict().items():
        assert torch.equal(values, again.state_dict()[name]), name


def test_terms_that_no_row_had_do_not_count():
    texts, codes = corpus()
    recipe, material = read(texts)
    module = linear.fit(recipe, material, codes, np.arange(240), of(2), 0, {})
    reader = cells.reader(recipe, hooks.Hooks())
    plain, odd = (probabilities(module, reader.read([{"document": one}]))[0] for one in ("great film", "great film 漢字 xyzzy"))
    np.testing.assert_allclose(odd, plain, atol=0.02)


@pytest.mark.parametrize("arguments", LEARNERS, ids=str)
@pytest.mark.parametrize("present", [[0], [1], [0, 2], [1, 2], [2]])
def test_classes_that_no_row_has_are_unlikely_but_there(present, arguments):
    classes = max(2, max(present) + 1)
    texts, codes = corpus(3)
    recipe, material = read(texts)
    rows = np.flatnonzero(np.isin(codes, present))
    found = probabilities(linear.fit(recipe, material, codes, rows, of(classes), 0, arguments), material.pick(rows))
    assert np.isfinite(found).all()
    assert found.shape[1] == classes
    absent = [one for one in range(classes) if one not in present]
    assert (found[:, absent] < 0.02).all()
    assert (found[:, absent] > 0).all()
    assert (found.argmax(1) == codes[rows]).mean() > 0.95


def test_rows_without_a_word_get_the_prior():
    texts, codes = corpus()
    recipe, material = read(["", *texts[1:]])
    module = linear.fit(recipe, material, codes, np.arange(240), of(2), 0, {})
    assert 0.2 < probabilities(module, material)[0, 1] < 0.8


IMPOSSIBLE = [
    {"c": 1.0}, {"C": 0}, {"C": -1.0}, {"C": "4"}, {"C": float("inf")}, {"C": float("nan")}, {"C": True}, {"learner": "svm"},
    {"learner": "bayes", "C": 1.0}, {"learner": "bayes", "alpha": 0}, {"alpha": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("arguments", IMPOSSIBLE, ids=str)
def test_impossible_arguments_are_refused(arguments):
    texts, codes = corpus(rows=12)
    recipe, material = read(texts)
    with pytest.raises(ConfigError, match=r"model\.arguments"):
        linear.fit(recipe, material, codes, np.arange(12), of(2), 0, arguments)


LABELLED = (Head("", "sigmoid", ("warm", "cold", "good")),)
HEADS = (Head("a", "softmax", ("0", "1")), Head("b", "softmax", ("0", "1", "2")))
NUMBERS = (Head("", "identity", ("x", "y"), (100.0, -3.0), (20.0, 0.5)),)


def logits(module, material):
    out = {}
    with torch.inference_mode():
        for places, feeds in material.batches("identity", 32):
            out |= dict(zip(places.tolist(), module(*map(torch.from_numpy, feeds.values())).numpy(), strict=True))
    return np.stack([out[place] for place in range(len(material))])


@pytest.mark.parametrize("arguments", LEARNERS, ids=str)
def test_each_of_several_labels_is_learned_against_the_rows_without_it(arguments):
    texts, codes = corpus(3)
    recipe, material = read(texts)
    y = np.eye(3, dtype=np.int64)[codes]
    rows = np.arange(160)
    found = logits(linear.fit(recipe, material, y, rows, LABELLED, 0, arguments), material)
    for label in range(3):
        alone = logits(linear.fit(recipe, material, y[:, label], rows, of(2), 0, arguments), material)
        np.testing.assert_allclose(found[:, label], alone[:, 1] - alone[:, 0], atol=1e-4)
    assert ((found[160:] > 0) == y[160:]).mean() > 0.9


@pytest.mark.parametrize("arguments", LEARNERS, ids=str)
def test_several_heads_are_learned_as_each_would_be_alone(arguments):
    texts, codes = corpus(3)
    recipe, material = read(texts)
    y, rows = np.stack([(codes == 1).astype(np.int64), codes], axis=1), np.arange(160)
    found = heads.answers(logits(linear.fit(recipe, material, y, rows, HEADS, 0, arguments), material), HEADS)
    for head, place in enumerate(heads.slices(HEADS)):
        classes = len(HEADS[head].classes)
        alone = probabilities(linear.fit(recipe, material, y[:, head], rows, of(classes), 0, arguments), material)
        np.testing.assert_allclose(found[:, place], alone, atol=1e-5)


def test_numbers_are_scikit_learns_ridge_in_units_of_their_spread():
    from sklearn.linear_model import Ridge

    texts, codes = corpus(3)
    recipe, material = read(texts)
    y = np.stack([100 + 20 * codes, -3 + 0.5 * (codes == 1)], axis=1).astype(np.float64)
    module = linear.fit(recipe, material, y, np.arange(160), NUMBERS, 0, {"alpha": 0.5})
    found = heads.answers(logits(module, material), NUMBERS)
    matrix, _ = linear._weighted(material.pick(np.arange(160)), len(module.backbone.idf))
    expected = Ridge(alpha=0.5, tol=1e-8).fit(matrix, y[:160]).predict(matrix)
    np.testing.assert_allclose((found[:160] - expected) / (20, 0.5), 0, atol=5e-3)
    assert np.abs(found[160:] - y[160:]).mean(axis=0) == pytest.approx((0, 0), abs=8)


@pytest.mark.parametrize("label", [0, 1])
def test_a_label_that_all_rows_have_or_none_is_no_trouble(label):
    texts, codes = corpus()
    recipe, material = read(texts)
    y = np.stack([codes, np.full(240, label), 1 - codes], axis=1)
    for arguments in LEARNERS:
        found = logits(linear.fit(recipe, material, y, np.arange(240), LABELLED, 0, arguments), material)
        assert np.isfinite(found).all()
        assert ((found[:, 1] > 0) == bool(label)).all()


@pytest.mark.parametrize(
    ("head", "arguments"),
    [
        (NUMBERS, {"learner": "bayes"}),
        (NUMBERS, {"learner": "logistic"}),
        (LABELLED, {"learner": "ridge"}),
        (NUMBERS, {"C": 1.0}),
    ],
    ids=str,
)
def test_arguments_of_another_kind_of_target_are_refused(head, arguments):
    with pytest.raises(ConfigError, match=r"model\.arguments"):
        linear.checked(arguments, head)
