"""Units that read cells run beside units that read images: each sample's answer is the plan's blend of both."""

import csv
import hashlib
import json

import kkb_runtime
import numpy as np
import pytest
from kkb_runtime import cells
from kkb_runtime.hooks import Hooks

from .tree import Tree

lightgbm = pytest.importorskip("lightgbm")

RECIPE = {"schema": 1, "kind": "table", "columns": ["age"], "features": [{"name": "age", "column": "age", "part": "number"}]}


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """A tree whose second unit is of a table; the cells of its column, and what trees make of them."""
    monkeypatch.setenv("KKB_KAGGLE", str(tmp_path / "kaggle"))
    tree = Tree(tmp_path / "kaggle", samples=12, units=[(0, 0, "identity")])
    ages = ["", "old", *(str(7 * number) for number in range(10))]
    table(tree, ages)
    values = np.arange(90.0)[:, None]
    data = lightgbm.Dataset(values, (values[:, 0] // 30).astype(int))
    booster = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}, data, 5)
    booster.save_model(tree.weights / "t.lgb.txt")
    (tree.weights / "t.recipe.json").write_text(json.dumps(RECIPE))
    digest = hashlib.sha256((tree.weights / "t.recipe.json").read_bytes()).hexdigest()[:12]
    unit = dict(tree.plan["units"][0], member="v001:t", file="t.lgb.txt", backend="lightgbm")
    unit["input"] = {"kind": "table", "recipe": "t.recipe.json", "digest": digest}
    tree.plan["units"].append(unit)
    tree.plan["prefixes"].append({"weights": [0.25, 0.75], "temperature": 1.0, "score": None})
    numbers = np.array([float(age) if age.isdecimal() else np.nan for age in ages])[:, None]
    return tree, booster.predict(numbers)


def table(tree, ages, column="age"):
    with (tree.competition / "test.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image_id", column], *zip(tree.ids, ages, strict=True)])


def answers(tree):
    return np.array([[float(cell) for cell in tree.answers()[name]] for name in tree.ids])


def test_images_and_cells_are_blended_in_one_plan(mixed):
    tree, trees = mixed
    kkb_runtime.run(tree.plan, tree.datasets)
    alone = tree.expected(1) ** 1.5  # without the temperature of the first prefix
    images = alone / alone.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers(tree), 0.25 * images + 0.75 * trees, atol=1e-6)
    assert tree.record()["samples_per_prefix"] == {"2": 12}


def test_a_missing_column_is_named_and_every_sample_keeps_its_best_prefix(mixed):
    tree, _ = mixed
    table(tree, ["1"] * 12, column="years")
    kkb_runtime.run(tree.plan, tree.datasets)
    np.testing.assert_allclose(answers(tree), tree.expected(1), atol=1e-6)
    told = json.dumps(tree.record())
    assert "no column 'age'" in told
    assert "years" in told


def test_a_recipe_that_the_dataset_lacks_ends_the_run_before_it_begins(mixed):
    tree, _ = mixed
    (tree.weights / "t.recipe.json").unlink()
    with pytest.raises(kkb_runtime.mounts.MountError, match=r"the plan needs t\.recipe\.json of dataset 'weights'"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()


@pytest.mark.parametrize("recipe", [{}, {"schema": 2, "kind": "table"}, {"schema": 1, "kind": "pictures"}, []])
def test_what_is_no_recipe_is_refused(tmp_path, recipe):
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    with pytest.raises(cells.CellsError, match="expected schema 1 and one of tokens, terms, table"):
        cells.open(tmp_path / "r.json", Hooks())
    with pytest.raises(cells.CellsError, match="nowhere"):
        cells.open(tmp_path / "nowhere", Hooks())


@pytest.mark.parametrize(
    ("kind", "name"), [("table", "tail"), ("terms", "identity@64"), ("tokens", "hflip"), ("tokens", "tail@")]
)
def test_a_view_that_cells_do_not_have_is_refused(kind, name):
    cells.check_view(kind, "identity")
    with pytest.raises(ValueError, match="identity"):
        cells.check_view(kind, name)
