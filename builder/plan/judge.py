"""Which rule is the best one: told in the competition metric, cross-fitted, and not by luck.

Pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan import blend, folds
from builder.plan.lanes import Ground, Trial
from builder.plan.search import Search
from builder.plan.subsets import SOFT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

SIMPLE_FIRST = ("static", "queue", "tiers")
FINALISTS = 3  # of each kind
ERRORS = 1.0  # standard errors by which what is less simple must win
RESAMPLES, RESAMPLED = 60, 2000


@dataclass(frozen=True)
class Judge:
    """Judges trials on the rows of `ground`, in `metric`."""

    ground: Ground
    search: Search
    metric: Metric

    def choose(self, trials: Sequence[Trial]) -> Trial:
        """The static rule, unless another wins in the competition metric, and by more than a standard error there or in logloss.

        There are many rules of tiers for each of the others, so that the best of them has been lucky: they must win against the
        queue, too. Of rules of one kind that a standard error cannot tell apart, the one that saves seconds.
        """
        losses = {id(trial): self.loss(trial) for trial in trials}
        chosen: Trial | None = None
        for kind in SIMPLE_FIRST:
            rivals = sorted((t for t in trials if t.effort.kind == kind), key=lambda t: losses[id(t)])[:FINALISTS]
            for rival in rivals:
                if chosen is None or self._beats(rival, chosen, losses[id(chosen)] - losses[id(rival)]):
                    chosen = self._cheaper(rival, rivals, losses)
                    break
        if chosen is None:
            raise ValueError("no trials to choose from")
        return chosen

    def loss(self, trial: Trial) -> float:
        """What rules are sorted by: logloss, half to the labels and half to the blend of everything, less what folds win."""
        soft = folds.cross_entropy(self.ground.everything, trial.answers)
        hard = blend.logloss(trial.answers, self.ground.y)
        return (1 - SOFT) * hard + SOFT * soft - self._folds_win(trial)

    def score(self, trial: Trial) -> float:
        """Predicted score in the competition metric: cross-fitted, plus what folds win on labels that are drawn for them."""
        score = self.metric(self.ground.y, trial.answers)
        if trial.folded is None or trial.single is None or self.search.folds is None:
            return score
        if self.metric.name == "logloss":
            return score - self._folds_win(trial)
        won = [
            self.metric.gain(new, old)
            for labels in trial.lane.drawn
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
        shrink = np.sqrt(min(len(y), RESAMPLED) / len(y))
        low, high = (np.percentile(found, [5, 95]) - np.mean(found)) * shrink
        return float(low), float(high)

    def _beats(self, rival: Trial, chosen: Trial, won: float) -> bool:
        """Whether `rival`, which wins that much logloss, is better beyond luck, and not worse where it counts."""
        told = self.metric.gain(self.score(rival), self.score(chosen))
        if told < 0:
            return False
        if won > ERRORS * self.loss_error(rival, chosen):
            return True
        return self.metric.name != "logloss" and told > ERRORS * self._score_error(rival, chosen)

    def _cheaper(self, best: Trial, rivals: Sequence[Trial], losses: dict[int, float]) -> Trial:
        """Of `rivals` that are within a standard error of `best`, the one that spends least; `best` when none spends less."""
        near = [t for t in rivals if losses[id(t)] - losses[id(best)] <= self.loss_error(t, best)]
        return min((best, *near), key=lambda t: t.spent.seconds * (1 + 1e-6 * (t is not best)))

    def loss_error(self, one: Trial, other: Trial) -> float:
        """Standard error of the difference of two loglosses, row by row."""
        rows, y = np.arange(len(self.ground.y)), self.ground.y
        a, b = (np.maximum(t.answers[rows, y], blend.TINY) for t in (one, other))
        return float(np.log(a / b).std(ddof=1) / np.sqrt(len(y)))

    def _score_error(self, one: Trial, other: Trial) -> float:
        """Standard error of the difference of two scores, by the bootstrap."""
        y, found = self.ground.y, []
        for rows in self._resampled():
            pair = [self.metric.or_none(y[rows], trial.answers[rows]) for trial in (one, other)]
            if pair[0] is not None and pair[1] is not None:
                found.append(pair[0] - pair[1])
        return float(np.std(found, ddof=1) * np.sqrt(min(len(y), RESAMPLED) / len(y))) if len(found) > 1 else float("inf")

    def _resampled(self) -> list[Codes]:
        draw, count = np.random.default_rng(0), len(self.ground.y)
        return [draw.integers(0, count, min(count, RESAMPLED)) for _ in range(RESAMPLES)]

    def _folds_win(self, trial: Trial) -> float:
        """Logloss that the folds which a trial gave to unlabelled rows win over one fold each."""
        if trial.folded is None or trial.single is None or self.search.folds is None:
            return 0.0
        q = trial.lane.truth
        return self.search.folds.trust * (folds.cross_entropy(q, trial.single) - folds.cross_entropy(q, trial.folded))
