"""How much each family of units counts, and how sure the blend may be: weights and temperature, fitted on out-of-fold rows.

Pure numpy. A *family* is one member under one view; its folds share one slice of the out-of-fold predictions, which are float
(families, rows, classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

EM_ROUNDS = 5000
EM_GAP = 1e-7  # the logloss is then within this of the optimum: at the optimum no gradient exceeds 1
EM_COURAGE = 1.3
TINY = 1e-12
TEMPERATURES = (0.25, 4.0)
GOLDEN = 0.6180339887498949


def convex_weights(oof: Floats, y: Codes) -> Floats:
    """float64 (families,): the convex weights whose mean has the least logloss, exactly, by expectation maximisation.

    The logloss of a mean depends only on each family's probability of the true class, so this is the mixture-proportions problem,
    which is concave: EM reaches the global optimum (Dempster, Laird and Rubin 1977).
    """
    likelihood = np.maximum(oof[:, np.arange(len(y)), y].astype(np.float64), TINY)
    weights = np.full(len(oof), 1.0 / len(oof))
    power = 1.0
    for _ in range(EM_ROUNDS):
        mixture = weights @ likelihood
        gradient = (likelihood / mixture).mean(axis=1)
        if gradient.max() - 1.0 < EM_GAP:
            break
        # Longer steps while they help (adaptive over-relaxed EM, Salakhutdinov and Roweis 2003); a plain step always helps.
        bold = weights * gradient**power
        bold /= bold.sum()
        if np.log(bold @ likelihood).sum() >= np.log(mixture).sum():
            weights, power = bold, power * EM_COURAGE
        else:
            weights, power = weights * gradient, 1.0
    return np.asarray(weights / weights.sum())


def pooled(oof: Floats, weights: Floats) -> Floats:
    """float64 (rows, classes): weighted mean of the families."""
    return np.asarray(np.tensordot(weights, oof.astype(np.float64), axes=1))


def tempered(p: Floats, temperature: float) -> Floats:
    """`p` float (rows, classes) with its logarithm divided by `temperature`, normalised again."""
    raised = np.maximum(p, TINY) ** (1.0 / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def logloss(p: Floats, y: Codes) -> float:
    """Mean negative logarithm of the probability of the true class."""
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], TINY)).mean())


def temperature(p: Floats, y: Codes) -> float:
    """The temperature of the pooled probabilities with the least logloss, between 1/4 and 4, by golden section.

    Calibration comes after pooling (Rahaman and Thiery 2020, arXiv 2007.08792).
    """
    low, high = (float(np.log(bound)) for bound in TEMPERATURES)

    def loss(t: float) -> float:
        return logloss(tempered(p, float(np.exp(t))), y)

    for _ in range(40):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def cross_fitted(oof: Floats, y: Codes, folds: Codes, *, equal: bool) -> Floats:
    """float64 (rows, classes): each row's tempered blend, with weights and temperature fitted on the rows of the other folds."""
    out = np.empty(oof.shape[1:], dtype=np.float64)
    for fold in np.unique(folds):
        inside, outside = folds == fold, folds != fold
        weights = np.full(len(oof), 1.0 / len(oof)) if equal else convex_weights(oof[:, outside], y[outside])
        heat = temperature(pooled(oof[:, outside], weights), y[outside])
        out[inside] = tempered(pooled(oof[:, inside], weights), heat)
    return out
