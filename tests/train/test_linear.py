"""The linear baseline: scikit-learn's own answer in the network, from the rows of the fold and no others."""

import numpy as np
import pytest

from builder.errors import ConfigError
from builder.recipes import text as recipes
from builder.runtime import cells, hooks
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
    found = probabilities(linear.fit(recipe, material, codes, rows, classes, 0, arguments), material)
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
    module = linear.fit(recipe, material, codes, np.arange(len(texts)), 2, 0, {"C": 2.0})
    np.testing.assert_allclose(probabilities(module, material), model.predict_proba(matrix), atol=2e-4)


def test_naive_bayes_is_scikit_learns_but_for_how_sure_it_is():
    from sklearn.naive_bayes import MultinomialNB

    texts, codes = corpus(3)
    recipe, material = read(texts)
    module = linear.fit(recipe, material, codes, np.arange(240), 3, 0, {"learner": "bayes", "alpha": 0.5})
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
    module = linear.fit(recipe, material, codes, np.arange(400), 2, 0, {"learner": "bayes"})
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
    module = linear.fit(recipe, material, codes, rows, 2, 0, arguments)
    changed = [f"{text} bad bad never" if place in set(others) else text for place, text in enumerate(texts)]
    elsewhere = cells.reader(recipe, hooks.Hooks()).read([{"document": text} for text in changed])
    flipped = codes.copy()
    flipped[others] = 1 - flipped[others]
    again = linear.fit(recipe, elsewhere, flipped, rows, 2, 0, arguments)
    for name, values in module.state_dict().items():
        assert torch.equal(values, again.state_dict()[name]), name


def test_terms_that_no_row_had_do_not_count():
    texts, codes = corpus()
    recipe, material = read(texts)
    module = linear.fit(recipe, material, codes, np.arange(240), 2, 0, {})
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
    found = probabilities(linear.fit(recipe, material, codes, rows, classes, 0, arguments), material.pick(rows))
    assert np.isfinite(found).all()
    assert found.shape[1] == classes
    absent = [one for one in range(classes) if one not in present]
    assert (found[:, absent] < 0.02).all()
    assert (found[:, absent] > 0).all()
    assert (found.argmax(1) == codes[rows]).mean() > 0.95


def test_rows_without_a_word_get_the_prior():
    texts, codes = corpus()
    recipe, material = read(["", *texts[1:]])
    module = linear.fit(recipe, material, codes, np.arange(240), 2, 0, {})
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
        linear.fit(recipe, material, codes, np.arange(12), 2, 0, arguments)
