"""A metric of the user's own: a function beside kernel.toml, `metric.py:my_score`.

    def my_score(y, p):             # truth and predictions, arrays with a row for each sample
        return float(...)

    my_score.greater_is_better = True    # which direction is better; must be said
    my_score.prediction = "labels"       # what it judges: probabilities (default), labels or numbers
    my_score.truth = "classes"           # what truth it takes: classes, multilabel or numbers; default: both come as they are

Loaded when it is asked for by name, never to list what there is.
"""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

from builder import usercode
from builder.errors import ConfigError, UserError, did_you_mean
from builder.metrics import CLASSES, LABELS, MULTILABEL, NUMBERS, PROBABILITIES, Metric

KEY = "competition.metric"


def load(name: str, folder: Path | None) -> Metric:
    """The metric `name` (`metric.py:my_score`), a file below `folder`. Raises ConfigError, UserError blaming the user's line."""
    if folder is None:
        raise UserError(
            f"the metric '{name}' is a function of somebody's own, and nobody here knows its folder",
            expected="a metric that has a name",
            remedy="use one of those, or score at home",
        )
    function = _function(folder, name)
    return Metric(
        name,
        _direction(function, name, folder),
        _called(function, name, folder),
        _truths(function, name, folder),
        _one_of(function, name, folder, "prediction", (PROBABILITIES, LABELS, NUMBERS)) or PROBABILITIES,
    )


def _function(folder: Path, name: str) -> Any:
    file, _, function = name.partition(":")
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        here = sorted(entry.name for entry in folder.glob("*.py")) if folder.is_dir() else []
        remedy = did_you_mean(file, here) if here else f"write {file}"
        listed = ", ".join(here) or "no python files"
        raise ConfigError(f"{KEY} names a file that is not there", file=path, found=listed, remedy=remedy)
    module, _ = usercode._loaded(folder, file)  # noqa: SLF001  one loader of user code, whatever the code is for
    found = getattr(module, function, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise ConfigError(
            f"{KEY}: {file} has no function '{function}'",
            file=path,
            found=", ".join(known) or "no functions",
            remedy=did_you_mean(function, known) if known else f"write def {function}(y, p): ...",
        )
    return found


def _direction(function: Any, name: str, folder: Path) -> bool:
    found = getattr(function, "greater_is_better", None)
    if not isinstance(found, bool):
        file, _, plain = name.partition(":")
        raise ConfigError(
            f"{KEY}: {plain} does not say which direction is better",
            file=folder / file,
            found=found,
            expected="True or False",
            remedy=f"write {plain}.greater_is_better = True below the function",
        )
    return found


def _truths(function: Any, name: str, folder: Path) -> tuple[str, ...]:
    known = (CLASSES, MULTILABEL, NUMBERS)
    found = _one_of(function, name, folder, "truth", known)
    return (found,) if found else ()


def _one_of(function: Any, name: str, folder: Path, attribute: str, known: tuple[str, ...]) -> str | None:
    found = getattr(function, attribute, None)
    if found is not None and found not in known:
        file, _, plain = name.partition(":")
        raise ConfigError(
            f"{KEY}: {plain}.{attribute} is not known",
            file=folder / file,
            found=repr(found),
            expected=", ".join(known),
            remedy=did_you_mean(str(found), known),
        )
    return found


def _called(function: Any, name: str, folder: Path) -> Any:
    def call(y: Any, p: Any) -> float:
        with usercode.explained(f"the metric {name} fails", folder):
            # Its own copies: what it does to them must not reach the next score.
            found = function(y.copy(), p.copy())
        try:
            score = float(found)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise UserError(
                f"the metric {name} is no number",
                file=folder / name.partition(":")[0],
                found=repr(found)[:100],
                expected="a finite number",
                remedy="return float(...)",
            )
        return score

    return call
