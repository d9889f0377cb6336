"""plan.json from records on disk: joined on row ids, repeatable, and read back as it was written."""

import json

import numpy as np
import pytest

from builder.errors import UserError
from builder.export import record
from builder.plan import stage
from builder.runtime.contract import Plan
from tests import competitions, records

CLASSES = ("cat", "dog")


class Case:
    """A kernel with versions of given skill."""

    def __init__(self, workspace, root, more=""):
        self.workspace, self.root = workspace, root
        self.config = records.kernel(workspace, root, more=more)
        self.ids, self.labels = records.rows_of(root)
        self.folds = np.arange(len(self.ids)) % 2
        self.codes = np.array([CLASSES.index(label) for label in self.labels])
        self.exports = {}

    def add(self, number, models, *, order=None, ids=None, classes=CLASSES, ms=None):
        """Version `number`; `models` are name -> (skill, seed); `order` permutes its rows."""
        order = np.arange(len(self.ids)) if order is None else order
        views = self.config.inference.views
        oof = {
            name: {v: records.predictions(self.codes, 2, skill=skill, seed=seed + 7 * i)[order] for i, v in enumerate(views)}
            for name, (skill, seed) in models.items()
        }
        made = records.version(
            self.config,
            self.workspace,
            number,
            oof,
            ids=tuple((ids or self.ids)[i] for i in order),
            folds=self.folds[order],
            labels=[self.labels[i] for i in order],
            classes=classes,
        )
        self.exports[made.version] = records.export(self.config, made, oof, ms=ms)
        return made

    def plan(self, config=None):
        config = config or self.config
        joined = stage.members(config, self.workspace.weights("animals"), self.exports)
        return stage.plan(config, "animals", self.workspace.kernel("animals"), self.root, joined)


@pytest.fixture
def case(workspace, animals):
    return Case(workspace, animals)


def test_the_plan_is_read_back_as_it_was_written(case):
    case.add(1, {"resnet": (1.5, 0), "effnet": (1.0, 1)})
    planned, fresh = case.plan()
    assert fresh
    assert stage.load(case.workspace.kernel("animals")) == planned.plan
    assert Plan.from_json(json.loads(planned.path.read_text())).to_json() == planned.plan.to_json()


def test_planning_again_changes_nothing(case):
    case.add(1, {"resnet": (1.5, 0), "effnet": (1.0, 1)})
    planned, _ = case.plan()
    before = planned.path.read_bytes(), planned.path.stat().st_mtime_ns
    again, fresh = case.plan()
    assert not fresh
    assert again.plan == planned.plan
    assert (planned.path.read_bytes(), planned.path.stat().st_mtime_ns) == before


def test_the_plan_names_files_that_exist_and_prices_that_were_measured(case):
    case.add(1, {"resnet": (1.5, 0), "effnet": (1.0, 1)}, ms={"resnet": 2.0, "effnet": 0.5})
    planned, _ = case.plan()
    export = case.exports["v001"]
    for unit in planned.plan.units:
        assert (export.folder / unit.file).is_file()
        assert unit.seconds == pytest.approx({"v001:resnet": 2e-3, "v001:effnet": 5e-4}[unit.member])
        assert unit.file.startswith(f"{unit.member.partition(':')[2]}-f{unit.fold}-")


def test_the_curve_only_rises_in_seconds_and_ends_at_the_promise(case):
    case.add(1, {"resnet": (1.5, 0), "effnet": (1.4, 1)})
    planned, _ = case.plan()
    spent = [point.budget_s for point in planned.predicted]
    assert spent == sorted(spent)
    assert spent[0] > 0
    assert len(planned.plan.units) == len(planned.gains)
    assert planned.predicted[-1].score == planned.plan.expected["score"]
    assert planned.plan.expected["low"] <= planned.plan.expected["score"] <= planned.plan.expected["high"]


def test_the_summary_has_the_keys_that_programs_read(case):
    case.add(1, {"resnet": (1.5, 0)})
    told = json.loads(json.dumps(stage.summary(case.plan()[0])))
    assert {"units", "predicted", "rows"} <= set(told)
    assert {"model", "fold", "view", "seconds", "gain"} <= set(told["units"][0])
    assert {"budget_s", "score", "low", "high"} <= set(told["predicted"][0])


@pytest.mark.parametrize("form", ["labels", "columns", "probability"])
def test_the_answer_follows_the_sample_submission(workspace, tmp_path, form):
    classes = ("0", "1") if form == "probability" else CLASSES
    root = competitions.write(tmp_path / "x", form=form, classes=classes)
    case = Case.__new__(Case)
    case.workspace, case.root, case.config = workspace, root, records.kernel(workspace, root)
    case.ids, case.labels = records.rows_of(root)
    case.folds = np.arange(len(case.ids)) % 2
    case.codes, case.exports = np.array([classes.index(label) for label in case.labels]), {}
    case.add(1, {"resnet": (1.5, 0)}, classes=classes)
    answer = case.plan()[0].plan.answer
    assert (answer.form, answer.classes, answer.id) == (form, classes, "image_id")
    assert answer.columns == (classes if form == "columns" else ("label",))


def members(case, *names):
    spelled = ", ".join(f'"{name}"' for name in names)
    case.config = records.kernel(case.workspace, case.root, more=f"\n[inference]\nmembers = [{spelled}]\n")


def test_versions_join_on_row_ids_whatever_the_order_of_their_rows(case):
    case.add(1, {"resnet": (1.2, 0)})
    case.add(2, {"effnet": (1.2, 1)})
    members(case, "v001:*", "v002:*")
    straight, _ = case.plan()
    assert {unit.member for unit in straight.plan.units} == {"v001:resnet", "v002:effnet"}
    case.add(2, {"effnet": (1.2, 1)}, order=np.random.default_rng(0).permutation(len(case.ids)))
    turned, fresh = case.plan()
    assert not fresh
    assert turned.plan == straight.plan


def test_versions_of_other_rows_are_refused(case):
    case.add(1, {"resnet": (1.2, 0)})
    case.add(2, {"effnet": (1.2, 1)}, ids=("stranger", *case.ids[1:]))
    members(case, "v001:*", "v002:*")
    with pytest.raises(UserError, match="v002:effnet was trained on other rows than v001:resnet") as caught:
        case.plan()
    assert caught.value.found == "2 ids that only one of them has"
    assert not (case.workspace.kernel("animals") / "plan.json").exists()


def test_versions_of_other_classes_are_refused(case):
    case.add(1, {"resnet": (1.2, 0)})
    case.add(2, {"effnet": (1.2, 1)}, classes=("cat", "eel"))
    members(case, "v001:*", "v002:*")
    with pytest.raises(UserError, match="answers other classes") as caught:
        case.plan()
    assert (caught.value.found, caught.value.expected) == ("cat, eel", "cat, dog")


def test_without_members_the_newest_version_counts(case):
    case.add(1, {"resnet": (1.2, 0)})
    case.add(2, {"effnet": (1.2, 1)})
    assert {unit.member for unit in case.plan()[0].plan.units} == {"v002:effnet"}


def test_a_member_may_be_one_model_of_a_version(case):
    case.add(1, {"resnet": (1.2, 0), "effnet": (1.2, 1)})
    members(case, "v001:effnet")
    assert {unit.member for unit in case.plan()[0].plan.units} == {"v001:effnet"}


@pytest.mark.parametrize(("member", "found"), [("v009:*", "v001"), ("v001:effnte", "resnet, effnet")])
def test_a_member_that_is_not_there_is_named(case, member, found):
    case.add(1, {"resnet": (1.2, 0), "effnet": (1.2, 1)})
    members(case, member)
    with pytest.raises(UserError) as caught:
        case.plan()
    assert caught.value.found == found


def test_without_a_version_the_next_step_is_named(case):
    with pytest.raises(UserError, match="no finished version") as caught:
        case.plan()
    assert caught.value.remedy == "kkb train animals"


def test_a_view_is_a_family_of_its_own(workspace, animals):
    case = Case(workspace, animals, more='\n[inference]\nviews = ["identity", "hflip"]\nblend = "mean"\n')
    case.add(1, {"resnet": (1.2, 0)})
    units = {(unit.view, unit.fold) for unit in case.plan()[0].plan.units}
    assert units == {("identity", 0), ("identity", 1), ("hflip", 0), ("hflip", 1)}


def test_predictions_that_cannot_be_read_are_named(case):
    case.add(1, {"resnet": (1.2, 0)})
    path = case.exports["v001"].oof("resnet", "identity")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="out-of-fold predictions") as caught:
        case.plan()
    assert caught.value.file == str(path)
    path.unlink()
    with pytest.raises(UserError, match="out-of-fold predictions"):
        case.plan()


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw | {"schema": 99},
        lambda raw: {key: value for key, value in raw.items() if key != "units"},
        lambda raw: raw | {"unitz": []},
        lambda raw: raw | {"units": []},
        lambda raw: raw | {"prefixes": raw["prefixes"][:-1]},
        lambda raw: raw | {"prefixes": [{**p, "weights": [2.0 * w for w in p["weights"]]} for p in raw["prefixes"]]},
        lambda raw: raw | {"units": [{**unit, "fold_": 1} for unit in raw["units"]]},
        lambda raw: [raw],
    ],
    ids=["schema", "no units", "unknown key", "empty", "short", "not convex", "unknown key in a unit", "a list"],
)
def test_a_plan_that_was_spoilt_is_refused_with_the_command_that_mends_it(case, damage):
    case.add(1, {"resnet": (1.2, 0)})
    planned, _ = case.plan()
    planned.path.write_text(json.dumps(damage(json.loads(planned.path.read_text()))))
    with pytest.raises(UserError) as caught:
        stage.load(planned.path.parent)
    assert (caught.value.file, caught.value.remedy) == (str(planned.path), "kkb plan animals")


def test_a_known_test_set_that_no_unit_can_finish_is_refused_with_what_would_fit(case):
    case.add(1, {"resnet": (1.5, 0)}, ms={"resnet": 100.0})
    config = case.config.model_copy(update={"competition": case.config.competition.model_copy(update={"test_rows": 10**9})})
    with pytest.raises(UserError, match="too short for even the cheapest unit") as caught:
        case.plan(config)
    fits = int(caught.value.expected.split()[2])
    fitting = config.competition.model_copy(update={"test_rows": fits})
    assert case.plan(config.model_copy(update={"competition": fitting}))[0].rows == fits


def test_a_test_set_of_unknown_size_is_assumed_and_the_plan_says_so(case):
    case.add(1, {"resnet": (1.5, 0)})
    planned, _ = case.plan()
    assert planned.rows == len(case.ids)
    assert any("competition.test_rows" in note for note in planned.plan.notes)


def test_more_time_promises_more_and_the_cheap_comes_first(case):
    case.add(1, {"good": (2.0, 0), "cheap": (1.0, 1)}, ms={"good": 50.0, "cheap": 1.0})
    limit, promised = case.config.competition.limit, []
    for share in (1.0, 60.0):
        wanted = case.config.competition.model_copy(update={"test_rows": 3_000_000, "limit": limit * share})
        planned, _ = case.plan(case.config.model_copy(update={"competition": wanted}))
        assert planned.plan.units[0].member == "v001:cheap"
        assert planned.plan.effort is not None
        promised.append(planned.plan.expected["score"])
        assert promised[-1] == [point for point in planned.predicted if point.budget_s <= planned.seconds][-1].score
    assert promised[0] < promised[1]


@pytest.mark.parametrize(("measured_on", "told"), [({"processor": "EPYC"}, "a run on cpu (EPYC)"), ({}, "a run on cpu")])
def test_the_plan_says_where_its_prices_were_measured(case, measured_on, told):
    case.add(1, {"resnet": (1.5, 0)})
    export = case.exports["v001"]
    assert case.plan()[0].plan.expected["prices_from"] == export.prices_from
    units = {model.file: record.UnitPrice("onnxruntime", 8, 3.0, 900.0, 30.0, 800.0) for model in export.models}
    record.Prices(case.config.competition.machine, measured_on, units).write(export.folder)
    plan = case.plan()[0].plan
    assert plan.expected["prices_from"] == told
    assert {unit.seconds for unit in plan.units} == {0.003}


def test_what_a_run_on_the_stand_in_took_counts_until_the_machine_itself_has_run(case):
    case.add(1, {"resnet": (1.5, 0)})
    export = case.exports["v001"]
    for machine, ms in (("standin", 4.0), (case.config.competition.machine, 3.0)):
        units = {model.file: record.UnitPrice("onnxruntime", 8, ms, 900.0, 30.0, 800.0) for model in export.models}
        record.Prices(machine, {}, units).write(export.folder)
        plan = case.plan()[0].plan
        assert plan.expected["prices_from"] == f"a run on {machine}"
        assert {unit.seconds for unit in plan.units} == {ms / 1e3}


@pytest.mark.parametrize("blend", ["mean", "weighted", "geometric", "rank", "vote", "stack"])
def test_every_blend_travels_as_data_and_promises_a_score(case, blend):
    case.add(1, {"resnet": (1.5, 0), "effnet": (1.2, 1)})
    inference = case.config.inference.model_copy(update={"blend": blend})
    plan = case.plan(case.config.model_copy(update={"inference": inference}))[0].plan
    assert plan.blend == ("weighted" if blend == "mean" else blend)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.expected["low"] <= plan.expected["score"] <= plan.expected["high"]
    assert set(plan.references) == ({f"{u.member} {u.view}" for u in plan.units} if blend == "rank" else set())
