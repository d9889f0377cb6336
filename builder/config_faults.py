"""What pydantic found wrong with a kernel.toml, in the words of our errors: the key, what was found, what to write instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from builder.errors import ConfigError, UserError, nearest
from builder.runtime import views

if TYPE_CHECKING:
    from builder.config import Config

UNFIT = "unfit"
EACH = "one for each target: kind=accuracy, price=r2"
EXAMPLES = {"classes": "accuracy, logloss or f1_macro", "multilabel": "mean(auc) or f1_samples", "numbers": "rmse or mae"}


def unfit(key: str, found: object, expected: str, remedy: str = "change the value") -> PydanticCustomError:
    """The error of a `key` that does not fit another one, for a validator of the whole file."""
    told = {"key": key, "found": str(found), "expected": expected, "remedy": remedy}
    return PydanticCustomError(UNFIT, "'{key}': found {found}, expected {expected}", told)


def view(name: str) -> str:
    """A view's name. Raises ValueError for one that there is not, naming those that there are."""
    try:
        views.get(name)
    except ValueError as error:
        expected = re.sub(r"^(known|possible) are ", "", str(error).partition("; ")[2])
        whole = next((whole for whole in (f"identity{name}", f"identity@{name}") if _is_view(whole)), nearest(name, views.TURNS))
        raise ValueError(f"found {name!r}, expected {expected}" + (f"; did you mean '{whole}'?" if whole else "")) from None
    return name


def _is_view(name: str) -> bool:
    try:
        return bool(views.get(name))
    except ValueError:
        return False


def view_of_cells(kind: str, name: str) -> None:
    """Raise ValueError, saying what there is, when tokens, terms or tables (`kind`) cannot be seen so."""
    from builder.runtime import cells

    try:
        cells.check_view(kind, name)
    except ValueError as error:
        _, _, known = str(error).partition("; ")
        raise ValueError(f"found {name!r}, expected a view of {kind}: {known or error}") from None


def explained(path: Path, error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """The first fault that pydantic found in the file `path`, which should have been a `model`."""
    # A misspelt key is also a missing one; the misspelling is what a person can mend.
    first = min(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    where = [str(part) for part in first["loc"]]
    key = ".".join(where) or "kernel.toml"
    if first["type"] == "extra_forbidden":
        known = sorted(field.alias or name for name, field in _section(model, where[:-1]).model_fields.items())
        table = f"[{'.'.join(part for part in where[:-1] if not part.isdigit())}]" if where[:-1] else "the file"
        match = nearest(where[-1], known)
        remedy = f"did you mean '{match}'?" if match else "remove it"
        return ConfigError(f"unknown key '{where[-1]}' in {table}", file=path, expected=", ".join(known), remedy=remedy)
    if first["type"] == "missing":
        return ConfigError(f"missing key '{key}'", file=path, expected="a value", remedy=f"add '{where[-1]}' to the table")
    if first["type"] in ("tuple_type", "list_type") and key == "model":
        return ConfigError(
            "'model' is one table", file=path, expected="a list of tables", remedy="write [[model]] instead of [model]"
        )
    if first["type"] in ("tuple_type", "list_type"):
        example = f'a list, such as ["{first["input"]}"]' if isinstance(first["input"], str) else "a list"
        return ConfigError(
            f"wrong value of '{key}'", file=path, found=repr(first["input"]), expected=example, remedy="change the value"
        )
    message = first["msg"].removeprefix("Value error, ")
    told = {"key": key, "found": repr(first["input"]), "expected": message, "remedy": "change the value"}
    if first["type"] == UNFIT:
        told = first["ctx"]
    elif message.startswith("found "):
        told["found"], _, told["expected"] = message.removeprefix("found ").partition(", expected ")
    what = f"wrong value of '{told.pop('key')}'"
    return ConfigError(what, file=path, **told)


def _section(model: type[BaseModel], where: list[str]) -> type[BaseModel]:
    """The class of the table at `where`, list positions left out."""
    section = model
    for part in where:
        if part.isdigit():
            continue
        annotation = next(f.annotation for n, f in section.model_fields.items() if part in (n, f.alias))
        options = [annotation, *get_args(annotation)]
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return section


def refuse_metric(path: Path, config: Config) -> None:
    """Raise ConfigError when there is no metric of this name, or it scores something else than the target holds."""
    from builder import metrics
    from builder.metrics import heads

    name, truth, targets = config.competition.metric, config.data.truth, config.data.targets
    several, kinds = config.data.headed, config.data.truths or (str(truth),)
    try:
        found = heads.each(name, targets, path.parent) if several else [metrics.get(name, path.parent)]
    except UserError as error:
        told = {"found": error.found or repr(name), "expected": error.expected, "remedy": error.remedy or "change the value"}
        what = f"'competition.metric' is not right: {error.what}" if heads.GIVEN in name else "'competition.metric' is not known"
        raise ConfigError(what, file=path, **told) from None
    if heads.GIVEN in name and targets and not several:
        expected = f"one metric of {truth}, such as {EXAMPLES[str(truth)]}"
        raise ConfigError(
            "'competition.metric' is one for each of several targets with classes",
            file=path,
            found=f"{len(targets)} target{'s' * (len(targets) > 1)}, data.truth is {truth}",
            expected=expected,
            remedy="check competition.metric, data.target and data.truth",
        )
    for number, metric in enumerate(found):
        ranked, kind = several and metric.prediction == metrics.RANKING, kinds[number]
        of = f" of {targets[number]}" if config.data.mixed else ""
        if ranked or (metric.truths and kind not in metric.truths):
            raise ConfigError(
                f"'{metric.name}' does not score {config.data.task} whose data.truth{of} is {kind}",
                file=path,
                found=f"a metric of {'rankings' if ranked else ' or '.join(metric.truths)}",
                expected=f"a metric of {kind}, such as {EXAMPLES[kind]}" + (f"; {EACH}" if of else ""),
                remedy="check competition.metric and data.truth",
            )
