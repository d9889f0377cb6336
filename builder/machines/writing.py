"""A machine as TOML: the same tables give the same text. As much of TOML as machines need: texts, numbers, lists, tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dump(raw: Mapping[str, Any], comment: str = "") -> str:
    """The text of a file with the tables `raw`, below a comment."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "\n".join(_table(raw, ())).strip() + "\n"


def _table(raw: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Plain values first: what follows the head of another table would belong to it."""
    plain = {name: value for name, value in raw.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(name)} = {_value(value)}" for name, value in plain.items()]
    if path and (lines or len(plain) == len(raw)):
        lines = ["", f"[{'.'.join(map(_key, path))}]", *lines]
    for name, value in raw.items():
        if isinstance(value, Mapping):
            lines += _table(value, (*path, name))
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    """JSON spells texts, numbers and lists as TOML does, but for one control character that JSON leaves as it is."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
