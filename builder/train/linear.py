"""The fast baselines for texts: TF-IDF and what is linear in it, written into the network that travels.

    logistic    logistic regression; learns what divides the classes
    bayes       multinomial naive Bayes over TF-IDF (Rennie et al. 2003); learns what each class is like. With few rows and short
                texts it is the better one, and the two together are better than either

Expects: material of a recipe of kind `terms`, and the classes of its rows.
Produces: networks.text.linear with its weights filled.
Never: looks at a row that is not to be learned from, document frequencies included, or two answers to the same question.
scikit-learn and torch are imported late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import ConfigError, did_you_mean
from builder.networks import text

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.runtime.terms import Terms

LEARNERS = {"logistic": {"C": 4.0}, "bayes": {"alpha": 0.2}}  # the setting of each, and its value when none is given
STEPS = 200
PARTS = 5  # of the rows, each scored by the others to learn how far naive Bayes is to be trusted
SCALES = tuple(float(scale) for scale in np.geomspace(0.05, 5, 60))


def fit(
    recipe: Mapping[str, Any],
    material: Terms,
    codes: NDArray[np.int64],
    rows: NDArray[np.int64],
    classes: int,
    seed: int,
    arguments: Mapping[str, Any],
) -> torch.nn.Module:
    """The linear network, learned from `rows` of `material`.

    Args:
        recipe: Of kind `terms`, by which `material` was read.
        material: All rows.
        codes: int64 (n,) classes of all rows.
        rows: Rows to learn from.
        classes: Number of classes; one that no row has gets no evidence and a small prior.
        seed: Of the solver's order.
        arguments: `learner`, `logistic` (default) or `bayes`; `C` of the first, the inverse of its regularisation's strength;
            `alpha` of the second, how much of each term every class is given beforehand.

    Raises ConfigError for an argument that is unknown or impossible.
    """
    import torch

    learner, setting = _checked(arguments)
    module = text.linear(recipe, classes)
    backbone: Any = module.backbone
    matrix, idf = _weighted(material.pick(rows), backbone.idf.shape[0])
    if learner == "bayes":
        weight, bias = _bayes(matrix, codes[rows], classes, setting)
    else:
        weight, bias = _logistic(matrix, codes[rows], classes, setting, seed)
    if classes == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    with torch.no_grad():
        backbone.idf.copy_(torch.from_numpy(idf))
        backbone.weight.copy_(torch.from_numpy(weight.T))
        backbone.bias.copy_(torch.from_numpy(bias))
    return module.eval()


def _checked(arguments: Mapping[str, Any]) -> tuple[str, float]:
    """The learner and its setting."""
    learner = str(arguments.get("learner", "logistic"))
    if learner not in LEARNERS:
        remedy = did_you_mean(learner, LEARNERS)
        raise ConfigError("model.arguments.learner is unknown", found=repr(learner), remedy=remedy)
    ((name, default),) = LEARNERS[learner].items()
    for key in arguments:
        if key not in {"learner", name}:
            raise ConfigError("model.arguments has an unknown key", found=key, remedy=did_you_mean(key, ["learner", name]))
    setting = arguments.get(name, default)
    if isinstance(setting, bool) or not isinstance(setting, int | float) or not 0 < setting < float("inf"):
        remedy = f"{name} = {default}"
        raise ConfigError(f"model.arguments.{name} is impossible", found=setting, expected="a number over 0", remedy=remedy)
    return learner, float(setting)


def _weighted(material: Terms, numbers: int) -> tuple[Any, NDArray[np.float32]]:
    """TF-IDF of the rows as the network computes it, sparse (n, numbers), and the idf; 0 where no row has the term."""
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    ends = np.cumsum(material.lengths)
    inside = np.arange(int(ends[-1])) if len(ends) else np.zeros(0, dtype=np.int64)
    places = inside + np.repeat(material.starts - (ends - material.lengths), material.lengths)
    terms = material.numbers[places]
    having = np.bincount(terms, minlength=numbers)
    idf = np.where(having > 0, np.log((1 + len(material)) / (1 + having)) + 1, 0).astype(np.float32)
    values = (1 + np.log(material.counts[places])) * idf[terms]
    row = np.repeat(np.arange(len(material)), material.lengths)
    norms = np.sqrt(np.bincount(row, weights=values.astype(np.float64) ** 2, minlength=len(material)))
    values = (values / np.maximum(norms, 1e-6)[row]).astype(np.float64)
    return csr_matrix((values, terms, np.concatenate([[0], ends])), shape=(len(material), numbers)), idf


def _logistic(
    matrix: Any, codes: NDArray[np.int64], classes: int, strength: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (classes, numbers) and biases."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(codes)
    weight, bias = np.zeros((classes, matrix.shape[1]), dtype=np.float32), _prior(codes, classes)
    if len(present) > 1:
        bias[present] = 0
    if len(present) == 2:  # one column, by the solver that is fastest then
        found = LogisticRegression(C=strength, solver="liblinear", random_state=seed, max_iter=STEPS).fit(matrix, codes)
        weight[present[1]], bias[present[1]] = found.coef_[0], found.intercept_[0]
    elif len(present) > 2:
        found = LogisticRegression(C=strength, solver="lbfgs", max_iter=STEPS).fit(matrix, codes)
        weight[present], bias[present] = found.coef_, found.intercept_
    return weight, bias


def _prior(codes: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Logarithms of how often each class is; of one that is absent, as if half a row had it."""
    return np.log(np.maximum(np.bincount(codes, minlength=classes), 0.5) / max(len(codes), 1)).astype(np.float32)


def _bayes(matrix: Any, codes: NDArray[np.int64], classes: int, alpha: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (classes, numbers) and biases. Terms of a text are no independent witnesses: one scale for all tempers them."""
    totals = [_totals(matrix[part::PARTS], codes[part::PARTS], classes) for part in range(PARTS)]
    everything = np.stack(totals).sum(axis=0)
    bias, scores = _prior(codes, classes), np.zeros((len(codes), classes))
    for part, own in enumerate(totals):
        scores[part::PARTS] = matrix[part::PARTS] @ _likelihoods(everything - own, alpha).T
    losses = [_loss(scale * scores + bias, codes) for scale in SCALES]
    return np.float32(SCALES[int(np.argmin(losses))]) * _likelihoods(everything, alpha), bias


def _totals(matrix: Any, codes: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """How much of each term the rows of each class have, (classes, numbers)."""
    return np.stack([np.asarray(matrix[codes == one].sum(axis=0), dtype=np.float32).ravel() for one in range(classes)])


def _likelihoods(totals: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """log p(term | class); 0 for a term that nobody has. A class without rows is like all others together."""
    seen = totals.sum(axis=0) > 1e-6
    filled = np.where(totals.any(axis=1, keepdims=True), totals, totals.mean(axis=0, keepdims=True)) + alpha
    filled = filled[:, seen]
    out = np.zeros_like(totals)
    out[:, seen] = np.log(filled / filled.sum(axis=1, keepdims=True))
    return out


def _loss(logits: NDArray[np.float64], codes: NDArray[np.int64]) -> float:
    """Mean logarithmic loss."""
    highest = logits.max(axis=1, keepdims=True)
    partition = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((partition - logits[np.arange(len(codes)), codes]).mean())
