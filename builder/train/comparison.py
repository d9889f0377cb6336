"""Out-of-fold predictions that came with weights, beside ours: equal up to rounding, or refused with the likely cause.

Two machines, half precision and another version of a library move a probability by less than ROUNDING. More than that is another
preprocessing until proven otherwise: its candidates are tried on some of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import models
from builder.errors import GateError
from builder.runtime import inputs
from builder.train import diagnosis
from builder.train.diagnosis import Setting, Tried
from builder.train.record import Comparison, bearable

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.competition import Rows
    from builder.metrics import Metric
    from builder.runtime.contract import Head

    Probabilities = NDArray[np.float32]

ROUNDING = 1e-3  # largest difference of a probability that needs no explanation
SMALL = 5e-3  # mean difference that is let through when nothing explains it and the score stays
SAMPLE = 256
SHOWN = 8
THREADS = 4


@dataclass(frozen=True)
class Suspect:
    """One adopted model, to be asked again under other preprocessing.

    Attributes:
        oof: What kernel.toml calls the predictions that came with it.
        setting: Its preprocessing according to kernel.toml.
        network: Fold -> its portable network, loaded anew.
        tell: Called with what is being done.
    """

    name: str
    oof: str
    setting: Setting
    network: Callable[[int], torch.nn.Module]
    tell: Callable[[str], None]


def compare(
    suspect: Suspect,
    rows: Rows,
    folds: NDArray[np.int64],
    ours: Probabilities,
    given: Probabilities,
    metric: Metric,
    allowed: float,
) -> tuple[Comparison | None, str | None]:
    """How far `given` is from `ours`, and a note when they are not quite equal.

    Args:
        ours, given: float32 (rows, outputs), NaN where there is none.
        allowed: What the score may lose against the given predictions (`record.bearable`).

    Raises:
        GateError: They differ by more than rounding, and a candidate explains it, or the difference is not small.
    """
    beside = _beside(suspect.name, suspect.oof, rows, folds, ours, given, metric)
    if beside is None:
        return None, _nothing_shared(suspect.oof)
    result, known = beside
    if result.largest <= ROUNDING:
        return result, None
    sample = _Sample(suspect, rows, folds, known)
    wanted, heads = given[sample.rows], rows.heads
    apart, _, _ = diagnosis.differences(sample.answer(suspect.setting), wanted, heads)
    if diagnosis.differences(sample.by_any(suspect.setting, wanted), wanted, heads)[0] < diagnosis.EXPLAINS * apart:
        what = "each row was answered by one of these models, but not by the one that left it out here"
        raise _refusal(suspect.name, result, metric, what, "give the folds that the weights were trained with, as folds")
    tried = diagnosis.search(suspect.setting, sample.answer, wanted, heads)
    explained = diagnosis.explains(tried[0], next(one for one in tried if one.setting == suspect.setting))
    small = result.mean <= SMALL
    if not explained and small and _is_bearable(metric, result, rows, allowed):
        return result, f"{suspect.oof} differs from ours by {result.largest:.1e} at most; no other preprocessing explains it"
    remedy = _remedy(suspect, tried[0].setting, explained=explained, small=small)
    raise _refusal(suspect.name, result, metric, _table(tried), remedy)


def of_texts(
    name: str,
    oof: str,
    rows: Rows,
    folds: NDArray[np.int64],
    ours: Probabilities,
    given: Probabilities,
    metric: Metric,
    allowed: float,
) -> tuple[Comparison | None, str | None]:
    """`compare` for a model of texts, whose preprocessing is its tokenizer's: there are no candidates to try.

    Args:
        name, oof: What kernel.toml calls the model, and the predictions that came with it.
    """
    beside = _beside(name, oof, rows, folds, ours, given, metric)
    if beside is None:
        return None, _nothing_shared(oof)
    result, _ = beside
    if result.largest <= ROUNDING:
        return result, None
    if result.mean <= SMALL and _is_bearable(metric, result, rows, allowed):
        return result, f"{oof} differs from ours by {result.largest:.1e} at most"
    what = "this tokenizer, this length and these checkpoints give other answers"
    remedy = "set length and side under [model.text] as they were when the predictions were made; or leave oof out"
    raise _refusal(name, result, metric, what, remedy)


def _beside(
    name: str, oof: str, rows: Rows, folds: NDArray[np.int64], ours: Probabilities, given: Probabilities, metric: Metric
) -> tuple[Comparison, NDArray[np.int64]] | None:
    """How far apart they are, and on which rows; None where no row has both. Raises GateError for another order of rows."""
    known = np.flatnonzero(np.isfinite(ours).all(axis=1) & np.isfinite(given).all(axis=1))
    if not len(known):
        return None
    mean, largest, equal = diagnosis.differences(ours[known], given[known], rows.heads)
    before, after = (metric.or_none(rows.y[known], p[known]) for p in (given, ours))
    result = Comparison(oof, len(known), largest, mean, equal, before, after)
    if largest > ROUNDING:
        ids = tuple(rows.ids[row] for row in known)
        order = diagnosis.other_order(ours[known], given[known], folds[known], ids, rows.heads)
        if order:
            remedy = "save it in the order of the training table, or as .csv with the id column"
            raise _refusal(name, result, metric, order, remedy)
    return result, known


def in_own_unit(heads: Sequence[Head]) -> tuple[Head, ...]:
    """Heads of weights from elsewhere: numbers are answered as they are."""
    return tuple(replace(head, offset=(), spread=()) for head in heads)


def _nothing_shared(oof: str) -> str:
    return f"{oof} could not be compared: no row has both its prediction and one of ours"


def _is_bearable(metric: Metric, result: Comparison, rows: Rows, allowed: float) -> bool:
    """Whether ours score hardly worse."""
    before, after = result.given_score, result.own_score
    if before is None or after is None:
        return True
    return metric.gain(before, after) <= bearable(allowed, metric, before, rows.heads)


def _remedy(suspect: Suspect, best: Setting, *, explained: bool, small: bool) -> str:
    if explained:
        return f"{diagnosis.line(suspect.name, suspect.setting, best)}; or leave oof out"
    if small:
        return "the difference is small, but it costs score: raise export.max_score_drop if that is right, or leave oof out"
    cause = "check size, the checkpoints, and whether oof was made with other views"
    return f"none of the candidates explains it: {cause}; or leave oof out"


def _refusal(name: str, result: Comparison, metric: Metric, found: str, remedy: str) -> GateError:
    scores = f"{metric.name} {_number(result.own_score)} for ours, {_number(result.given_score)} for the given"
    return GateError(
        f"{name} does not predict what came with its weights",
        file=result.file,
        found=f"a difference of {result.largest:.4f} at most, {result.mean:.4f} on average, {result.argmax_equal:.2%} equal "
        f"answers on {result.rows} rows, {scores}; {found}",
        expected=f"at most {ROUNDING:g}",
        remedy=remedy,
    )


def _number(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.5f}"


def _table(tried: list[Tried]) -> str:
    shown = [f"{one.mean:.4f} on average, {one.largest:.4f} at most, {one.argmax_equal:.1%} equal: {one.words}" for one in tried]
    start = next(line for line in shown if line.endswith(diagnosis.AS_GIVEN))
    lines = shown[:SHOWN] if start in shown[:SHOWN] else [*shown[: SHOWN - 1], start]
    return "\n    ".join([f"{len(tried)} kinds of preprocessing tried, the best first:", *lines])


class _Sample:
    """Some of the rows, to be answered under any setting and by any fold's model."""

    def __init__(self, suspect: Suspect, rows: Rows, folds: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        self.rows = known[np.unique(np.linspace(0, len(known) - 1, min(SAMPLE, len(known))).astype(np.int64))]
        self.folds = folds[self.rows]
        self._suspect, self._asked, self._heads = suspect, 0, in_own_unit(rows.heads)
        self._paths = [rows.paths[row] for row in self.rows]
        self._networks = {fold: suspect.network(fold) for fold in np.unique(self.folds).tolist()}
        self._last: tuple[Any, NDArray[np.uint8]] = (None, np.empty(0, dtype=np.uint8))  # settings come sorted by their images

    def answer(self, setting: Setting, picks: NDArray[np.int64] | None = None) -> Probabilities:
        """float32 (picks, outputs): each row (of all, or at some positions) by the model that did not see it."""
        self._asked += 1
        self._suspect.tell(f"{self._suspect.name}: compare with {self._suspect.oof}, preprocessing {self._asked}")
        picks = np.arange(len(self.rows)) if picks is None else picks
        pixels, folds = self._pixels(setting, picks), self.folds[picks]
        own = {fold: np.flatnonzero(folds == fold) for fold in np.unique(folds).tolist()}
        parts = {fold: self._by(fold, setting, pixels, rows) for fold, rows in own.items()}
        out = np.empty((len(picks), next(iter(parts.values())).shape[1]), dtype=np.float32)
        for fold, part in parts.items():
            out[own[fold]] = part
        return out

    def by_any(self, setting: Setting, given: Probabilities) -> Probabilities:
        """The same, each row by whichever model comes nearest to `given`."""
        everything = np.arange(len(self.rows))
        pixels = self._pixels(setting, everything)
        answers = np.stack([self._by(fold, setting, pixels, everything) for fold in self._networks])
        nearest = np.abs(answers - given).mean(axis=2).argmin(axis=0)
        return answers[nearest, everything]  # type: ignore[no-any-return]

    def _pixels(self, setting: Setting, picks: NDArray[np.int64]) -> NDArray[np.uint8]:
        key = (setting.input.key, len(picks))
        if self._last[0] != key:
            paths = [self._paths[pick] for pick in picks]
            self._last = (key, inputs.decode_many(paths, setting.input, threads=THREADS)[0])
        return self._last[1]

    def _by(self, fold: int, setting: Setting, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> Probabilities:
        network: Any = self._networks[fold]
        # Another mean and std are two small arrays; the weights need not be read again.
        other: Any = models.portable(None, setting.mean, setting.std).to(network.scale.device)
        network.scale, network.shift = other.scale, other.shift
        return models.answers(network, pixels, rows, heads=self._heads)
