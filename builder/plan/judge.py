"""Which rule is the best one: told in the competition metric, cross-fitted, and not by luck.

Pure numpy. Rules are compared by their *merit*, a mean over rows of two parts: the logarithm of the probability, as a share of
the loss of the blend of everything, and being right. One percent of the loss counts as much as 0.1 points of accuracy.
Truth is the labels, and a little what the blend of everything says. Labels are a draw, and among hundreds of rules one always
fits the draw; but that blend agrees with itself, and praises what asks its strongest family most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan import blend
from builder.plan.lanes import Ground, Trial
from builder.plan.search import Search

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

SIMPLE_FIRST = ("static", "queue", "tiers")
FINALISTS = 3  # of each kind
SOFT = 0.2  # what the blend of everything says counts, and the labels the rest
RIGHT = 10.0  # shares of the loss that being right in all rows is worth
LEAST = 1e-2  # the least loss that shares are taken of
DRAWS = 8
SAVED = 1e-2  # share of the seconds that a rule must save to be taken instead of a better one
ERRORS = 1.0  # standard errors by which what is less simple must win
RESAMPLES, RESAMPLED = 60, 2000


@dataclass(frozen=True)
class Judge:
    """Judges trials on the rows of `ground`, in `metric`."""

    ground: Ground
    search: Search
    metric: Metric

    def choose(self, trials: Sequence[Trial]) -> Trial:
        """The static rule, unless another wins by more than a standard error, and not at the cost of the competition metric.

        There are many rules of tiers for each of the others, so that the best of them has been lucky: they must win against the
        queue, too. Of rules of one kind that a standard error cannot tell apart, the one that saves seconds.
        """
        merits = {id(trial): self.merit(trial) for trial in trials}
        chosen: Trial | None = None
        for kind in SIMPLE_FIRST:
            rivals = sorted((t for t in trials if t.effort.kind == kind), key=lambda t: -merits[id(t)])[:FINALISTS]
            for rival in rivals:
                if chosen is None or self._beats(rival, chosen, merits[id(rival)] - merits[id(chosen)]):
                    chosen = self._cheapest(rival, [t for t in rivals if merits[id(rival)] >= merits[id(t)]], merits)
                    break
        if chosen is None:
            raise ValueError("no trials to choose from")
        return chosen

    def merit(self, trial: Trial) -> float:
        """What rules are sorted by, more is better: mean merit of the rows, and what folds add to it on unlabelled rows."""
        parts = [
            float(self._rows(trial.answers, right=right).mean()) + self._folds_add(trial, right=right) for right in (False, True)
        ]
        return float(np.dot(self._shares, parts))

    def loss(self, answers: Floats) -> float:
        """Logloss of answers to all rows, by the labels and by the blend of everything."""
        return -float(self._rows(answers, right=False).mean())

    def score(self, trial: Trial) -> float:
        """Predicted score in the competition metric: cross-fitted, plus what folds win on labels that are drawn for them."""
        score = self.metric(self.ground.y, trial.answers)
        if trial.folded is None or trial.single is None or self.search.folds is None:
            return score
        if self.metric.name in {"logloss", "accuracy"}:
            return score + self.metric.gain(self._folds_add(trial, right=self.metric.name == "accuracy"), 0.0)
        won = [
            self.metric.gain(new, old)
            for labels in self._drawn
            for new, old in [(self.metric.or_none(labels, trial.folded), self.metric.or_none(labels, trial.single))]
            if new is not None and old is not None
        ]
        return score + self.metric.gain(self.search.folds.trust * float(np.mean(won or [0.0])), 0.0)

    def margin(self, trial: Trial) -> tuple[float, float]:
        """5th and 95th percentile of the score over resampled rows, as distances from it."""
        y, p = self.ground.y, trial.answers
        found = [s for rows in self._resampled() for s in [self.metric.or_none(y[rows], p[rows])] if s is not None]
        if len(found) < 2:
            return float("nan"), float("nan")
        low, high = (np.percentile(found, [5, 95]) - np.mean(found)) * self._shrink
        return float(low), float(high)

    def _beats(self, rival: Trial, chosen: Trial, won: float) -> bool:
        """Whether `rival`, which has so much more merit, is better beyond luck, and not worse in the metric."""
        if won > ERRORS * self._error(rival, chosen):
            return self.metric.name in {"logloss", "accuracy"} or self._told(rival, chosen) >= 0
        return self.metric.name not in {"logloss", "accuracy"} and self._told(rival, chosen) > ERRORS * self._told_error(
            rival, chosen
        )

    def _told(self, rival: Trial, chosen: Trial) -> float:
        return self.metric.gain(self.score(rival), self.score(chosen))

    def _cheapest(self, best: Trial, rivals: Sequence[Trial], merits: dict[int, float]) -> Trial:
        """Of `rivals` that are within a standard error of `best`, the one that spends least; `best` when none saves anything."""
        near = [t for t in rivals if merits[id(best)] - merits[id(t)] <= self._error(best, t)]
        return min((best, *near), key=lambda t: t.spent.seconds * (1 + SAVED * (t is not best)))

    @cached_property
    def _shares(self) -> tuple[float, float]:
        """How much the logarithm of the probability counts, and being right."""
        loss = blend.logloss(self.ground.everything, self.ground.y)
        return 1.0 / max(loss, LEAST), RIGHT

    @cached_property
    def _truth(self) -> Floats:
        """float (turns * m, classes): what all folds of the blend of everything say of the unlabelled rows."""
        folds = self.search.folds
        if folds is None:
            raise ValueError("there are no unlabelled rows")
        return np.tile(folds.truth, (folds.turns, 1))

    @cached_property
    def _drawn(self) -> list[Codes]:
        """Labels int (m,) drawn from that truth, a few times, the same ones always."""
        draw = np.random.default_rng(0)
        steps = self._truth.cumsum(axis=1)
        return [
            (draw.random((len(steps), 1)) * steps[:, -1:] > steps).sum(axis=1).clip(max=steps.shape[1] - 1) for _ in range(DRAWS)
        ]

    def _rows(self, p: Floats, *, right: bool) -> Floats:
        """float (rows,): the merit of each row's answer, of one kind."""
        y, rows = self.ground.y, np.arange(len(p))
        hard = p.argmax(axis=1) == y if right else np.log(np.maximum(p[rows, y], blend.TINY))
        return np.asarray((1 - SOFT) * hard + SOFT * _merit(p, self.ground.everything, right=right))

    def _error(self, one: Trial, other: Trial) -> float:
        """Standard error of the difference of two merits, row by row."""
        parts = [self._rows(one.answers, right=right) - self._rows(other.answers, right=right) for right in (False, True)]
        return float(np.tensordot(self._shares, parts, axes=1).std(ddof=1) / np.sqrt(len(self.ground.y)))

    def _told_error(self, one: Trial, other: Trial) -> float:
        """Standard error of the difference of two scores, by the bootstrap."""
        y, found = self.ground.y, []
        for rows in self._resampled():
            pair = [self.metric.or_none(y[rows], trial.answers[rows]) for trial in (one, other)]
            if pair[0] is not None and pair[1] is not None:
                found.append(pair[0] - pair[1])
        return float(np.std(found, ddof=1) * self._shrink) if len(found) > 1 else float("inf")

    @property
    def _shrink(self) -> float:
        return float(np.sqrt(min(len(self.ground.y), RESAMPLED) / len(self.ground.y)))

    def _resampled(self) -> list[Codes]:
        draw, count = np.random.default_rng(0), len(self.ground.y)
        return [draw.integers(0, count, min(count, RESAMPLED)) for _ in range(RESAMPLES)]

    def _folds_add(self, trial: Trial, *, right: bool) -> float:
        """Merit that the folds which a trial gave to unlabelled rows add to that of one fold each."""
        if trial.folded is None or trial.single is None or self.search.folds is None:
            return 0.0
        q = self._truth
        more = _merit(trial.folded, q, right=right).mean() - _merit(trial.single, q, right=right).mean()
        return self.search.folds.trust * float(more)


def _merit(p: Floats, q: Floats, *, right: bool) -> Floats:
    """float (rows,): how good `p` (rows, classes) is if the truth is drawn from `q`: expected log-probability, or being right."""
    if right:
        return np.asarray(q[np.arange(len(p)), p.argmax(axis=1)])
    return np.asarray((q * np.log(np.maximum(p, blend.TINY))).sum(axis=1))
