"""The fast baselines for texts: TF-IDF and what is linear in it, written into the network that travels.

    logistic    logistic regression; learns what divides the classes
    bayes       multinomial naive Bayes over TF-IDF (Rennie et al. 2003); learns what each class is like. With few rows and short
                texts it is the better one, and the two together are better than either
    ridge       least squares with a penalty on large weights; learns numbers

Several heads are learned one by one, those of numbers by `ridge`, and so is each of several labels, against all rows without it.

Expects: material of a recipe of kind `terms`, and the truth of its rows.
Produces: networks.text.linear with its weights filled.
Never: looks at a row that is not to be learned from, document frequencies included, or two answers to the same question.
scikit-learn and torch are imported late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import ConfigError, did_you_mean
from builder.metrics.heads import apart
from builder.networks import text
from builder.runtime.heads import IDENTITY, SIGMOID
from builder.train import losses

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.runtime.contract import Head
    from builder.runtime.terms import Terms

    Learned = tuple[NDArray[np.float32], NDArray[np.float32]]

# The setting of each, and its value when none is given.
LEARNERS = {"logistic": {"C": 4.0}, "bayes": {"alpha": 0.2}, "ridge": {"alpha": 1.0}}
STEPS = 200
PARTS = 5  # of the rows, each scored by the others to learn how far naive Bayes is to be trusted
SCALES = tuple(float(scale) for scale in np.geomspace(0.05, 5, 60))


def fit(
    recipe: Mapping[str, Any],
    material: Terms,
    y: NDArray[Any],
    rows: NDArray[np.int64],
    heads: Sequence[Head],
    seed: int,
    arguments: Mapping[str, Any],
) -> torch.nn.Module:
    """The linear network, learned from `rows` of `material`.

    Args:
        recipe: Of kind `terms`, by which `material` was read.
        material: All rows.
        y: The truth of all rows, as `Rows.y`.
        rows: Rows to learn from.
        heads: What is answered; a class that no row has gets no evidence and a small prior.
        seed: Of the solver's order.
        arguments: `learner`, `logistic` or `bayes`, `ridge` where all are numbers; `C` of the first, the inverse of its
            regularisation's strength; `alpha` of `bayes`, how much of each term every class is given beforehand; of `ridge`, the
            penalty's weight.

    Raises ConfigError for an argument that is unknown or impossible.
    """
    import torch

    outputs = sum(len(head.classes) for head in heads)
    learner, setting = checked(arguments, heads)
    module = text.linear(recipe, outputs, heads[0].link)
    backbone: Any = module.backbone
    matrix, idf = _weighted(material.pick(rows), backbone.idf.shape[0])
    weight, bias = _learned(learner, matrix, y[rows], heads, setting, seed)
    if backbone.weight.shape[1] < outputs:  # of two classes, the second against the first
        weight, bias = _against(weight, bias)
    with torch.no_grad():
        backbone.idf.copy_(torch.from_numpy(idf))
        backbone.weight.copy_(torch.from_numpy(weight.T))
        backbone.bias.copy_(torch.from_numpy(bias))
    return module.eval()


def checked(arguments: Mapping[str, Any], heads: Sequence[Head]) -> tuple[str, float]:
    """The learner and its setting. Raises ConfigError for arguments that are unknown, impossible, or not for such heads."""
    numbers = all(head.link == IDENTITY for head in heads)
    fitting = ["ridge"] if numbers else ["logistic", "bayes"]
    learner = str(arguments.get("learner", fitting[0]))
    if learner not in LEARNERS:
        remedy = did_you_mean(learner, LEARNERS)
        raise ConfigError("model.arguments.learner is unknown", found=repr(learner), remedy=remedy)
    if learner not in fitting:
        what = "numbers" if numbers else "classes and labels"
        expected = f"for {what}: {' or '.join(fitting)}"
        raise ConfigError(
            "model.arguments.learner does not fit", found=repr(learner), expected=expected, remedy="mend it, or data.truth"
        )
    ((name, default),) = LEARNERS[learner].items()
    for key in arguments:
        if key not in {"learner", name}:
            raise ConfigError("model.arguments has an unknown key", found=key, remedy=did_you_mean(key, ["learner", name]))
    setting = arguments.get(name, default)
    if isinstance(setting, bool) or not isinstance(setting, int | float) or not 0 < setting < float("inf"):
        remedy = f"{name} = {default}"
        raise ConfigError(f"model.arguments.{name} is impossible", found=setting, expected="a number over 0", remedy=remedy)
    return learner, float(setting)


def _learned(learner: str, matrix: Any, y: NDArray[Any], heads: Sequence[Head], setting: float, seed: int) -> Learned:
    """Weights (outputs, numbers) and biases of all heads."""

    def one(codes: NDArray[np.int64], classes: int) -> Learned:
        return _bayes(matrix, codes, classes, setting) if learner == "bayes" else _logistic(matrix, codes, classes, setting, seed)

    penalty = setting if learner == "ridge" else LEARNERS["ridge"]["alpha"]
    parts = []
    for head, own in zip(heads, apart(heads, y), strict=True):
        if head.link == IDENTITY:
            parts.append(_ridge(matrix, losses.standardised(head, own), penalty))
        elif head.link == SIGMOID:
            parts += [_against(*one(column, 2)) for column in own.T]
        else:
            parts.append(one(own, len(head.classes)))
    return np.concatenate([weight for weight, _ in parts]), np.concatenate([bias for _, bias in parts])


def _against(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Learned:
    """Of two classes: weights (1, numbers) and bias of the second, where those of the first are 0."""
    return weight[1:] - weight[:1], bias[1:] - bias[:1]


def _ridge(matrix: Any, targets: NDArray[np.float64], penalty: float) -> Learned:
    """Weights (targets, numbers) and biases."""
    from sklearn.linear_model import Ridge

    found = Ridge(alpha=penalty).fit(matrix, targets)
    weight = np.reshape(found.coef_, (targets.shape[1], -1))
    return weight.astype(np.float32), np.reshape(found.intercept_, -1).astype(np.float32)


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


def _logistic(matrix: Any, codes: NDArray[np.int64], classes: int, strength: float, seed: int) -> Learned:
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


def _bayes(matrix: Any, codes: NDArray[np.int64], classes: int, alpha: float) -> Learned:
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
