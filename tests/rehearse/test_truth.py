"""The truth of a hidden set stands beside a submission as a scorer wants it: answers that are right have the best score."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from builder import competition, config, metrics, scoring
from builder.competition import targets
from builder.metrics.heads import apart
from builder.rehearse import hidden, truth
from builder.runtime import submission
from builder.runtime.contract import Answer, Head
from tests import competitions_cells as tiny

TOPICS = tuple(tiny.TOPICS)
LONG = {"key_column": "row_topic", "key": "{id}_{class}"}
# kind of competition, form, columns of the file, how the long form's ids are made, metric
FORMS = (
    ("strings", "strings", ("topics",), {}, "f1_micro"),
    ("strings", "columns", ("p_war", "p_comedy", "p_romance"), {}, "mean(auc)"),
    ("strings", "long", ("value",), LONG, "mean(auc)"),
    ("columns", "columns", TOPICS, {}, "mean(auc)"),
    ("columns", "columns", TOPICS[::-1], {}, "f1_macro"),
    ("columns", "strings", ("topics",), {}, "dice"),
    ("columns", "long", ("value",), LONG, "f1_micro"),
    ("number", "numbers", ("price",), {}, "rmse"),
    ("number", "numbers", ("answer",), {}, "r2"),
    ("numbers", "numbers", ("age", "price"), {}, "mean(rmse)"),
    ("heads", "heads", ("survived", "deck"), {}, "accuracy"),
    ("heads", "heads", ("deck", "survived"), {}, "survived=accuracy, deck=f1_macro"),
    ("heads", "long-heads", ("value",), LONG, "survived=accuracy, deck=f1_macro"),
    ("mixed", "heads", ("price", "street_of", "light"), {}, "street_of=accuracy, light=f1_macro, price=r2"),
    ("mixed", "long-heads", ("value",), LONG, "street_of=accuracy, light=f1_macro, price=r2"),
    ("numbers", "long", ("value",), LONG, "mean(rmse)"),
)


@dataclasses.dataclass(frozen=True)
class World:
    settings: config.Config
    root: object
    rows: competition.Rows
    answer: Answer
    metric: str


@pytest.fixture(params=FORMS, ids=lambda form: "-".join((form[0], form[1], form[4])))
def world(request, tmp_path):
    kind, form, columns, key, metric = request.param
    root = tiny.write_several(tmp_path / "files", kind, rows=40)
    (tmp_path / "kernel.toml").write_text(tiny.several_config(root, kind, metric=metric))
    settings = config.load(tmp_path)
    rows = competition.train_rows(settings, root)
    answer = Answer("submission.csv", "row_id", form, columns, rows.classes, heads=rows.heads, **key)
    if form == "strings":  # a row may have no label at all
        halves = {"kind": "thresholds", "values": [0.5] * len(rows.classes)}
        answer = dataclasses.replace(answer, decision={"steps": [halves]})
    blank = {"strings": "war", "heads": None}.get(form, "0.5")
    firsts = {head.name: "0.5" if head.link == "identity" else head.classes[0] for head in rows.heads}
    cells = {column: blank or firsts[column] for column in columns}
    pd.DataFrame([{answer.key_column or "row_id": "r0040", **cells}]).to_csv(root / "sample_submission.csv", index=False)
    return World(settings, root, rows, answer, metric)


def right(world):
    """float (rows, outputs): what a model answers that knows everything."""
    y = world.rows.y
    if world.rows.heads[0].link != "softmax":
        return y.astype(np.float64)
    known = zip(world.rows.heads, apart(world.rows.heads, y), strict=True)
    return np.concatenate([own if head.link == "identity" else np.eye(len(head.classes))[own] for head, own in known], axis=1)


def scored(world, made, values):
    """The score of a submission with these answers."""
    test = competition.read_table(made.competition / "test.csv")
    place = {name: at for at, name in enumerate(world.rows.ids)}
    chosen = values[[place[name] for name in test["row_id"]]]
    shape = submission.template(world.answer, list(test["row_id"]), None, world.rows.prior)
    frame = submission.compose(shape, chosen)
    submission.write(made.competition.parent / "submission.csv", frame)
    sample = made.competition / "sample_submission.csv"
    return scoring.score(made.competition.parent / "submission.csv", made.solution, sample, world.metric)


def test_right_answers_have_the_best_score_and_wrong_ones_have_not(world, tmp_path):
    fold_of = dict.fromkeys(world.rows.ids, 0)
    made = hidden.from_training(world.settings, world.root, fold_of, 30, tmp_path / "hidden", answer=world.answer)
    best = "0.00000" if "rmse" in world.metric else "1.00000"
    found = scored(world, made, right(world))
    assert (found.public, found.private) == (best, ""), "nothing is private"
    worse = scored(world, made, np.roll(right(world), 1, axis=0))
    judge = metrics.of(world.metric, world.rows.heads)
    assert judge.gain(float(found.public), float(worse.public)) > 0.05


def test_the_truth_has_a_cell_for_each_row_of_the_file_and_repeats_what_was_told(world):
    cells = [tuple(row) for row in competition.read_table(world.root / "train.csv")[list(world.settings.data.targets)].to_numpy()]
    told = truth.columns(cells, world.settings.data.targets, world.answer)
    assert {len(column) for column in told.values()} == {len(truth.keys_of(world.rows.ids, world.answer))}
    if world.answer.form == "long-heads":
        assert told["value"] == [cell for row in cells for cell in row]
    if world.rows.heads[0].link == "identity":
        said = [cell for column in told.values() for cell in column]
        assert sorted(said) == sorted(cell for row in cells for cell in row), "no number is spelled anew"
    if world.answer.form == "heads":
        assert list(zip(*(told[name] for name in world.settings.data.targets), strict=True)) == cells


def test_without_a_form_the_truth_is_that_of_the_training_table():
    rows = [("1", "a b"), ("0", "")]
    assert truth.columns(rows, ("there", "names"), None) == {"there": ["1", "0"], "names": ["a b", ""]}


def test_a_set_without_rows_has_a_truth_without_rows(world, tmp_path):
    told = truth.columns([], world.settings.data.targets, world.answer)
    assert told
    assert not any(told.values())


def test_labels_come_in_the_order_of_the_outputs_however_a_row_names_them():
    heads = (Head("", "sigmoid", ("a", "b", "c")),)
    answer = Answer("s.csv", "id", "strings", ("labels",), ("a", "b", "c"), heads=heads)
    assert truth.columns([("c a",), ("",), ("b",)], ("labels",), answer) == {"labels": ["a c", "", "b"]}
    assert targets.parse(["c a", "", "b"], heads).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
