"""Recipes of tables: what a column is, which features it gives, and that neither the order of rows nor a target matters."""

import json
import random

import numpy as np
import pandas as pd
import pytest

from builder.errors import UserError
from builder.recipes.table import categories, proposed, table
from builder.runtime import cells
from builder.runtime.hooks import HookError, Hooks

RNG = random.Random(7)


def people(rows=300):
    """A table of every kind of column, cells as in a file."""
    draw = random.Random(3)
    shared = ["Smith", "Lee", "Kim", "Ng"]
    titles = ["Mr"] * 6 + ["Mrs"] * 3 + ["Dr"]
    made = [
        {
            "id": f"{place:04d}",
            "age": draw.choice(["", "22", "35.5", " 7 ", str(draw.randint(1, 80))]),
            "colour": draw.choice(["red", "red", "green", "blue"]),
            "shop": f"{draw.randint(0, 60):03d}",
            "day": f"20{draw.randint(10, 23)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}",
            "name": f"{draw.choice(shared) if place % 2 else f'Only{place}x'}, {draw.choice(titles)}. No {place}",
            "room": draw.choice(["", f"{draw.choice('ABC')}{draw.randint(1, 99)}", f"D{place}"]),
            "empty": " ",
            "same": "yes",
            "twin": "",
            "price": f"${draw.randint(1, 9)},{draw.randint(100, 999)}.50",
        }
        for place in range(rows)
    ]
    for row in made:
        row["twin"] = row["age"]
    return pd.DataFrame(made, dtype=object)


FRAME = people()
COLUMNS = [column for column in FRAME if column != "id"]


def by_name(recipe):
    return {each["name"]: each for each in recipe["features"]}


def read(recipe, frame, hooks=None):
    return cells.reader(recipe, hooks or Hooks()).read(frame.to_dict("records")).array


def test_every_kind_of_column_is_recognised():
    found = by_name(table(FRAME, COLUMNS, Hooks()))
    assert found["age"]["part"] == "number"
    assert found["price"]["part"] == "number"
    assert found["colour"]["values"][0] == "red"
    assert sorted(found["colour"]["values"]) == ["blue", "green", "red"]
    assert "values" in found["shop"]  # zeros lead: names, not numbers
    assert {"day year", "day month", "day weekday", "day days"} <= set(found)
    assert found["name title"]["values"] == ["Mr", "Mrs", "Dr"]
    assert set(found["name lead rows"]["counts"]) == {"Smith", "Lee", "Kim", "Ng"}
    assert {"room number", "room letter", "room length"} <= set(found)
    assert not {"empty", "same", "twin", "day hour"} & set(found)


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        (["1", "2.5", "-3e2", ""] * 10, "number"),
        ([*map(str, range(95)), "unknown", "NA", "broken", "?", "n/a"], "number"),
        ([*map(str, range(50)), *"abcdefghij" * 5], "text"),  # too many words
        (["01", "02", "10", "11"] * 9, "text"),
        (["True", "False"] * 9, "text"),
        (["31.12.1999", "01.02.2003"] * 9, "year dmy"),
        (["12/31/1999", "01/02/2003"] * 9, "year mdy"),
        (["01/02/2003", "02/03/2004"] * 9, "year mdy"),
        (["01.02.2003", "02.03.2004"] * 9, "year dmy"),
        (["20240131", "20231224"] * 9, "year ymd"),
        (["20240131", "20231324"] * 9, "number"),
        (["2024-01-31T10:00:00Z"] * 9, "year ymd"),
        (["🙂", "🙂🙂"] * 9, "text"),
    ],
)
def test_what_a_column_is(texts, part):
    assert proposed("x", texts)[0]["part"] == part


def test_a_column_of_nothing_has_no_features():
    assert proposed("x", ["", " ", "\t"]) == []


def test_long_and_strange_texts_are_texts():
    found = proposed("x", ["y" * 1_000_000, "\ud800", "\0", "nan", "🙂 " * 1000, *(f"a b {place}" for place in range(40))])
    assert {"length", "words"} <= {each["part"] for each in found}


def test_the_order_of_the_rows_does_not_matter():
    shuffled = FRAME.sample(frac=1, random_state=1)
    one, other = table(FRAME, COLUMNS, Hooks()), table(shuffled, COLUMNS, Hooks())
    for left, right in zip(one["features"], other["features"], strict=True):
        assert {name: value for name, value in left.items() if name not in {"mean", "std"}} == {
            name: value for name, value in right.items() if name not in {"mean", "std"}
        }
        assert left.get("mean", 0) == pytest.approx(right.get("mean", 0))


def test_only_the_named_columns_are_looked_at():
    class Watched(pd.DataFrame):
        def __getitem__(self, name):
            assert name != "id"
            return super().__getitem__(name)

    assert table(Watched(FRAME), COLUMNS, Hooks()) == table(FRAME, COLUMNS, Hooks())


def test_a_recipe_is_json_and_says_what_a_network_needs():
    recipe = table(FRAME, COLUMNS, Hooks())
    assert json.loads(json.dumps(recipe, allow_nan=False)) == recipe
    assert (recipe["schema"], recipe["kind"], recipe["columns"]) == (1, "table", COLUMNS)
    found = read(recipe, FRAME)
    assert len(categories(recipe)) >= 3
    patterns = set()
    for index, each in enumerate(recipe["features"]):
        column = found[:, index].astype(np.float64)
        pattern = np.isnan(column).tobytes()
        assert each["missing"] == (
            bool(np.isnan(column).any()) and pattern not in patterns
        )  # one flag for all that miss together
        patterns.add(pattern)
        assert len(np.unique(column)) > 1
        if index in categories(recipe):
            assert set(column[~np.isnan(column)]) == set(range(categories(recipe)[index]))
        else:
            known = np.log1p(column) if each["log"] else column
            assert each["mean"] == pytest.approx(np.nanmean(known))
            assert each["std"] == pytest.approx(np.nanstd(known) or 1.0)
    assert len({found[:, index].tobytes() for index in range(found.shape[1])}) == found.shape[1]


def test_a_missing_column_and_columns_that_say_nothing_are_told():
    with pytest.raises(UserError, match="did you mean 'colour'") as told:
        table(FRAME, ["age", "color"], Hooks())
    assert "'color'" in str(told.value)
    for columns in (["empty", "same"], []):
        with pytest.raises(UserError, match="no column says anything"):
            table(FRAME, columns, Hooks())


def family(frame):
    return {"ages": {name: float(part) for name, part in frame.groupby("colour")["age"].agg(len).items()}, "tuple": (1, 2)}


def with_family(frame, state):
    assert state["tuple"] == [1, 2]  # as it comes back from a file
    return frame.assign(same_colour=frame["colour"].map(state["ages"]), born=pd.to_datetime(frame["day"]))


def test_hooks_are_fitted_once_and_transform_at_home_and_away():
    hooks = Hooks(fit=family, transform=with_family)
    recipe = table(FRAME, COLUMNS, hooks)
    assert recipe["hooked"]
    assert recipe == json.loads(json.dumps(recipe))
    found = by_name(recipe)
    assert found["same_colour"]["part"] == "number"
    assert "born days" not in found  # the same as `day days`
    index = list(found).index("same_colour")
    together = read(recipe, FRAME, hooks)
    assert set(together[:, index]) == {float(rows) for rows in FRAME["colour"].value_counts()}
    alone = np.concatenate([read(recipe, FRAME.iloc[[place]], hooks) for place in range(20)])
    assert alone.tobytes() == together[:20].tobytes()


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        (Hooks(fit=family), "without transform"),
        (Hooks(fit=lambda _: {1, 2}, transform=lambda frame, _: frame), "JSON cannot hold"),
        (Hooks(fit=lambda _: float("nan"), transform=lambda frame, _: frame), "JSON cannot hold"),
        (
            Hooks(transform=lambda frame, _: frame.assign(rank=range(len(frame), 0, -1))),
            "'rank' other values .* only some of the rows",
        ),
        (Hooks(transform=lambda frame, _: frame.drop_duplicates("colour")), "returned 3 rows"),
    ],
)
def test_hooks_that_would_say_something_else_in_the_notebook_are_refused(hooks, told):
    with pytest.raises(HookError, match=told):
        table(FRAME, COLUMNS, hooks)
