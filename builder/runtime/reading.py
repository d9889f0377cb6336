"""JSON values -> frozen records, by the records' own type hints: what a field is declared as is what it must be.

Expects: dataclasses whose fields are text, numbers, truth values, records, or tuples and mappings of these.
Produces: a record; ContractError that names the field and what was found there.
Never: guesses: no text becomes a number, no number a truth value, and no number is infinite.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

SHOWN = 60  # characters of what was found


class ContractError(ValueError):
    """Raised when a plan or a dataset list is not what this runtime understands."""


def record(cls: Any, raw: Any, where: str = "") -> Any:
    """A `cls` from the JSON object `raw`, which messages call `where`."""
    where = where or cls.__name__.lower()
    if not isinstance(raw, Mapping):
        raise _wrong(where, raw, "an object")
    fields, hints = _fields(cls)
    unknown = sorted(map(str, set(raw) - set(hints)))
    missing = sorted(name for name in hints if name not in raw and fields[name])
    if unknown or missing:
        raise ContractError(f"{where}: unknown keys {unknown or 'none'}, missing keys {missing or 'none'}")
    return cls(**{name: value(hints[name], given, f"{where}.{name}") for name, given in raw.items()})


def value(kind: Any, raw: Any, where: str) -> Any:
    """`raw` as a value of the type `kind`."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or (raw is None and type(None) in inner):
        return raw
    if origin in (types.UnionType, typing.Union):
        return value(_meant([one for one in inner if one is not type(None)], raw), raw, where)
    if origin is tuple:
        if not isinstance(raw, (list, tuple)):
            raise _wrong(where, raw, "a list")
        return tuple(value(inner[0], one, f"{where}[{index}]") for index, one in enumerate(raw))
    if origin is Mapping:
        if not isinstance(raw, Mapping):
            raise _wrong(where, raw, "an object")
        return {str(name): value(inner[1], one, f"{where}.{name}") for name, one in raw.items()}
    if dataclasses.is_dataclass(kind):
        return record(kind, raw, where)
    return _plain(kind, raw, where)


def _meant(kinds: list[Any], raw: Any) -> Any:
    """Of several records that may stand in one place, the one whose needed keys are all there; else the first."""
    if len(kinds) == 1 or not isinstance(raw, Mapping):
        return kinds[0]
    return next((one for one in kinds if {name for name, needed in _fields(one)[0].items() if needed} <= set(raw)), kinds[0])


def _plain(kind: Any, raw: Any, where: str) -> Any:
    fits = isinstance(raw, (int, float) if kind is float else kind) and (kind is bool or not isinstance(raw, bool))
    if not fits:
        raise _wrong(where, raw, {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind])
    if kind is float and not math.isfinite(raw):
        raise _wrong(where, raw, "a finite number")
    return raw


def _wrong(where: str, found: Any, expected: str) -> ContractError:
    shown = repr(found)
    return ContractError(f"{where}: found {shown[:SHOWN]}{'...' if len(shown) > SHOWN else ''}, expected {expected}")


@functools.cache
def _fields(cls: Any) -> tuple[dict[str, bool], dict[str, Any]]:
    """Whether each field must be there, and the type of each."""
    needed = {
        item.name: item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        for item in dataclasses.fields(cls)
    }
    return needed, {name: hint for name, hint in typing.get_type_hints(cls).items() if name in needed}
