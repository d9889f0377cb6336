"""Tables: what a row becomes depends on the row alone, a strange cell is a missing one, and a missing column is named."""

import math

import numpy as np
import pandas as pd
import pytest
from kkb_runtime import tables
from kkb_runtime.cells import CellsError, reader
from kkb_runtime.hooks import HookError, Hooks

FEATURES = [
    {"name": "age", "column": "age", "part": "number"},
    {"name": "sex", "column": "sex", "part": "text", "values": ["male", "female"]},
    {"name": "cabin letter", "column": "cabin", "part": "letter", "values": ["C", "B"]},
    {"name": "cabin number", "column": "cabin", "part": "inside"},
    {"name": "cabin rows", "column": "cabin", "part": "text", "counts": {"C85": 3}},
    *({"name": part, "column": "born", "part": f"{part} ymd"} for part in ("year", "month", "day", "weekday", "hour", "days")),
    {"name": "words", "column": "sex", "part": "words"},
]
COLUMNS = ["age", "sex", "cabin", "born"]
RECIPE = {"schema": 1, "kind": "table", "columns": COLUMNS, "features": FEATURES}
STRANGE = [
    "", " ", "  7 ", "7", "seven", "1e999", "-1e39", "nan", "inf", "1_000", "1,234.5", "$ 5", "7 %", "١٢", "\uff11\uff12", "²",
    "\ud800", "\0", "NaN", "None", "🙂", "x" * 1_000_000, "9" * 1_000_000, " " * 1_000_000, "1,2," * 250_000,
    "0" * 64 + "1", "male",
    "2024-02-29", "2023-02-29", "2024-13-01", "20240131", "2024-01-31T23:59:60.5+02:00", "31.12.1999", "0000-00-00", "C85",
    None, math.nan, 3, 3.0, 2.5, True, np.float32(0.1), np.int64(4), pd.NA, pd.NaT, pd.Timestamp("2020-01-01"), b"7", ["a"], {},
]  # fmt: skip


def rows_of(cells):
    return [dict.fromkeys(COLUMNS, cell) | {"id": str(place)} for place, cell in enumerate(cells)]


def values(rows, recipe=RECIPE, hooks=None):
    return reader(recipe, hooks or Hooks()).read(rows).array


def test_cells_become_numbers():
    row = {"age": "22", "sex": "female", "cabin": "B 28 C85", "born": "1912-04-15 02:20"}
    known = {"age": " 0.5", "sex": "male", "cabin": "C85", "born": "1970-01-01"}
    expected = [[22, 1, 1, 85, 1, 1912, 4, 15, 0, 2, -21080, 1], [0.5, 0, 0, 85, 3, 1970, 1, 1, 3, 0, 0, 1]]
    np.testing.assert_array_equal(values([row, known]), np.array(expected, dtype=np.float32))
    unseen = values([{**row, "sex": "neither of them", "age": "old", "cabin": "T", "born": "yesterday"}])[0]
    np.testing.assert_array_equal(unseen, [np.nan] * 4 + [1] + [np.nan] * 6 + [3])


@pytest.mark.parametrize("form", tables.DATES)
def test_dates_are_those_of_the_calendar(form):
    days = pd.date_range("1895-12-28", "2105-03-02", freq="17D")
    texts = days.strftime({"ymd": "%Y-%m-%d", "dmy": "%d.%m.%Y", "mdy": "%m/%d/%Y"}[form]).tolist()
    found = np.array(
        [[tables.NUMBERS[f"{part} {form}"](text) for part in ("year", "month", "day", "weekday", "days")] for text in texts]
    )
    told = np.stack([days.year, days.month, days.day, days.day_of_week, (days - pd.Timestamp("1970-01-01")).days], axis=1)
    np.testing.assert_array_equal(found, told)


def test_only_days_that_exist_are_dates():
    for text in (
        "2023-02-29",
        "1900-02-29",
        "2024-00-10",
        "2024-04-31",
        "2024-1-2-3",
        "2024-01/02",
        "99-1-2",
        "2024-01-01 24:00",
    ):
        assert tables.date("ymd", text) is None, text
    assert tables.date("ymd", "2000-02-29 11:05 PM") == (2000, 2, 29, 23)
    assert tables.date("mdy", "1/31/17 12:00 am") == (2017, 1, 31, 0)


def test_no_cell_is_too_strange():
    found = values(rows_of(STRANGE))
    assert found.dtype == np.float32
    assert found.shape == (len(STRANGE), len(FEATURES))
    assert not np.isinf(found).any()
    age = dict(zip(range(len(STRANGE)), found[:, 0], strict=True))
    numbers = {
        STRANGE.index(text): value
        for text, value in {"  7 ": 7, "1,234.5": 1234.5, "$ 5": 5, "7 %": 7, "\uff11\uff12": 12}.items()
    }
    assert {place: age[place] for place in numbers} == numbers
    assert np.isnan([age[STRANGE.index(text)] for text in ("seven", "1e999", "-1e39", "nan", "inf", "1_000", "²", "\0")]).all()


def test_a_row_becomes_the_same_whatever_else_is_read_with_it():
    rows = rows_of(STRANGE * 3)
    together = values(rows)
    alone = np.concatenate([values([row]) for row in rows])
    assert together.tobytes() == alone.tobytes()
    order = np.random.default_rng(0).permutation(len(rows))
    assert values([rows[place] for place in order]).tobytes() == together[order].tobytes()
    split = np.concatenate([values(rows[:50]), values(rows[50:])])
    assert split.tobytes() == together.tobytes()


def test_every_row_is_in_one_batch():
    material = reader(RECIPE, Hooks()).read(rows_of(STRANGE))
    found = np.zeros_like(material.array)
    for places, feeds in material.batches("identity", 7):
        assert len(places) <= 7
        found[places] += feeds["table"]
    assert found.tobytes() == material.array.tobytes()
    assert material.pick(np.array([5, 2])).array.tobytes() == material.array[[5, 2]].tobytes()
    assert values([]).shape == (0, len(FEATURES))


def test_a_missing_column_is_named_and_a_view_is_refused():
    with pytest.raises(CellsError, match=r"'sex', 'born'.*found age, cabin"):
        values([{"age": "1", "cabin": "C"}])
    with pytest.raises(ValueError, match="identity"):
        tables.check_view("table", "hflip")


def test_a_cell_that_a_row_lacks_is_an_empty_one_and_repeated_cells_change_nothing():
    rows = [{"age": "1", "sex": "male", "cabin": "C85", "born": ""}, {"cabin": "C85"}]
    empty = {**rows[1], "age": "", "sex": "", "born": ""}
    assert values(rows).tobytes() == values([rows[0], empty]).tobytes()
    many = values(rows * 1500)
    assert many.tobytes() == np.tile(values(rows), (1500, 1)).tobytes()


@pytest.mark.parametrize(
    "broken",
    [
        {"columns": None},
        {"features": [7]},
        {"features": []},
        {"columns": []},
        {"features": [{"column": "age"}]},
        {"features": [{"column": "age", "part": "soul"}]},
        {"features": [{"column": "age", "part": "text"}]},
        {"features": [{"column": "age", "part": "text", "counts": 7}]},
    ],
)
def test_a_broken_recipe_is_refused(broken):
    with pytest.raises(CellsError, match="broken"):
        reader({**RECIPE, **broken}, Hooks())


HOOKED = {
    **RECIPE,
    "columns": ["age"],
    "hooked": True,
    "state": {"mean": 30},
    "features": [{"column": "older", "part": "number"}],
}


def older(table, state):
    return pd.DataFrame({"older": pd.to_numeric(table["age"], errors="coerce") - state["mean"]})


def test_the_hook_sees_texts_and_makes_columns():
    found = values([{"age": "7"}, {"age": "x"}, {"age": "31.5"}], HOOKED, Hooks(transform=older))
    np.testing.assert_array_equal(found, np.array([[-23], [np.nan], [1.5]], dtype=np.float32))
    assert values([{"age": "7"}], HOOKED, Hooks(transform=older)).tobytes() == found[:1].tobytes()


def test_a_whole_number_is_one_text_whatever_the_column_beside_it_holds():
    recipe = {**HOOKED, "features": [{"column": "age", "part": "text", "values": ["3", "2.5", "True"]}]}
    hooks = Hooks(transform=lambda table, _: table.assign(age=table["age"].map({"a": 3, "b": 2.5, "c": None, "d": 3.0})))
    together = values([{"age": name} for name in "abcd"], recipe, hooks)
    np.testing.assert_array_equal(together[:, 0], [0, 1, np.nan, 0])
    assert [values([{"age": name}], recipe, hooks)[0, 0] for name in "abd"] == [0, 1, 0]


@pytest.mark.parametrize(
    ("transform", "told"),
    [
        (lambda *_: None, "NoneType, expected a DataFrame"),
        (lambda table, _: table.iloc[1:], "returned 2 rows"),
        (lambda table, _: table.iloc[::-1], "another order"),
        (lambda table, _: table[[]], "0 columns"),
        (lambda table, _: pd.concat([table, table], axis=1), "age more than once"),
        (lambda table, _: table, "no column 'older'; found age"),
    ],
)
def test_a_hook_that_does_not_keep_to_its_rows_is_told(transform, told):
    with pytest.raises(HookError, match=told):
        values([{"age": "1"}, {"age": "2"}, {"age": "3"}], HOOKED, Hooks(transform=transform))


def test_hooks_of_another_training_are_refused():
    with pytest.raises(HookError, match=r"with a hook transform.*without"):
        reader(HOOKED, Hooks())
    with pytest.raises(HookError, match=r"without a hook transform.*with"):
        reader(RECIPE, Hooks(transform=older))
