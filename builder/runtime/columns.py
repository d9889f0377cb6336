"""The columns of a Parquet submission in the types of the sample's: a CSV file has only texts, a Parquet file has types.

Expects: a frame of texts and the plan's `Answer`, which knows the sample's types.
Produces: the same values in those types.
Never: changes a value for the sake of a type: `007` stays text, and a probability stays a float where the sample had zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .contract import BY_HEAD
from .heads import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .contract import Answer

TEXTS = ("labels", "strings", *BY_HEAD)  # forms whose cells are names, but for numbers of heads


def typed(frame: pd.DataFrame, answer: Answer) -> pd.DataFrame:
    """`frame`, all text, in the types that `answer.kinds` names."""
    kinds = answer.kinds or ("text",) * len(frame.columns)
    out = {}
    for place, (name, kind) in enumerate(zip(frame.columns, kinds, strict=True)):
        texts = [str(value) for value in frame[name]]
        number = next((head for head in answer.heads if head.link == IDENTITY and head.name == name), None)
        named = place == 0 or (answer.form in TEXTS and not (answer.form == "heads" and number))
        decided = answer.decision is not None or bool(number and number.decision is not None)
        out[name] = verbatim(texts, kind) if named else numbers(texts, kind, whole=decided)
    return pd.DataFrame(out)


def verbatim(texts: Sequence[str], kind: str) -> NDArray[Any]:
    """`texts` as `kind`, or as they are when one of them could not be read back."""
    if kind == "bool" and set(texts) <= {"True", "False"}:
        return np.array([text == "True" for text in texts], dtype=bool)
    if kind.startswith(("int", "uint", "float")):
        try:
            values = np.array([float(text) if kind.startswith("float") else int(text) for text in texts], dtype=kind)
        except (ValueError, OverflowError):
            return np.array(texts, dtype=object)
        if all(str(value) == text for value, text in zip(values.tolist(), texts, strict=True)):
            return values
    return np.array(texts, dtype=object)


def numbers(texts: Sequence[str], kind: str, *, whole: bool) -> NDArray[Any]:
    """Numbers as `kind`; as whole ones only if they were decided (`whole`) to be such."""
    values = np.array([float(text) for text in texts], dtype=np.float64)
    if whole and kind.startswith(("int", "uint")) and bool((np.abs(values) < 2**53).all()):
        for wanted in (kind, "int64"):
            made = values.astype(wanted)
            if bool((made == values).all()):
                return np.asarray(made)
    return values.astype(np.float32) if kind == "float32" else values
