"""Predictions without models: families of given skill whose folds differ a little, as true folds do."""

import numpy as np

from builder.plan.course import Evidence
from builder.plan.prices import Family

FOLDS = 3


class World:
    """Rows of four kinds (out-of-fold, unlabelled, test) with the predictions of every family and fold."""

    def __init__(self, seed, skills=(1.0, 1.5, 2.0), *, rows=600, classes=3, folds=FOLDS, few=120, test=800, seconds=None):
        draw = np.random.default_rng(seed)
        self.classes, self.folds = classes, folds
        total = rows + few + test
        truth = draw.integers(0, classes, total)
        luck = draw.normal(0, 1, (total, classes))  # what makes a row hard for everybody
        self.families, every = [], np.empty((len(skills), folds, total, classes), np.float32)
        for f, skill in enumerate(skills):
            price = (seconds or [1e-3 * 2**i for i in range(len(skills))])[f]
            self.families.append(Family(f"m{f}", price, tuple(range(folds))))
            own = luck + draw.normal(0, 0.7, (total, classes))
            for k in range(folds):
                logits = own + draw.normal(0, 0.5, (total, classes))
                logits[np.arange(total), truth] += skill
                raised = np.exp(logits)
                every[f, k] = raised / raised.sum(axis=1, keepdims=True)
        self.fold = np.arange(rows) % folds
        self.oof = every[:, self.fold, np.arange(rows)]
        self.y = truth[:rows]
        self.unlabelled = every[:, :, rows : rows + few]
        self.test, self.truth = every[:, :, rows + few :], truth[rows + few :]

    @property
    def evidence(self):
        return Evidence(self.oof, self.y, self.fold, self.unlabelled)

    @property
    def full(self):
        """Seconds per sample of everything."""
        return sum(family.seconds * self.folds for family in self.families)
