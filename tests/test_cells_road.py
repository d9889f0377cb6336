"""Texts and tables take the road that images take: trained, exported, planned, bundled, rendered, rehearsed, with real models."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from builder import competition, pipeline
from builder.errors import GateError, UserError
from builder.export import native
from builder.export import stage as exporting
from builder.runtime import cells, hooks
from builder.runtime.contract import Cells, Plan
from builder.shown import Read
from builder.train import record
from builder.workspace import read_json, sha256_file, write_text
from tests import competitions_cells as tiny
from tests.roads import made

pytest.importorskip("torch")
TRUNKS = '"column": "trunks"'
QUICK = {
    tiny.TEXT: '\n[[model]]\nname = "linear"\nbackbone = "text/linear"\n',
    tiny.TABLE: '\n[[model]]\nname = "boosted"\nbackbone = "table/lightgbm"\narguments = { n_estimators = 20 }\n'
    '\n[[model]]\nname = "mlp"\nbackbone = "table/mlp"\n\n[train]\nepochs = 2\n',
}
MANY = {
    tiny.TEXT: QUICK[tiny.TEXT] + '\n[[model]]\nname = "gru"\nbackbone = "text/gru"\n'
    "text = { length = 16, vocabulary = 300 }\narguments = { width = 16 }\n"
    '\n[inference]\nviews = ["identity", "tail", "identity@8"]\n\n[train]\nepochs = 2\n',
    tiny.TABLE: '\n[[model]]\nname = "boosted"\nbackbone = "table/lightgbm"\n'
    '\n[[model]]\nname = "other"\nbackbone = "table/xgboost"\n\n[[model]]\nname = "mlp"\nbackbone = "table/mlp"\n'
    '\n[inference]\nblend = "mean"\n',  # trees are so much alike that weights may leave all but one out
}


def kernel_of(workspace, tmp_path, task, models, **more):
    root = tiny.write(tmp_path / "tiny-cells", task, **more)
    write_text(workspace.kernels / "cells-one" / "kernel.toml", tiny.config(root, task, models=models[task]))
    return pipeline.Kernel(workspace, "cells-one")


@pytest.mark.parametrize("task", tiny.TASKS)
def test_a_plan_of_cells_carries_the_recipe_that_its_models_learned_with(workspace, tmp_path, task):
    kernel = kernel_of(workspace, tmp_path, task, QUICK)
    plan = made(kernel)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    (version,) = record.finished(workspace.weights("cells-one"))
    for unit in plan.units:
        model = version.model(unit.member.partition(":")[2])
        assert isinstance(unit.input, Cells)
        assert unit.input == dataclasses.replace(model.input, recipe=f"{model.name}.recipe.json")
        sent = next(one for one in pipeline.datasets(kernel) if one.key == unit.dataset)
        names = {file.name: file for file in sent.files}
        assert {unit.file, unit.input.recipe} <= set(names)
        assert names[unit.input.recipe].sha256 == sha256_file(version.source_of(model) / model.input.recipe)
        assert names[unit.input.recipe].sha256.startswith(unit.input.digest)
    again = pipeline.Kernel(workspace, "cells-one")
    made(again)
    assert not any(again.fresh.values()), "a second time nothing is made again"


def test_trees_whose_file_was_changed_are_not_exported(workspace, tmp_path):
    kernel = kernel_of(workspace, tmp_path, tiny.TABLE, tiny.MODELS)
    version = pipeline.train(kernel)
    path = version.checkpoint(version.models[0], 0)
    assert native.format_of(path) == "lightgbm"
    text = path.read_text()
    path.write_text(text.replace("leaf_value=", "leaf_value=9", 1))
    with pytest.raises(UserError, match="the checkpoint was changed"):
        pipeline.export(kernel)


def test_trees_that_answer_otherwise_than_out_of_fold_are_refused(workspace, tmp_path):
    kernel = kernel_of(workspace, tmp_path, tiny.TABLE, tiny.MODELS)
    version = pipeline.train(kernel)
    path = version.oof("boosted", "identity")
    found = np.load(path)
    found[3] = found[3, ::-1] if abs(found[3, 0] - 0.5) > 0.01 else (0.9, 0.1)
    np.save(path, found)
    with pytest.raises(GateError, match=r"boosted fold \d differs from its checkpoint"):
        exporting.export(kernel.config, workspace, version)


def test_out_of_fold_predictions_are_those_of_the_fold_that_did_not_see_the_row(workspace, tmp_path):
    kernel = kernel_of(workspace, tmp_path, tiny.TEXT, QUICK)
    version = pipeline.train(kernel)
    ids, folds, _ = record.read_folds(version.folder / record.FOLDS)
    rows = competition.train_rows(kernel.config, kernel.root)
    assert ids == rows.ids
    assert not {g for g, f in zip(rows.groups, folds, strict=True) if f == 0} & {
        g for g, f in zip(rows.groups, folds, strict=True) if f == 1
    }, "no film is in two folds"
    model = version.models[0]
    shown = Read(cells.open(version.source_of(model) / model.input.recipe, hooks.Hooks()).read(rows.cells))
    from builder import models

    for fold in (0, 1):
        some = np.flatnonzero(folds == fold)
        found = models.predicted(version.network(model, fold), shown, some)
        np.testing.assert_allclose(found, np.load(version.oof("linear", "identity"))[some], atol=1e-6)


def test_a_new_hook_makes_another_version_of_a_table(workspace, tmp_path):
    kernel = kernel_of(workspace, tmp_path, tiny.TABLE, tiny.MODELS)
    first = pipeline.train(kernel)
    text = "def transform(table, state):\n    return table.assign(trunks=table['remark'].str[-8:-7])\n"
    write_text(kernel.folder / "hooks.py", text)
    second = pipeline.train(pipeline.Kernel(workspace, "cells-one"))
    assert (first.version, second.version) == ("v001", "v002")
    recipes = [read_json(v.source_of(v.models[0]) / v.models[0].input.recipe, remedy="") for v in (first, second)]
    assert TRUNKS not in json.dumps(recipes[0])
    assert TRUNKS in json.dumps(recipes[1])


@pytest.mark.slow
@pytest.mark.parametrize("task", tiny.TASKS)
def test_many_models_and_views_of_cells_are_rehearsed_as_they_were_planned(workspace, tmp_path, task):
    kernel = kernel_of(workspace, tmp_path, task, MANY, rows=160)
    plan = made(kernel)
    assert len({unit.member for unit in plan.units}) > 1
    rehearsal = pipeline.rehearse(kernel)
    assert (rehearsal.label, rehearsal.ok) == ("Scored", True), rehearsal
    assert rehearsal.score > 0.7


@pytest.mark.slow
def test_tables_in_parquet_take_the_same_road(workspace, tmp_path):
    kernel = kernel_of(workspace, tmp_path, tiny.TABLE, tiny.MODELS, rows=80)
    for name in ("train", "test", "sample_submission"):
        path = kernel.root / f"{name}.csv"
        pd.read_csv(path).to_parquet(path.with_suffix(".parquet"))
        path.unlink()
    config, files = kernel.folder / "kernel.toml", ("train", "test", "sample_submission")
    lines = "".join(f'{name} = "{name}.parquet"\n' for name in files)
    text = config.read_text().replace("[data]\n", f"[data]\n{lines}")
    write_text(config, text.replace("[competition]\n", '[competition]\nfile = "submission.parquet"\n'))
    kernel = pipeline.Kernel(workspace, "cells-one")
    made(kernel)
    rehearsal = pipeline.rehearse(kernel, sets="usual")
    assert (rehearsal.label, rehearsal.ok) == ("Scored", True), rehearsal


@pytest.mark.slow
@pytest.mark.parametrize("task", tiny.TASKS)
def test_every_hidden_set_of_cells_ends_well(workspace, tmp_path, task):
    kernel = kernel_of(workspace, tmp_path, task, QUICK, rows=80)
    made(kernel)
    rehearsal = pipeline.rehearse(kernel, sets="all")
    assert rehearsal.ok, [finding for finding in rehearsal.findings if finding.severity == "must-fix"]
