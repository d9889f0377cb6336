"""The planner on files, for anybody who has predictions and prices: a folder of arrays -> plan.json -> a simulated run.

Expects: a folder with `units.json` `{"families": [{"name", "cost_s", "fixed_s", "shared": {key: seconds}}], "folds": K}`,
    `oof.npy` float (families, rows, classes), `y.npy` (rows,), `fold.npy` (rows,) and, if there is one, `unlabelled.npy` float
    (families, K, m, classes). Families that a fold has no model of are NaN on the rows of that whole fold.
Produces: plan.json with schema `kkb-units/1`, by atomic rename.
Never: changes its input.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import UserError
from builder.plan.blends import KINDS, References
from builder.plan.course import Course, Evidence, Point, Step, Told
from builder.plan.prices import Family
from builder.runtime.contract import EFFORTS, Effort
from builder.workspace import read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = "kkb-units/1"
DESCRIPTION = '{"families": [{"name": "a", "cost_s": 0.01, "fixed_s": 0, "shared": {}}], "folds": 5}'
OFF_ONE = 0.01  # a row of probabilities may miss 1 by this much


@dataclass(frozen=True)
class Offer:
    """What a folder offers."""

    families: tuple[Family, ...]
    evidence: Evidence


@dataclass(frozen=True)
class UnitsPlan:
    """A plan as `kkb plan --units` writes it; `references`, one per family, are those of a `rank` blend."""

    metric: str
    rows: int
    budget_s: float
    folds: int
    course: Course
    blend: str = "weighted"
    references: References = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `load` reads them back."""
        course = self.course
        return {
            "schema": SCHEMA,
            "metric": self.metric,
            "rows": self.rows,
            "budget_s": self.budget_s,
            "folds": self.folds,
            "families": [
                {
                    "name": family.name,
                    "cost_s": family.seconds,
                    "fixed_s": family.fixed,
                    "shared": dict(family.shared),
                    "temperature": heat,
                }
                for family, heat in zip(course.families, course.temperatures, strict=True)
            ],
            "units": [
                {
                    "family": course.families[step.family].name,
                    "fold": step.fold,
                    "seconds": step.seconds,
                    "fixed_s": step.fixed,
                    "gain": step.gain,
                }
                for step in course.steps
            ],
            "prefixes": [
                {"weights": list(s.weights), "temperature": s.temperature, "shift": list(s.shift), "score": s.score}
                for s in course.steps
            ],
            "blend": self.blend,
            "references": self.references,
            "effort": dataclasses.asdict(course.effort),
            "predicted": [dataclasses.asdict(point) for point in course.predicted],
            "explained": [dataclasses.asdict(told) for told in course.told],
            "notes": list(course.notes),
        }


def read(folder: Path) -> Offer:
    """What `folder` offers. Raises UserError that names the file and the numbers."""
    families, folds = _families(folder / "units.json")
    oof = _array(folder / "oof.npy", "float", f"({len(families)} families, rows, classes)", 3)
    if len(oof) != len(families):
        raise UserError(
            "it does not have one slice per family",
            file=folder / "oof.npy",
            found=f"{len(oof)} in shape {oof.shape}",
            expected=f"{len(families)} families, as in units.json",
            remedy="save the families in the order of units.json",
        )
    y = _codes(folder / "y.npy", "the true class of each row")
    fold = _codes(folder / "fold.npy", "the fold of each row")
    _refuse_other_rows(folder, oof.shape, len(y), len(fold))
    if y.min() < 0 or y.max() >= oof.shape[2]:
        raise UserError(
            "it names classes that the predictions do not have",
            file=folder / "y.npy",
            found=f"{y.min()} to {y.max()}",
            expected=f"0 to {oof.shape[2] - 1}, for the {oof.shape[2]} classes of oof.npy",
            remedy="number the classes as the columns of oof.npy",
        )
    _refuse_holes(oof, fold, families, folder / "oof.npy")
    _refuse_strange(oof, folder / "oof.npy")
    return Offer(families, Evidence(oof, y, fold, _unlabelled(folder / "unlabelled.npy", families, folds, oof.shape[2])))


def save(path: Path, plan: UnitsPlan) -> None:
    """Write plan.json by atomic rename."""
    write_json(path, plan.to_json())


def load(path: Path) -> UnitsPlan:
    """The plan in `path`. Raises UserError when it is not one that `kkb plan --units` wrote."""
    raw = read_json(path, remedy="kkb plan --units DIR --out plan.json")
    try:
        if raw["schema"] != SCHEMA:
            raise ValueError(f"schema {raw['schema']!r}, this kkb reads {SCHEMA!r}")
        plan = _plan(raw)
        _check(plan)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        what = f"no key {error}" if isinstance(error, KeyError) else error
        raise UserError(
            "not a plan that `kkb plan --units` wrote", file=path, found=what, remedy="make it again with kkb plan --units"
        ) from None
    return plan


def _plan(raw: Mapping[str, Any]) -> UnitsPlan:
    families = tuple(
        Family(f["name"], float(f["cost_s"]), tuple(range(raw["folds"])), float(f["fixed_s"]), f["shared"])
        for f in raw["families"]
    )
    index = {family.name: i for i, family in enumerate(families)}
    steps = tuple(
        Step(
            family=index[unit["family"]],
            fold=int(unit["fold"]),
            weights=tuple(float(w) for w in prefix["weights"]),
            temperature=float(prefix["temperature"]),
            score=prefix["score"],
            gain=unit["gain"],
            seconds=float(unit["seconds"]),
            fixed=float(unit["fixed_s"]),
            shift=tuple(float(number) for number in prefix["shift"]),
        )
        for unit, prefix in zip(raw["units"], raw["prefixes"], strict=True)
    )
    rule = raw["effort"]
    effort = Effort(
        rule["kind"],
        tuple(int(stop) for stop in rule["stops"]),
        int(rule["common"]),
        *(tuple(float(number) for number in rule[key]) for key in ("worth", "doubts", "shape")),
    )
    course = Course(
        families,
        tuple(float(f["temperature"]) for f in raw["families"]),
        steps,
        effort,
        tuple(Point(**point) for point in raw["predicted"]),
        tuple(Told(**told) for told in raw["explained"]),
        tuple(raw["notes"]),
    )
    known = tuple(tuple(tuple(float(p) for p in label) for label in family) for family in raw["references"])
    return UnitsPlan(raw["metric"], int(raw["rows"]), float(raw["budget_s"]), int(raw["folds"]), course, raw["blend"], known)


def _check(plan: UnitsPlan) -> None:
    """Raise ValueError when a plan contradicts itself."""
    course = plan.course
    stops, count = course.effort.stops, len(course.steps)
    if course.effort.kind not in EFFORTS or not stops or list(stops) != sorted(set(stops)) or stops[0] < 1 or stops[-1] > count:
        raise ValueError(f"a rule of effort with stops {list(stops)} for {count} units")
    if plan.blend not in KINDS:
        raise ValueError(f"blend {plan.blend!r}")
    if plan.blend == "rank" and not all(plan.references[step.family] for step in course.steps):
        raise ValueError("a rank without references")
    for length, step in enumerate(course.steps, start=1):
        if len(step.weights) != length:
            raise ValueError(f"{len(step.weights)} weights for prefix {length}")
        if plan.blend != "stack" and (min(step.weights) < 0 or abs(sum(step.weights) - 1) > 1e-6):
            raise ValueError(f"the weights of prefix {length} are not a convex combination of {length}")
        if step.fold not in course.families[step.family].folds:
            raise ValueError(f"unit {length} is fold {step.fold} of {len(course.families[step.family].folds)}")
        if not (step.temperature > 0 and step.seconds > 0 and step.fixed >= 0):
            raise ValueError(f"unit {length} has temperature {step.temperature} and {step.seconds} seconds")


def _families(path: Path) -> tuple[tuple[Family, ...], int]:
    raw = read_json(path, remedy=f"write it like {DESCRIPTION}")
    try:
        folds = raw["folds"]
        families = tuple(
            Family(str(f["name"]), f["cost_s"], tuple(range(folds)), f.get("fixed_s", 0.0), f.get("shared", {}))
            for f in raw["families"]
        )
        names = [family.name for family in families]
        prices = [p for f in families for p in (f.seconds, f.fixed, *f.shared.values())]
        if not families or folds < 1 or len(set(names)) < len(names):
            raise ValueError(f"{len(families)} families of {len(set(names))} names, {folds} folds")
        if wrong := [p for p in prices if not (math.isfinite(p) and p >= 0)]:
            raise ValueError(f"a price of {wrong[0]} seconds")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no key {error}" if isinstance(error, KeyError) else error
        raise UserError(
            "it does not describe units", file=path, found=what, expected=DESCRIPTION, remedy="mend the file"
        ) from None
    return families, folds


def array(path: Path, expected: str) -> NDArray[Any]:
    """The array in `path`, mapped into memory. Raises UserError when there is none."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else error
        raise UserError(
            "no readable array", file=path, found=found, expected=expected, remedy="save it with numpy.save"
        ) from None


def _array(path: Path, kind: str, shape: str, dimensions: int) -> NDArray[Any]:
    found = array(path, f"{kind} {shape}")
    if found.ndim != dimensions or 0 in found.shape or not np.issubdtype(found.dtype, np.floating):
        raise UserError(
            "not the array that it should be",
            file=path,
            found=f"{found.dtype} {found.shape}",
            expected=f"{kind} {shape}",
            remedy="save it in this form",
        )
    return np.asarray(found, dtype=np.float32)


def _codes(path: Path, what: str) -> NDArray[np.int64]:
    found = array(path, f"{what}, integers (rows,)")
    number = np.issubdtype(found.dtype, np.number) and not np.iscomplexobj(found)
    if found.ndim != 1 or not number or not (np.isfinite(found).all() and (found == np.round(found)).all()):
        raise UserError(
            f"{what} is not an integer",
            file=path,
            found=f"{found.dtype} {found.shape}",
            expected="integers (rows,)",
            remedy="save codes: 0 for the first class or fold, 1 for the second",
        )
    return np.asarray(found, dtype=np.int64)


def _refuse_other_rows(folder: Path, shape: tuple[int, ...], labels: int, folds: int) -> None:
    """Predictions, labels and folds belong to the same rows. The file that disagrees with the two others is named."""
    if shape[1] == labels == folds:
        return
    file = "oof.npy" if labels == folds else "y.npy" if folds == shape[1] else "fold.npy"
    raise UserError(
        "its rows do not match the other files",
        file=folder / file,
        found=f"oof.npy {shape[1]} rows, y.npy {labels}, fold.npy {folds}",
        expected="the same rows in all of them, in the same order",
        remedy="save all from the same table of rows",
    )


def _unlabelled(path: Path, families: tuple[Family, ...], folds: int, classes: int) -> NDArray[Any] | None:
    if not path.is_file():
        return None
    found = _array(path, "float", f"({len(families)}, {folds}, m, {classes})", 4)
    if (found.shape[0], found.shape[1], found.shape[3]) != (len(families), folds, classes):
        raise UserError(
            "its shape does not match units.json and oof.npy",
            file=path,
            found=found.shape,
            expected=f"({len(families)} families, {folds} folds, m rows, {classes} classes)",
            remedy="predict the same rows with every fold of every family",
        )
    _refuse_strange(found, path)
    if not np.isfinite(found).all():
        raise UserError(
            "it has values that are no numbers",
            file=path,
            found=f"{int((~np.isfinite(found)).any(axis=-1).sum())} rows with NaN",
            expected="probabilities",
            remedy="predict those rows again, or leave them out for all families",
        )
    return found


def _refuse_holes(oof: NDArray[Any], fold: NDArray[np.int64], families: tuple[Family, ...], path: Path) -> None:
    """A family may lack whole folds (a hold-out, a model trained elsewhere), never single rows or classes."""
    for family, p in zip(families, oof, strict=True):
        bad = ~np.isfinite(p)
        holes = bad.any(axis=1)
        if not holes.any():
            continue
        lost = {int(k) for k in np.unique(fold[holes]) if holes[fold == k].all()}
        rest = np.flatnonzero(holes & (~np.isin(fold, list(lost)) | ~bad.all(axis=1)))
        if len(rest):
            raise UserError(
                f"family {family.name} has no prediction for some rows",
                file=path,
                found=f"NaN or infinity in {len(rest)} of {len(p)} rows, the first of them row {rest[0]} (fold {fold[rest[0]]})",
                expected="a prediction for every row of a fold, or NaN for all of it (a hold-out)",
                remedy="predict those rows, or take the family out of units.json and the arrays",
            )


def _refuse_strange(p: NDArray[Any], path: Path) -> None:
    """Probabilities are not negative and sum to one."""
    total = p.sum(axis=-1)
    off = (np.abs(total - 1) > OFF_ONE) | (p < 0).any(axis=-1)
    if off.any():
        where = tuple(int(i) for i in np.argwhere(off)[0])
        raise UserError(
            "it has rows that are no probabilities",
            file=path,
            found=f"{int(off.sum())} rows; row {where} sums to {float(total[where]):.4g}",
            expected="not negative, with sum 1",
            remedy="apply softmax to logits before saving",
        )
