"""Why predictions differ from those that came with the weights: other preprocessing, tried until one explains the difference.

Expects: rows that a model did not see, its answers under kernel.toml's preprocessing, and the answers that were given.
Produces: every candidate that was tried with its difference, the best first, and the line of kernel.toml that it stands for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.runtime.heads import IDENTITY, SOFTMAX, single, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.runtime.contract import Head, Input

    Probabilities = NDArray[np.float32]
    Picks = NDArray[np.int64]
    Change = tuple[str, Callable[["Setting"], "Setting"]]

EXPLAINS = 0.2  # a candidate that leaves less than this share of the difference is the cause
SAME = 5e-3  # predictions that differ by less, once sorted, are the same ones
FEW = 32  # rows on which combinations are tried
MARGIN = 0.875  # of the customary 256 -> 224: what is left of a side after cutting the centre out
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
AS_GIVEN = "as in kernel.toml"
NAMES = {"bgr": "BGR", "rgb": "RGB", "gray": "grey", "pil": "PIL", "cv2": "cv2"}
NONE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Setting:
    """One way to make an array from an image."""

    input: Input
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Tried:
    """A candidate: what it changes in words, and how far its answers are from those that were given."""

    words: str
    setting: Setting
    mean: float
    largest: float
    argmax_equal: float


def differences(ours: Probabilities, given: Probabilities, heads: Sequence[Head] = ()) -> tuple[float, float, float]:
    """Mean and largest difference of an answer, and the share of rows with the same most likely class.

    Numbers differ in units of their spread. Of several heads the least share counts; it is 1 where there are no classes. Without
    `heads` there is one of classes.
    """
    heads = heads or single([""] * ours.shape[1])
    apart, equal = np.abs(_in_units(ours, heads) - _in_units(given, heads)), [1.0]
    for head, place in zip(heads, slices(heads), strict=True):
        if head.link == SOFTMAX:
            equal.append(float((ours[:, place].argmax(axis=1) == given[:, place].argmax(axis=1)).mean()))
    return float(apart.mean()), float(apart.max()), min(equal)


def _in_units(values: Probabilities, heads: Sequence[Head]) -> NDArray[np.float64]:
    """Numbers in units of their spread, and all others as they are."""
    found = values.astype(np.float64)
    for head, place in zip(heads, slices(heads), strict=True):
        if head.link == IDENTITY:
            found[:, place] /= np.array(head.spread or 1.0)
    return found


def search(
    start: Setting, answer: Callable[[Setting, Picks], Probabilities], given: Probabilities, heads: Sequence[Head] = ()
) -> list[Tried]:
    """All candidates that were tried, the best first; `start` is among them, under the words `as in kernel.toml`.

    Every single change is tried on all rows. When none leaves as good as nothing, combinations are tried on a few rows, those of
    two changes before those of three, and the best that explains the difference there is tried on all.

    Args:
        start: What kernel.toml says.
        answer: A setting and positions in `given` -> probabilities of these rows.
        given: Those that came with the weights.
        heads: As in `differences`.
    """
    everything = np.arange(len(given))
    few = everything[:: max(1, len(given) // FEW)]

    def tried(words: str, setting: Setting, picks: Picks) -> Tried:
        return Tried(words, setting, *differences(answer(setting, picks), given[picks], heads))

    axes = _axes(start)
    found = [tried(AS_GIVEN, start, everything)]
    found += [tried(words, change(start), everything) for axis in axes for words, change in axis]
    if min(one.mean for one in found) > SAME / 2:
        before = tried(AS_GIVEN, start, few)
        for count in (2, 3):
            better = [
                one for words, setting in _combinations(start, axes, count) if explains(one := tried(words, setting, few), before)
            ]
            if better:
                best = min(better, key=lambda one: one.mean)
                found.append(tried(best.words, best.setting, everything))
                break
    return sorted(found, key=lambda one: one.mean)


def explains(one: Tried, start: Tried) -> bool:
    """Whether a candidate leaves so little of the difference that it must be the cause."""
    return one.setting != start.setting and one.mean < EXPLAINS * start.mean


def _axes(now: Setting) -> list[list[Change]]:
    """What may be otherwise, the most frequent faults first: colours, arithmetic, interpolation, library, resizing."""
    shape = now.input

    def of_input(key: str, values: tuple[str, ...], words: str = "{}") -> list[Change]:
        other = [value for value in values if value != getattr(shape, key)]
        return [(words.format(NAMES.get(value, value)), _changed(key, value)) for value in other]

    numbers = [
        (words, _normalised(mean, std))
        for words, (mean, std) in _arithmetics(now).items()
        if not np.allclose((*mean, *std), (*now.mean, *now.std), rtol=1e-3)
    ]
    resizing = of_input("resize", ("squash", "crop", "letterbox"), "resize {}")
    resizing += [(f"a centre crop of {MARGIN:.1%}", _cut)] if shape.crop_pct != MARGIN else []
    return [
        of_input("color", ("bgr", "rgb", "gray"), "{} channels"),
        numbers,
        of_input("interpolation", ("bilinear", "bicubic", "nearest", "area"), "interpolation {}"),
        of_input("library", ("pil", "cv2"), "{}"),
        resizing,
    ]


def _changed(key: str, value: str) -> Callable[[Setting], Setting]:
    other: dict[str, Any] = {key: value}
    return lambda setting: replace(setting, input=replace(setting.input, **other))


def _normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Setting], Setting]:
    return lambda setting: replace(setting, mean=mean, std=std)


def _cut(setting: Setting) -> Setting:
    return replace(setting, input=replace(setting.input, resize="crop", crop_pct=MARGIN))


def _combinations(start: Setting, axes: list[list[Change]], count: int) -> Iterator[tuple[str, Setting]]:
    """Settings that differ from `start` on `count` axes."""
    for chosen in itertools.combinations(axes, count):
        for changes in itertools.product(*chosen):
            setting = start
            for _, change in changes:
                setting = change(setting)
            yield ", ".join(words for words, _ in changes), setting


def _arithmetics(now: Setting) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    def of_bytes(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The same numbers, applied to pixels of 0..255 that nobody divided by 255."""
        return tuple(value / 255 for value in mean), tuple(value / 255 for value in std)

    return {
        "no mean and std": NONE,
        "mean and std on pixels of 0..255": of_bytes(now.mean, now.std),
        "pixels of 0..255 as they are": of_bytes(*NONE),
        "mean and std of 0.5": HALVES,
        "ImageNet's mean and std": IMAGENET,
        "CLIP's mean and std": CLIP,
    }


def line(model: str, start: Setting, better: Setting) -> str:
    """What to write into kernel.toml for `better` instead of `start`."""
    keys: dict[str, Any] = {key: getattr(better.input, key) for key in ("resize", "interpolation", "library", "color")}
    changed = [f'{key} = "{value}"' for key, value in keys.items() if value != getattr(start.input, key)]
    if (better.mean, better.std) != (start.mean, start.std):
        changed += [f"{key} = {[round(value, 8) for value in getattr(better, key)]}" for key in ("mean", "std")]
    if better.input.crop_pct != start.input.crop_pct:
        changed.append(f"crop_pct = {better.input.crop_pct:g}")
    return f"[model.input] of '{model}': {'; '.join(changed)}"


def other_order(
    ours: Probabilities, given: Probabilities, fold_of: NDArray[np.int64], ids: tuple[str, ...], heads: Sequence[Head] = ()
) -> str | None:
    """In which other order of rows or columns `given` agrees with `ours`; None when in none. `heads` as in `differences`."""
    heads = heads or single([""] * ours.shape[1])
    apart = differences(ours, given, heads)[0]
    by_fold, by_id = np.argsort(fold_of, kind="stable"), np.argsort(np.array(ids), kind="stable")
    for words, order in (("fold by fold", by_fold), ("sorted by id", by_id), ("in reverse", np.arange(len(ours))[::-1])):
        restored = np.empty_like(given)
        restored[order] = given
        if differences(ours, restored, heads)[0] < EXPLAINS * apart:
            return f"its rows stand {words}, not as in the training table"
    columns = np.array([np.abs(ours[:, [k]] - given).mean(axis=0).argmin() for k in range(ours.shape[1])])
    if len(set(columns.tolist())) == len(columns) and differences(ours, given[:, columns], heads)[0] < EXPLAINS * apart:
        return f"its columns are the classes in another order: column {int(columns[0])} is the first class"
    mine, theirs = (np.sort(_in_units(one, heads), axis=0) for one in (ours, given))
    if np.allclose(mine, theirs, rtol=0, atol=SAME):
        return "its rows stand in another order than the training table's"
    return None
