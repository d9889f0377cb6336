"""How values are written in kernel.toml: durations, shares, sizes, paths and slugs; and what all its tables have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SerializerFunctionWrapHandler, model_serializer

NAME_RULE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def seconds(value: Any) -> float:
    """Seconds in a duration: `9h`, `90min`, `45s`, `1h30min`, or a plain number of seconds. Raises ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = float(value)
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)", str(value))
        if not parts or "".join(number + unit for number, unit in parts) != re.sub(r"\s+", "", str(value)):
            raise ValueError(f"found {value!r}, expected a duration such as 9h, 90min or 45s")
        total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 < total < 1e7:
        raise ValueError(f"found {value!r}, expected a duration above zero")
    return total


def fraction(value: Any) -> float:
    """A share between 0 and 1, written `5%` or `0.05`. Raises ValueError otherwise."""
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f"found {value!r}, expected a share such as 5%") from None
    if not 0 <= share < 1:
        raise ValueError(f"found {value!r}, expected a share between 0% and 100%")
    return share


def size(value: Any) -> int:
    """Bytes in a size: `20GB`, `500MB`, or a plain number of bytes. Raises ValueError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kMGT])B?", str(value).strip())
    total = int(float(match[1]) * SIZES[match[2]]) if match else 0
    if total <= 0:
        raise ValueError(f"found {value!r}, expected a size such as 20GB or 500MB")
    return total


def inside(value: str) -> str:
    """A path below a folder. Raises ValueError for one that leaves it."""
    if value.startswith("/") or ".." in Path(value).parts or "\0" in value:
        raise ValueError(f"found {value!r}, expected a path that stays in its folder")
    return value


def slug_like(value: str) -> str:
    """A slug of Kaggle's. Raises ValueError otherwise."""
    if not NAME_RULE.fullmatch(value):
        raise ValueError(f"found {value!r}, expected lower-case letters, digits and dashes, as in the competition's address")
    return value


def target(value: Any) -> Any:
    """A column, or several; a list of one is that one. Raises ValueError otherwise."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) and name for name in value):
        raise ValueError(f'found {value!r}, expected the name of a column, or a list such as ["kind", "size"]')
    return value[0] if len(value) == 1 else tuple(value)


Bytes = Annotated[int, BeforeValidator(size)]
Seconds = Annotated[float, BeforeValidator(seconds)]
Fraction = Annotated[float, BeforeValidator(fraction)]
Target = Annotated[str | tuple[str, ...], BeforeValidator(target)]
Inside = Annotated[str, AfterValidator(inside)]


class Section(BaseModel):
    """A table of kernel.toml.

    `later` are keys that are younger than the first versions. At their defaults a dump leaves them out, so that what was named
    by the digest of a dump keeps its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        dumped: dict[str, Any] = dump(self)
        return {key: value for key, value in dumped.items() if key not in self.later or getattr(self, key) != fields[key].default}
