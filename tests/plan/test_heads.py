"""plan.json of kernels that predict several targets, labels or numbers: blended and decided per head, read back as written."""

import dataclasses
import json

import numpy as np
import pytest

from builder import config as configs
from builder import metrics
from builder.competition import targets
from builder.errors import UserError
from builder.metrics.heads import apart
from builder.plan import deciding, members, stage
from builder.runtime import answers
from builder.runtime.contract import Head, Plan
from builder.workspace import write_text
from tests import competitions, records

ROWS = 120
LABELS = ("air", "sea", "tar")
OWN = "def off(y, p):\n    return float(abs(y - p).mean())\n\n\noff.greater_is_better = False\noff.prediction = 'numbers'\n"


class Case:
    """A kernel whose training table has the `columns`; versions answer with noise around the truth."""

    def __init__(self, workspace, root, columns, *, truth, metric, sample, more=""):
        draw = np.random.default_rng(0)
        ids = [f"a{i:03d}" for i in range(ROWS)]
        cells = [make(draw) for make in columns.values()]
        competitions.table(root / "train.csv", ["image_id", *columns], zip(ids, *cells, strict=True))
        competitions.table(root / "test.csv", ["image_id"], [["t0"], ["t1"]])
        competitions.table(
            root / "sample_submission.csv", ["image_id", *sample], [["t0", *sample.values()], ["t1", *sample.values()]]
        )
        target = json.dumps(list(columns) if len(columns) > 1 else next(iter(columns)))
        text = competitions.config(root, more=more).replace('target = "label"', f"target = {target}\ntruth = {toml(truth)}")
        text = text.replace('limit = "20min"', f'limit = "20min"\nmetric = "{metric}"')
        write_text(workspace.kernels / "animals" / "metric.py", OWN)
        write_text(workspace.kernels / "animals" / "kernel.toml", text)
        self.workspace, self.root = workspace, root
        self.config, self.exports, self.ids = configs.load(workspace.kernels / "animals"), {}, ids
        self.read = targets.read(self.config.data, competitions_table(root), root / "train.csv")

    def add(self, number, skills, *, heads=None, bias=0.0):
        """Version `number` with a model for each skill."""
        truth, classes = self.read, tuple(name for head in self.read.heads for name in head.classes)
        oof = {f"m{i}": {"identity": predictions(truth, skill, i, bias)} for i, skill in enumerate(skills)}
        folds = np.arange(ROWS) % 2
        facts = {"ids": tuple(self.ids), "folds": folds, "labels": list(truth.told), "classes": classes}
        made = records.version(self.config, self.workspace, number, oof, **facts)
        prior = targets.prior(truth.heads, truth.y)
        made = dataclasses.replace(made, heads=truth.heads if heads is None else heads, prior=prior)
        made.write()
        self.exports[made.version] = records.export(self.config, made, oof)
        return self

    @property
    def members(self):
        return stage.members(self.config, self.workspace.weights("animals"), self.exports)

    def plan(self):
        return stage.plan(self.config, "animals", self.workspace.kernel("animals"), self.root, self.members)[0].plan


def toml(truth):
    """A truth of kernel.toml: a word, or a table."""
    return json.dumps(truth).replace(":", " =")


def competitions_table(root):
    from builder.competition import read_table

    return read_table(root / "train.csv")


def predictions(truth, skill, seed, bias):
    """float32 (rows, outputs): answers that are the better the larger `skill` is, each head's in its own way."""
    draw, out = np.random.default_rng(seed), []
    for number, (head, own) in enumerate(zip(truth.heads, apart(truth.heads, truth.y), strict=True)):
        noise = draw.normal(0, 1, (len(truth.y), len(head.classes)))
        if head.link == "identity":
            out.append(own + noise * head.spread / skill + bias)
        elif head.link == "sigmoid":
            out.append(1 / (1 + np.exp(-(noise + skill * (2 * own - 1) + bias))))
        else:
            out.append(
                records.predictions(own, len(head.classes), skill=skill, seed=seed + 10 * number)
                + bias * np.eye(len(head.classes))[0]
            )
            out[-1] = out[-1] / out[-1].sum(axis=1, keepdims=True)
    return np.concatenate(out, axis=1).astype(np.float32)


def numbers(draw):
    return [f"{value:.3f}" for value in draw.normal(50, 10, ROWS)]


def counts(draw):
    return [str(value) for value in draw.poisson(2, ROWS)]


def names(draw):
    return [" ".join(label for label in LABELS if draw.random() < 0.4) for _ in range(ROWS)]


def one_of(*classes):
    return lambda draw: [classes[code] for code in draw.integers(0, len(classes), ROWS)]


def rare(*classes):
    return lambda draw: [classes[int(draw.random() < 0.15)] for _ in range(ROWS)]


@pytest.fixture
def several(workspace, tmp_path):
    columns = {"kind": one_of("cat", "dog", "eel"), "size": rare("big", "small")}
    sample = {"kind": "cat", "size": "big"}
    return Case(workspace, tmp_path, columns, truth="classes", metric="kind=accuracy, size=f1_macro", sample=sample)


def read_back(case, plan):
    assert stage.load(case.workspace.kernel("animals")) == plan
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def answered(case, plan):
    """(truth, the plan's answers to the rows that it was made from)."""
    together = members.join(case.members)
    return together.y, deciding.pooled(plan, [together.oof[at] for at in deciding.used_by(plan, together)])


def test_several_heads_are_blended_and_decided_each_on_its_own(several):
    plan = several.add(1, (2.0, 1.0), bias=2.0).plan()
    read_back(several, plan)
    assert (plan.answer.form, plan.answer.columns, plan.metric) == ("heads", ("kind", "size"), "kind=accuracy, size=f1_macro")
    assert [len(prefix.shares) for prefix in plan.prefixes] == [2] * len(plan.units)
    assert {unit.temperature for unit in plan.units} == {1.0}
    assert plan.effort.kind == "static"
    assert len(plan.prior) == 5
    kind, size = plan.answer.heads
    assert kind.decision is None
    assert size.decision is not None
    assert plan.answer.decision is None
    assert any("labels of size by" in note and "cross-fitted (+" in note for note in plan.notes)
    y, values = answered(several, plan)
    plain = dataclasses.replace(plan.answer, heads=tuple(dataclasses.replace(head, decision=None) for head in plan.answer.heads))
    f1 = metrics.get("f1_macro")
    scores = [
        f1(y[:, 1], np.array([size.classes.index(label) for label in answers.cells(answer, values)[:, 1]]))
        for answer in (plan.answer, plain)
    ]
    assert scores[0] > scores[1]


def test_heads_that_the_most_probable_class_serves_are_not_decided(several):
    competition = several.config.competition.model_copy(update={"metric": "kind=accuracy, size=accuracy"})
    several.config = several.config.model_copy(update={"competition": competition})
    plan = several.add(1, (2.0, 1.0), bias=2.0).plan()
    assert [head.decision for head in plan.answer.heads] == [None, None]


@pytest.mark.parametrize("form", ["heads", "long-heads"])
def test_classes_and_numbers_are_blended_and_decided_each_on_its_own(workspace, tmp_path, form):
    columns = {"kind": one_of("cat", "dog", "eel"), "size": rare("big", "small"), "count": counts}
    metric, sample = "kind=accuracy, size=f1_macro, count=rmse", {"kind": "cat", "size": "big", "count": "0"}
    case = Case(workspace, tmp_path, columns, truth={"count": "numbers"}, metric=metric, sample=sample)
    if form == "long-heads":
        rows = [[f"{name}_{head}", cell] for name in ("t0", "t1") for head, cell in sample.items()]
        competitions.table(tmp_path / "sample_submission.csv", ["key", "value"], rows)
    plan = case.add(1, (2.0, 1.0)).plan()
    read_back(case, plan)
    assert (plan.answer.form, plan.answer.heads[2].link) == (form, "identity")
    assert [len(prefix.shares) for prefix in plan.prefixes] == [3] * len(plan.units)
    assert all(prefix.shares[2].temperature == 1 for prefix in plan.prefixes)
    kind, size, count = plan.answer.heads
    assert (kind.decision, count.decision["steps"][0]["kind"]) == (None, "clip")
    assert any("answers of " in note and "count by " in note and "cross-fitted (+" in note for note in plan.notes)
    y, values = answered(case, plan)
    cells = answers.cells(plan.answer, values)
    right = np.mean([kind.classes[int(code)] == cell for code, cell in zip(y[:, 0], cells[:, 0], strict=True)])
    f1 = metrics.get("f1_macro")(y[:, 1].astype(int), np.array([size.classes.index(cell) for cell in cells[:, 1]]))
    off = np.sqrt(np.mean((cells[:, 2].astype(float) - y[:, 2]) ** 2))
    assert off < np.sqrt(np.mean((values[:, 5] - y[:, 2]) ** 2)), "the range wins"
    assert plan.expected["score"] == pytest.approx((right + f1 - off) / 3, abs=0.1)


def test_numbers_travel_with_their_head_and_a_range_where_it_wins(workspace, tmp_path):
    case = Case(workspace, tmp_path, {"count": counts}, truth="numbers", metric="rmse", sample={"count": "0"})
    plan = case.add(1, (2.0, 1.0)).plan()
    read_back(case, plan)
    assert (plan.answer.form, plan.answer.heads, plan.prior) == ("numbers", case.read.heads, (case.read.y.mean(),))
    assert all(prefix.shares == () and prefix.temperature == 1 for prefix in plan.prefixes)
    assert plan.answer.decision["steps"][0]["kind"] == "clip"
    assert any(note.startswith("numbers by ") for note in plan.notes)
    y, values = answered(case, plan)
    known = metrics.get("rmse")
    cells = answers.cells(plan.answer, values).astype(float)
    assert known(y, cells) < known(y, values)


def test_numbers_that_need_no_decision_have_none_and_a_function_of_ones_own_scores_them(workspace, tmp_path):
    columns, sample = {"a": numbers, "b": numbers}, {"a": "0.5", "b": "0.5"}
    case = Case(workspace, tmp_path, columns, truth="numbers", metric="metric.py:off", sample=sample)
    plan = case.add(1, (6.0, 4.0)).plan()
    assert plan.metric == "metric.py:off"
    y, values = answered(case, plan)
    assert plan.expected["score"] == pytest.approx(abs(y - values).mean(), rel=0.1)
    read_back(case, plan)


@pytest.mark.parametrize(
    ("metric", "named"), [("metric.py:off", True), ("kind=accuracy, size=metric.py:off", True), ("rmse", False)]
)
def test_a_plan_is_made_from_the_functions_that_its_metric_names(several, metric, named):
    several.add(1, (2.0,))
    folder = several.workspace.kernel("animals")
    competition = several.config.competition.model_copy(update={"metric": metric})
    config = several.config.model_copy(update={"competition": competition})
    before = stage.inputs(config, several.members, folder)
    write_text(folder / "metric.py", OWN + "# another one\n")
    assert (stage.inputs(config, several.members, folder) != before) == named


def test_labels_in_strings_are_decided_by_thresholds_and_no_cell_is_empty(workspace, tmp_path):
    case = Case(workspace, tmp_path, {"label": names}, truth="multilabel", metric="f1_macro", sample={"label": "air sea"})
    plan = case.add(1, (1.5, 1.0), bias=-2.0).plan()
    read_back(case, plan)
    assert plan.answer.form == "strings"
    (step,) = plan.answer.decision["steps"]
    assert (step["kind"], step["least"]) == ("thresholds", 1)
    assert max(step["values"]) < 0.5
    y, values = answered(case, plan)
    assert all(cell for cell in answers.cells(plan.answer, values)[:, 0])
    assert metrics.get("f1_macro")(y, (values >= step["values"]).astype(float)) > metrics.get("f1_macro")(y, values)


def test_labels_in_columns_may_all_be_absent_from_a_row(workspace, tmp_path):
    columns = {label: (lambda draw: [str(int(draw.random() < 0.3)) for _ in range(ROWS)]) for label in LABELS}
    case = Case(workspace, tmp_path, columns, truth="multilabel", metric="f1_macro", sample=dict.fromkeys(LABELS, "0"))
    plan = case.add(1, (1.5, 1.0), bias=-2.0).plan()
    (step,) = plan.answer.decision["steps"]
    assert (plan.answer.form, step["kind"], step.get("least", 0)) == ("columns", "thresholds", 0)
    y, values = answered(case, plan)
    found = answers.cells(plan.answer, values).astype(float)
    assert (found.sum(axis=1) == 0).any()
    assert metrics.get("f1_macro")(y, found) > 0.8


@pytest.mark.parametrize("form", ["columns", "long"])
def test_labels_in_columns_are_probabilities_where_those_are_judged(workspace, tmp_path, form):
    columns = {label: (lambda draw: [str(int(draw.random() < 0.4)) for _ in range(ROWS)]) for label in LABELS}
    case = Case(workspace, tmp_path, columns, truth="multilabel", metric="auc", sample=dict.fromkeys(LABELS, "0.5"))
    if form == "long":
        rows = [[f"{name}_{label}", "0.5"] for name in ("t0", "t1") for label in LABELS]
        competitions.table(tmp_path / "sample_submission.csv", ["image_id", "there"], rows)
    plan = case.add(1, (2.0, 1.0)).plan()
    read_back(case, plan)
    assert (plan.answer.form, plan.answer.decision) == (form, None)


@pytest.mark.parametrize("blend", ["geometric", "rank"])
def test_blends_of_labels_travel_as_data(workspace, tmp_path, blend):
    columns = {label: (lambda draw: [str(int(draw.random() < 0.4)) for _ in range(ROWS)]) for label in LABELS}
    more = f'\n[inference]\nblend = "{blend}"\n'
    sample = dict.fromkeys(LABELS, "0.5")
    case = Case(workspace, tmp_path, columns, truth="multilabel", metric="mean(auc)", sample=sample, more=more)
    plan = case.add(1, (2.0, 1.5)).plan()
    read_back(case, plan)
    assert plan.blend == blend
    y, values = answered(case, plan)
    assert metrics.get("mean(auc)")(y, values) > 0.95


def test_members_of_other_heads_are_refused_by_name(workspace, tmp_path):
    case = Case(
        workspace,
        tmp_path,
        {"count": numbers},
        truth="numbers",
        metric="rmse",
        sample={"count": "0"},
        more='\n[inference]\nmembers = ["v001:*", "v002:*"]\n',
    )
    case.add(1, (2.0,)).add(2, (2.0,), heads=(Head("", "identity", ("count",), (0.0,), (1.0,)),))
    with pytest.raises(UserError, match="v002:m0 has other heads than v001:m0") as caught:
        case.plan()
    assert caught.value.found == "identity of 1 outputs, offset [0.0], spread [1.0]"
    assert not (case.workspace.kernel("animals") / "plan.json").exists()


def test_a_blend_that_numbers_have_not_is_refused_before_anything_is_planned(workspace, tmp_path):
    case = Case(workspace, tmp_path, {"count": numbers}, truth="numbers", metric="rmse", sample={"count": "0"}).add(1, (2.0,))
    inference = case.config.inference.model_copy(update={"blend": "rank"})
    case.config = case.config.model_copy(update={"inference": inference})
    with pytest.raises(UserError, match='"rank" is no blend of numbers') as caught:
        case.plan()
    assert (caught.value.found, caught.value.expected) == ("rank", "auto, mean, weighted")
