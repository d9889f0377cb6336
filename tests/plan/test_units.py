"""The planner on files: what is wrong is said with the file and the numbers; a plan is read back as it was written."""

import json

import numpy as np
import pytest

from builder import metrics
from builder.cli import planning, run
from builder.errors import UserError
from builder.plan import curve, planner, units
from builder.plan.course import Point

from .arrays import World

N = 800


def write(folder, world, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    families = [{"name": f.name, "cost_s": f.seconds, "fixed_s": 0.5, "shared": {"decode": 1e-4}} for f in world.families]
    (folder / "units.json").write_text(json.dumps({"families": families, "folds": world.folds}))
    arrays = {"oof": world.oof, "y": world.y, "fold": world.fold, "unlabelled": world.unlabelled}
    for name, values in (arrays | {"test": world.test, "truth": world.truth} | changed).items():
        if values is not None:
            np.save(folder / f"{name}.npy", values)
    return folder


@pytest.fixture(scope="module")
def world():
    return World(2, (0.8, 1.5, 1.8))


@pytest.fixture(scope="module")
def made(world, tmp_path_factory):
    """(folder, path of a plan made by the command)."""
    folder = write(tmp_path_factory.mktemp("units"), world)
    plan(folder)
    return folder, folder / "plan.json"


def plan(folder, *, metric="logloss", budget="2.5", rows=N, blend="auto", draw=None):
    planning.plan_units(
        folder, metric=metric, budget=budget, rows=rows, out=folder / "plan.json", blend=blend, draw=draw, as_json=True
    )


def test_a_plan_is_read_back_as_it_was_written(world, made):
    offer = units.read(made[0])
    course = planner.course(offer.families, offer.evidence, metrics.get("logloss"), budget_s=2.5, rows=N)
    read = units.load(made[1])
    assert (read.course.steps, read.course.effort, read.course.temperatures) == (course.steps, course.effort, course.temperatures)
    assert read.course.told == course.told
    assert (read.metric, read.rows, read.budget_s, read.folds) == ("logloss", N, 2.5, world.folds)


def test_planning_again_writes_the_same_bytes(made):
    before = made[1].read_bytes()
    plan(made[0])
    assert made[1].read_bytes() == before


def simulate(made, capsys, *more, budget="2.5"):
    folder, path = made
    code = run(["simulate", str(path), "--predictions", str(folder / "test.npy"), "--budget", budget, "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def test_simulate_says_what_was_spent_and_scored_and_writes_the_answers(world, made, capsys, tmp_path):
    out = tmp_path / "probs.npy"
    code, shown = simulate(made, capsys, "--y", str(made[0] / "truth.npy"), "--out", str(out), "--metric", "accuracy")
    answers = np.load(out)
    assert code == 0
    assert shown["spent_s"] <= shown["budget_s"] == 2.5
    assert shown["score"] == pytest.approx((answers.argmax(axis=1) == world.truth).mean())
    assert sum(shown["per_prefix"].values()) == shown["rows"] == N
    written = units.load(made[1]).course.steps
    bill = np.cumsum([s.seconds for s in written]), np.cumsum([s.fixed for s in written])
    reached = [int(k) for k in shown["per_prefix"] if int(k)]
    seconds = sum(bill[0][int(k) - 1] * n for k, n in shown["per_prefix"].items()) + bill[1][max(reached) - 1]
    assert shown["spent_s"] == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize("kind", ["rank", *(pytest.param(k, marks=pytest.mark.slow) for k in ("geometric", "vote", "stack"))])
def test_a_blend_that_was_asked_for_is_planned_written_read_and_played(world, tmp_path, capsys, kind):
    folder = write(tmp_path / "u", world)
    plan(folder, blend=kind)
    read = units.load(folder / "plan.json")
    assert read.blend == kind
    assert any(note.startswith(f"{kind}, as asked: logloss") for note in read.course.notes)
    capsys.readouterr()
    code, shown = simulate((folder, folder / "plan.json"), capsys, "--y", str(folder / "truth.npy"), "--metric", "accuracy")
    assert code == 0
    assert shown["score"] > max(np.mean(world.oof[0].argmax(axis=1) == world.y), 0.5)
    assert shown["spent_s"] <= 2.5


def test_simulate_without_enough_seconds_tells_how_many_rows_got_nothing(made, capsys):
    code, shown = simulate(made, capsys, budget="0.9")
    assert code == 0
    assert shown["per_prefix"]["0"] > 0
    assert shown["score"] is None


BAD = {
    "rows": ({"y": np.zeros(599, np.int64)}, "y.npy", "rows do not match", "oof.npy 600 rows, y.npy 599, fold.npy 600"),
    "folds": ({"fold": np.zeros(5, np.int64)}, "fold.npy", "rows do not match", "oof.npy 600 rows, y.npy 600, fold.npy 5"),
    "predicted": ({"oof": np.full((3, 9, 3), 1 / 3)}, "oof.npy", "rows do not match", "oof.npy 9 rows, y.npy 600, fold.npy 600"),
    "families": ({"oof": np.full((2, 600, 3), 1 / 3)}, "oof.npy", "one slice per family", "2 in shape (2, 600, 3)"),
    "classes": ({"y": np.full(600, 3)}, "y.npy", "classes that the predictions do not have", "3 to 3"),
    "logits": ({"oof": np.full((3, 600, 3), 2.0)}, "oof.npy", "no probabilities", "1800 rows; row (0, 0) sums to 6"),
    "flat": ({"oof": np.zeros((3, 600))}, "oof.npy", "not the array", "float64 (3, 600)"),
    "words": ({"oof": np.array(["a"])}, "oof.npy", "not the array", "<U1 (1,)"),
    "unlabelled": ({"unlabelled": np.full((3, 2, 9, 3), 1 / 3)}, "unlabelled.npy", "does not match", "(3, 2, 9, 3)"),
    "half labels": ({"y": np.full(600, 0.5)}, "y.npy", "not an integer", "float64 (600,)"),
    "names": ({"y": np.full(600, "cat")}, "y.npy", "not an integer", "<U3 (600,)"),
    "one-hot": ({"y": np.zeros((600, 3))}, "y.npy", "not an integer", "float64 (600, 3)"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_wrong_is_named_with_its_file_and_numbers(world, tmp_path, fault):
    changed, file, what, found = BAD[fault]
    with pytest.raises(UserError, match=what) as caught:
        units.read(write(tmp_path / "u", world, **changed))
    assert (caught.value.file, caught.value.found) == (str(tmp_path / "u" / file), found)


def test_a_hole_in_one_family_is_named_but_a_hold_out_is_none(world, tmp_path):
    oof = world.oof.copy()
    oof[1, world.fold == 2] = np.nan
    assert np.isnan(units.read(write(tmp_path / "u", world, oof=oof)).evidence.oof[1]).any()
    oof[1, [4, 7]] = np.nan
    with pytest.raises(UserError, match="family m1 has no prediction") as caught:
        units.read(write(tmp_path / "u", world, oof=oof))
    assert caught.value.found == "NaN or infinity in 2 of 600 rows, the first of them row 4 (fold 1)"


def test_pickles_and_missing_files_are_refused(world, tmp_path):
    folder = write(tmp_path / "u", world)
    np.save(folder / "y.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UserError, match="no readable array") as caught:
        units.read(folder)
    assert caught.value.file == str(folder / "y.npy")
    (folder / "oof.npy").unlink()
    with pytest.raises(UserError, match="no readable array") as caught:
        units.read(folder)
    assert caught.value.found == "no such file"
    (folder / "units.json").unlink()
    with pytest.raises(UserError, match="missing file"):
        units.read(folder)


@pytest.mark.parametrize(
    "raw",
    [
        [],
        {"families": [], "folds": 5},
        {"families": [{"name": "a", "cost_s": 1}], "folds": "five"},
        {"families": [{"name": "a"}], "folds": 2},
        {"families": [{"name": "a", "cost_s": -1}], "folds": 2},
        {"families": [{"name": "a", "cost_s": "1"}], "folds": 2},
        {"families": [{"name": "a", "cost_s": 1, "shared": [1]}], "folds": 2},
        {"families": [{"name": "a", "cost_s": 1}] * 2, "folds": 2},
        {"families": [{"name": "a", "cost_s": 1}], "folds": 0},
        {"families": {"a": 1}, "folds": 2},
    ],
)
def test_a_description_that_describes_nothing_is_refused(world, tmp_path, raw):
    folder = write(tmp_path / "u", world)
    (folder / "units.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match="does not describe units"):
        units.read(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw | {"schema": 1},
        lambda raw: {key: value for key, value in raw.items() if key != "effort"},
        lambda raw: raw | {"units": raw["units"][:-1]},
        lambda raw: raw | {"effort": raw["effort"] | {"stops": [99]}},
        lambda raw: raw | {"effort": raw["effort"] | {"kind": "magic"}},
        lambda raw: raw | {"prefixes": [{**p, "weights": [2 * w for w in p["weights"]]} for p in raw["prefixes"]]},
        lambda raw: raw | {"units": [{**u, "family": "nobody"} for u in raw["units"]]},
        lambda raw: raw | {"units": [{**u, "fold": 7} for u in raw["units"]]},
        lambda raw: raw | {"blend": "magic"},
        lambda raw: raw | {"blend": "rank"},
        lambda raw: [raw],
    ],
)
def test_a_plan_that_was_spoilt_is_refused(made, tmp_path, damage):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(damage(json.loads(made[1].read_text()))))
    with pytest.raises(UserError, match="not a plan") as caught:
        units.load(path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("budget", "0", "not a budget"), ("budget", "soon", "not a budget"), ("budget", "inf", "not a budget"),
     ("budget", "0.01", "too small"), ("rows", 0, "no rows"), ("metric", "acuracy", "unknown metric"),
     ("blend", "gmean", "unknown blend")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(made, option, value, says):
    with pytest.raises(UserError, match=says):
        plan(made[0], **{option: value})


def test_a_metric_that_the_labels_cannot_tell_is_refused(world, tmp_path):
    folder = write(tmp_path / "u", world, y=np.zeros(600, np.int64))
    with pytest.raises(UserError, match="'auc' cannot be told") as caught:
        plan(folder, metric="auc")
    assert caught.value.file == str(folder / "y.npy")
    assert "1 of 3 classes" in caught.value.found


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [("test", np.zeros((3, 3, 5)), "not that of the plan"), ("test", np.full((3, 3, N, 3), np.nan), "no numbers"),
     ("truth", np.zeros(3, np.int64), "rows do not match"), ("truth", np.full(N, 9), "classes that")],
)  # fmt: skip
def test_predictions_that_do_not_fit_the_plan_are_refused(made, tmp_path, name, values, says, capsys):
    np.save(tmp_path / "x.npy", values)
    files = {"test": made[0] / "test.npy", "truth": made[0] / "truth.npy"} | {name: tmp_path / "x.npy"}
    code = run(["simulate", str(made[1]), "--predictions", str(files["test"]), "--y", str(files["truth"]), "--budget", "2"])
    assert code == 2
    assert says in capsys.readouterr().err


def test_budgets_are_durations_too(made, capsys):
    code, shown = simulate(made, capsys, budget="1min")
    assert (code, shown["budget_s"]) == (0, 60)


POINTS = tuple(Point(10.0 * 2**i, 0.5 + 0.05 * i, 0.4, 0.9) for i in range(6))


@pytest.mark.parametrize("width", [10, 40, 80, 500])
def test_a_drawing_is_as_wide_as_it_may_be_and_shows_every_point(width):
    text = curve.terminal(POINTS, 80, "accuracy", width=width, fixed_list=POINTS[:2])
    lines = text.splitlines()
    assert max(map(len, lines[:-1])) <= max(30, min(width, 160))
    assert 1 <= sum(line.count("*") for line in lines[:-1]) <= 6
    assert "budget 80 s" in lines[-1]
    assert sum("|" in line for line in lines[:-1]) >= curve.HEIGHT - 3


def test_labels_differ_however_near_the_scores_are():
    near = [Point(point.budget_s, 0.5 + i * 1e-6, 0.4, 0.9) for i, point in enumerate(POINTS)]
    labels = [line.split()[0] for line in curve.terminal(near, 80, "accuracy").splitlines() if line.startswith("0.")]
    assert len(labels) == len(set(labels)) == curve.LABELS
    assert curve.terminal(POINTS, 80, "accuracy").startswith("0.7500 "), "no more digits than it takes"


def test_one_point_and_a_bad_rival_can_be_drawn():
    assert "*" in curve.terminal(POINTS[:1], 10, "auc", fixed_list=[Point(10.0, -99.0, 0, 0)])
    assert "nothing" in curve.terminal((), 10, "auc")


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_is_written_whole_and_the_same_again(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    one, two = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (one, two):
        curve.save(path, POINTS, 80, "accuracy", fixed_list=POINTS[:3])
    assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [one.name, two.name]


def test_a_picture_of_no_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such picture"):
        curve.save(tmp_path / "a.gif", POINTS, 80, "accuracy")
