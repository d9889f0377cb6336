"""The truth of a hidden set's rows as a scorer reads it beside a submission, in each of its forms.

Expects: the cells of the target columns, as the training table has them; the plan's `Answer`, None where nobody has one.
Produces: one cell for each row of the submission, in one column or several.
Never: rounds or respells what the training table says of a class or a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.competition import targets
from builder.runtime.answers import named, places, row_key
from builder.runtime.heads import IDENTITY, SIGMOID

if TYPE_CHECKING:
    from builder.runtime.contract import Answer

    Cells = Sequence[Sequence[str]]


def keys_of(ids: Sequence[str], answer: Answer | None) -> list[str]:
    """What stands in the first column of a submission: ids, or in the long forms ids and classes, or heads."""
    if answer is None or not answer.key:
        return list(ids)
    return [row_key(answer.key, name, label) for name in ids for label in named(answer)]


def columns(rows: Cells, names: Sequence[str], answer: Answer | None) -> Mapping[str, list[str]]:
    """Columns of truth, each with one cell for each of `keys_of`.

    Args:
        rows: Per row the cells of the target columns.
        names: The target columns.
        answer: The form of the submission; None: the truth as the training table has it.
    """
    told = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    if answer is None:
        return told
    if len(answer.parts) > 1:
        return _heads(told, answer)
    link = answer.parts[0].link
    if link == SIGMOID:
        return _labels(rows, answer)
    if link == IDENTITY:
        return _numbers(told, answer)
    return {names[0]: _classes(told[names[0]], answer)}


def _heads(told: Mapping[str, list[str]], answer: Answer) -> dict[str, list[str]]:
    """A column for each head, or in the long form a row."""
    each = {head.name: told[head.name] for head in answer.parts}
    if not answer.key:
        return each
    return {answer.columns[0]: [cell for row in zip(*each.values(), strict=True) for cell in row]}


def _classes(labels: Sequence[str], answer: Answer) -> list[str]:
    """Beside one probability a label is the number of its class, beside columns the name of its column, in the long form a 1."""
    if answer.key:
        return [str(int(label == name)) for label in labels for name in answer.classes]
    called = {label: label for label in answer.classes}
    if answer.form == "probability":
        called = {label: str(place) for place, label in enumerate(answer.classes)}
    elif answer.form == "columns":
        called = {answer.classes[place]: column for column, place in _shown(answer).items()}
    return [called.get(label, label) for label in labels]


def _labels(rows: Cells, answer: Answer) -> dict[str, list[str]]:
    """Labels that are there or not: their names beside strings, else a 0 or 1 for each."""
    told = [targets.told(row, SIGMOID) for row in rows]
    there = targets.parse(told, answer.parts)
    first = answer.columns[0]
    if answer.form == "strings":
        return {first: [" ".join(label for label, is_in in zip(answer.classes, row, strict=True) if is_in) for row in there]}
    if answer.key:
        return {first: [str(value) for value in there.ravel()]}
    return {column: [str(value) for value in there[:, place]] for column, place in _shown(answer).items()}


def _numbers(told: Mapping[str, list[str]], answer: Answer) -> dict[str, list[str]]:
    each = [told[name] for name in answer.classes]
    if answer.key:
        return {answer.columns[0]: [cell for row in zip(*each, strict=True) for cell in row]}
    return {column: each[place] for column, place in _shown(answer).items()}


def _shown(answer: Answer) -> dict[str, int]:
    """Column of the file -> which output it shows."""
    return dict(zip(answer.columns, places(answer.columns, answer.classes), strict=True))
