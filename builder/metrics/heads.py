"""The metric of a competition with several heads: the mean of one metric per head, each on its own outputs.

`accuracy` scores every head alike; `kind=accuracy, size=f1_macro` gives each head its own. Where some rise and others fall, as in
`kind=accuracy, price=rmse`, the score rises: those that fall count as their negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError, did_you_mean
from builder.metrics import CLASSES, PROBABILITIES, Metric, UnfitError, get
from builder.runtime.contract import LINKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.runtime.contract import Head

EXAMPLE = "kind=accuracy, size=f1_macro"
IDENTITY = LINKS[-1]
GIVEN = "="  # in a name that gives each head its own


def apart(heads: Sequence[Head], y: NDArray[Any]) -> list[NDArray[Any]]:
    """The truth of each head, from that of all: of one head `y` as it is, of several a column each.

    Of several, codes of classes become int64 (rows,), numbers float64 (rows, 1).
    """
    if len(heads) == 1:
        return [y]
    places = range(len(heads))
    return [y[:, [at]] if head.link == IDENTITY else y[:, at].astype("int64") for at, head in zip(places, heads, strict=True)]


def names(metric: str, heads: Sequence[str]) -> dict[str, str]:
    """Head -> name of its metric. Raises UserError when not every head has one."""
    if GIVEN not in metric:
        return dict.fromkeys(heads, metric)
    pairs = _pairs(metric)
    found = dict(pairs)
    strange = [name for name in found if name not in heads]
    if strange:
        raise UserError(f"no target is called '{strange[0]}'", expected=", ".join(heads), remedy=did_you_mean(strange[0], heads))
    lacking = [name for name in heads if not found.get(name)]
    if lacking or len(found) < len(pairs):
        what = ", ".join(lacking) or "a target that stands twice"
        raise UserError(f"not every target has one metric: {what}", found=metric, expected=f"such as {EXAMPLE}")
    return found


def each(metric: str, heads: Sequence[str], folder: Path | None = None) -> list[Metric]:
    """The metric of every head. Raises UserError as `names` and `metrics.get` do."""
    told = names(metric, heads)
    return [get(told[name], folder) for name in heads]


def rises(found: Sequence[Metric]) -> bool:
    """Whether more is better of the mean of these metrics."""
    return any(one.greater_is_better for one in found)


def mean(found: Sequence[Metric], scores: Sequence[float]) -> float:
    """The score of all heads from those of each."""
    up = rises(found)
    signed = [-score if up and not one.greater_is_better else score for one, score in zip(found, scores, strict=True)]
    return sum(signed) / len(signed)


def of(metric: str, heads: Sequence[Head], folder: Path | None = None) -> Metric:
    """The metric called `metric` for answers of these heads; a function of the user's own is looked for below `folder`.

    That of several heads takes codes int (rows, heads), with numbers among them float, and judges the outputs of all heads, float
    (rows, outputs), or codes and numbers that were decided (rows, heads). Raises UserError as `metrics.get` does, and when heads
    and names do not fit.
    """
    if len(heads) == 1 and GIVEN in metric:
        raise UserError("a metric for each of several targets, and there is one", found=metric, expected="the name of one metric")
    if len(heads) == 1:
        return get(metric, folder)
    found = each(metric, [head.name for head in heads], folder)
    judged = {one.prediction for one in found}
    prediction = judged.pop() if len(judged) == 1 else PROBABILITIES
    return Metric(metric, rises(found), _of_all(metric, heads, found), (), prediction)


def unbound(metric: str, folder: Path | None = None) -> Metric:
    """A metric that gives each head its own, where nobody knows the heads: it can compare scores, and make none."""
    found = each(metric, [name for name, _ in _pairs(metric)], folder)

    def refuse(y: Any, p: Any) -> float:
        raise UnfitError(
            f"the metric {metric} does not fit",
            found=f"truth {y.shape}, predictions {p.shape}",
            expected="a truth of several targets",
            remedy="check competition.metric and data.target in kernel.toml",
        )

    return Metric(metric, rises(found), refuse, (CLASSES,), found[0].prediction)


def told(metric: str) -> tuple[str, ...]:
    """The heads that a metric names, `kind=accuracy, size=f1_macro`; none of one that is for all alike."""
    return tuple(name for name, _ in _pairs(metric)) if GIVEN in metric else ()


def _pairs(metric: str) -> list[tuple[str, str]]:
    """(head, name of its metric) as they are written."""
    parts = [part.rpartition(GIVEN) for part in metric.split(",")]
    return [(head.strip(), name.strip()) for head, _, name in parts]


def _of_all(metric: str, heads: Sequence[Head], found: Sequence[Metric]) -> Callable[[Any, Any], float]:
    from builder.runtime.heads import slices

    places = slices(heads)

    def score(y: Any, p: Any) -> float:
        if y.ndim != 2 or p.ndim != 2 or y.shape[1] != len(heads) or p.shape[1] not in {len(heads), places[-1].stop}:
            raise UnfitError(
                f"the metric {metric} does not fit",
                found=f"truth {y.shape}, predictions {p.shape}",
                expected=f"{len(heads)} targets with {places[-1].stop} outputs",
                remedy="check competition.metric and data.target in kernel.toml",
            )
        decided = p.shape[1] == len(heads)
        scores = []
        for number, (head, one, own, place) in enumerate(zip(heads, found, apart(heads, y), places, strict=True)):
            try:
                scores.append(one(own, p[:, number] if decided else p[:, place]))
            except UnfitError as error:
                told = {"found": error.found, "expected": error.expected, "remedy": error.remedy}
                raise type(error)(f"{head.name}: {error.what}", **told) from None
        return mean(found, scores)

    return score
