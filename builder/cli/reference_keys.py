"""The reference of kernel.toml, made from its sections: each key with what it takes, its default and its meaning.

Meanings stand under `Attributes:` of a section's docstring, `key: words`, or `key, other: words` for several keys at once.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from builder import config as configs
from builder import machines, metrics
from builder.cli.reference import safe, table
from builder.config import fitting, kinds

# What a value is called that is written in a way of its own, by the function that reads it.
WRITTEN = {
    "seconds": "duration: `9h`, `90min`, `45s`",
    "fraction": "share: `5%`",
    "size": "size: `20GB`, `500MB`",
    "inside": "path",
    "slug_like": "slug",
}
PLAIN = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", dict: "table"}
BOUNDS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"), ("min_length", "at least"))
ATTRIBUTE = re.compile(r"(?P<keys>[a-z_]+(?:, [a-z_]+)*): (?P<words>.*)")
UNITS = (("h", 3600), ("min", 60), ("s", 1))
SHORT = 60  # characters of a default that is shown whole


@dataclass(frozen=True)
class Key:
    """One key of kernel.toml; `words` are empty where the code has none yet."""

    name: str
    takes: str
    default: str
    words: str


@dataclass(frozen=True)
class Table:
    """One table of kernel.toml: its head as one writes it, its path, what it is for, its keys."""

    head: str
    path: str
    told: str
    keys: tuple[Key, ...]


def tables() -> list[Table]:
    """Every table, in the order of `Config`, each before those inside it."""
    return list(_below(configs.Config, ""))


def _below(section: type[BaseModel], path: str) -> Iterator[Table]:
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is None:
            continue
        own = f"{path}.{name}".strip(".")
        head = f"[[{own}]]" if get_origin(field.annotation) is tuple else f"[{own}]"
        told, words = _words(inner)
        keys = tuple(
            Key(one.alias or key, _takes(one), _default(one), words.get(key, ""))
            for key, one in inner.model_fields.items()
            if _section_in(one.annotation) is None
        )
        yield Table(head, own, told, keys)
        yield from _below(inner, own)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    found = (one for one in (annotation, *get_args(annotation)) if inspect.isclass(one) and issubclass(one, BaseModel))
    return next(found, None)


def _words(section: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """What a section is for, and the meaning of each of its keys."""
    told, _, listed = inspect.cleandoc(section.__dict__.get("__doc__") or "").partition("Attributes:\n")
    words: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", listed.rstrip()):
        if found := ATTRIBUTE.fullmatch(" ".join(entry.split())):
            words |= dict.fromkeys(found["keys"].split(", "), found["words"])
    return _without_head(" ".join(told.split())), words


def _without_head(told: str) -> str:
    """A docstring without the name of its table, which stands above it."""
    plain = re.sub(r"^`\[\[?[\w.]+\]\]?`(?: of kernel\.toml)?: ", "", told)
    return plain[:1].upper() + plain[1:]


def _takes(field: FieldInfo) -> str:
    bounds = [f"{words} {limit}" for words, limit in _limits(field.metadata)]
    return ", ".join([_written(field.metadata) or _kind(field.annotation), *bounds])


def _limits(metadata: list[Any]) -> Iterator[tuple[str, float]]:
    for one in metadata:
        for name, words in BOUNDS:
            if isinstance(limit := getattr(one, name, None), int | float):
                yield words, limit


def _written(metadata: Any) -> str:
    names = (getattr(getattr(one, "func", None), "__name__", "") for one in metadata)
    return next((WRITTEN[name] for name in names if name in WRITTEN), "")


def _kind(annotation: Any) -> str:
    """What an annotation allows, in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if metadata := getattr(annotation, "__metadata__", ()):
        return _written(metadata) or _kind(inside[0])
    if origin is Literal:
        return ", ".join(f"`{_toml(value)}`" for value in inside)
    if origin in (Union, UnionType):
        return ", or ".join(_kind(one) for one in inside if one is not NoneType)
    if origin in (tuple, list):
        many = Ellipsis in inside or origin is list
        return f"list of {_kind(inside[0])}" if many else f"list of {len(inside)} {_kind(inside[0])}s"
    return PLAIN.get(origin or annotation, "table" if origin else str(getattr(annotation, "__name__", annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return ""
    names = {getattr(getattr(one, "func", None), "__name__", "") for one in field.metadata}
    shown = _duration(value) if "seconds" in names else f"{100 * value:g}%" if "fraction" in names else _toml(value)
    shown = f"{value / 1e9:g}GB" if "size" in names else shown
    return f"`{shown}`" if len(shown) <= SHORT else "see below"


def _duration(value: float) -> str:
    unit, seconds = next((name, length) for name, length in UNITS if value % length == 0 or length == 1)
    return f"{value / seconds:g}{unit}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def page() -> str:
    """The reference in Markdown."""
    found = tables()
    parts = ["## All keys", " · ".join(f"[{one.head}](#{one.path.replace('.', '')})" for one in found)]
    for one in found:
        rows = [(f"`{key.name}`", key.takes, key.default, key.words) for key in one.keys]
        parts += [f"### {one.head}", safe(one.told), table(("key", "takes", "default", "meaning"), rows)]
        parts += [_recipes()] if one.path == "train" else []
    parts += ["## Names that keys take", "### Metrics", "For `competition.metric`.", _metrics()]
    parts += ["### Backbones", "For `backbone` of a `[[model]]`.", _backbones()]
    parts += ["### Machines", "For `competition.machine`; `kkb machine show NAME` has the source of each fact.", _machines()]
    return "\n\n".join(part for part in parts if part)


def _recipes() -> str:
    """Defaults of `[train]` by kind of model, where they are not those of images."""
    columns = {"images": configs.Train(), "`text/lstm`, `text/gru`": kinds.RECURRENT, "`hf/` of texts": kinds.FINE_TUNED}
    columns["`table/mlp`"] = kinds.PERCEPTRON
    keys = [key for key in configs.Train.model_fields if len({str(getattr(one, key)) for one in columns.values()}) > 1]
    rows = [(f"`{key}`", *(f"`{_toml(getattr(one, key))}`" for one in columns.values())) for key in keys]
    fitted = ", ".join(f"`{name}`" for name in kinds.FITTED)
    told = f"Defaults by kind of model; {fitted} are fitted at once, and take `seed` only:"
    return f"{told}\n\n{table(('key', *columns), rows)}"


def _metrics() -> str:
    rows = [
        (f"`{one.name}`", "more" if one.greater_is_better else "less", ", ".join(one.truths), one.prediction)
        for one in metrics.METRICS.values()
    ]
    rows.append(("`map@5` and its like", "more", "classes, multilabel", metrics.RANKING))
    rows.append(("`mean(rmse)`, `mean(auc)`, ...", "as inside", "several columns", "as inside"))
    rows.append(("`metric.py:my_score`, a function in the kernel's folder", "as it says", "as it says", "as it says"))
    return table(("metric", "better is", "truth", "what it judges"), rows)


def _backbones() -> str:
    rows = []
    for task, libraries in configs.BACKBONES.items():
        for library, names in libraries.items():
            shown = ", ".join(f"`{library}/{name}`" for name in names) or fitting.EXAMPLES[library]
            rows.append((f"`{task}`", shown))
    return table(("data.task", "backbone"), rows)


def _machines() -> str:
    rows = []
    for name in sorted(path.stem for path in machines.BUILT_IN.glob("*.toml")):
        found = machines.parse(name, machines.read(machines.BUILT_IN / f"{name}.toml"), machines.BUILT_IN / f"{name}.toml")
        cards = f"{found.devices} x {found.device or found.accelerator}" if found.devices else ""
        rows.append(
            (f"`{name}`", cards, str(found.cores or ""), f"{found.memory / machines.GIB:.0f} GiB" if found.memory else "")
        )
    return table(("machine", "accelerators", "CPU cores", "memory"), rows)
