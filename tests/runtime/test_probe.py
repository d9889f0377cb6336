"""The probe of a commit run: what differs from home ends there, what cannot be compared is said, a rerun knows nothing of it."""

import io
import signal
import textwrap
from dataclasses import asdict

import kkb_runtime
import numpy as np
import pytest
from kkb_runtime.clock import Clock
from kkb_runtime.contract import Plan
from kkb_runtime.costs import Spent
from kkb_runtime.engine import Engine, Patience
from kkb_runtime.probe import ProbeOrder
from kkb_runtime.probe_rows import Rows
from PIL import Image

from . import tiny_onnx
from .simulated import Machine, units
from .tree import SIDE, Probes, Tree

UNITS = [(0, 0, "identity"), (0, 1, "identity"), (0, 0, "hflip"), (1, 0, "identity")]
PRICED = {
    "member", "fold", "view", "file", "backend", "batch", "accelerator", "seconds_per_sample", "p99_s", "load_s", "first_batch_s",
    "peak_mb",
}  # fmt: skip


def run(tree, **arguments):
    return kkb_runtime.run(tree.plan, tree.datasets, **arguments).run


def fails(tree, match, **arguments):
    with pytest.raises(RuntimeError, match=match):
        kkb_runtime.run(tree.plan, tree.datasets, **arguments)
    assert not tree.submission.exists()
    assert tree.record()["status"] == "failed"
    return tree.record()


def hooks(tree, source):
    path = tree.root / "hooks.py"
    path.write_text(textwrap.dedent(source))
    return str(path)


LOAD = """
    import os, signal
    import numpy as np
    from PIL import Image

    def load(row, mounts):
        name = row["image_id"]
        folder = "train_images" if name.startswith("t") else "test_images"
        {}
        return {{"image": np.asarray(Image.open(mounts.competition / folder / f"{{name}}.png"))[None]}}
"""


def test_each_unit_agrees_with_home_on_the_rows_of_its_fold_and_is_priced(kaggle):
    tree = Tree(kaggle, samples=5, units=UNITS)
    Probes(tree, rows=12)
    record = run(tree)
    named = [(f"v001:m{member}", fold, view) for member, fold, view in UNITS]
    assert [(p["member"], p["fold"], p["view"]) for p in record["probes"]] == named
    assert [p["rows"] for p in record["probes"]] == [6, 6, 6, 12]
    assert all(p["ok"] and p["max_abs_diff"] < 1e-6 and p["limit"] == 1e-4 for p in record["probes"])
    assert [(p["member"], p["fold"], p["view"]) for p in record["prices"]] == named
    for price in record["prices"]:
        assert set(price) == PRICED
        assert (price["accelerator"], price["backend"], price["batch"]) == ("cpu", "onnxruntime", 4)
        assert 0 < price["seconds_per_sample"] <= price["p99_s"]
        assert min(price["load_s"], price["first_batch_s"], price["peak_mb"]) > 0
    assert record["decode"] == {"4x4-squash-bilinear-pil-rgb": pytest.approx(0.01, abs=0.01)}
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["processor"]
    assert set(record["machine"]["image"]) == {"git_commit", "build_date"}
    assert record["status"] == "complete"
    assert sorted(path.name for path in tree.submission.parent.iterdir()) == ["run.json", "submission.csv"]


def test_a_wrong_normalisation_is_caught_before_anything_is_submitted(kaggle):
    tree = Tree(kaggle, samples=5, units=UNITS)
    probes = Probes(tree)
    probes.write(0, images=probes.images.astype(np.float32) - 123.7)  # home subtracted a mean that the graph here does not
    record = fails(
        tree, r"for 3 of 4 units \(v001:m0 fold 0 identity, .*wrong normalisation or colour order.*Nothing was submitted"
    )
    assert [entry["ok"] for entry in record["probes"]] == [False, False, False, True]
    assert len(record["prices"]) == 4
    assert record["samples_per_prefix"] == {"0": 5}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["bgr", "other size", "one weight"])
def test_other_preprocessing_and_other_weights_are_caught(kaggle, fault):
    tree = Tree(kaggle, samples=3, units=[(0, 0, "identity")])
    probes = Probes(tree)
    if fault == "bgr":
        tree.plan["units"][0]["input"]["color"] = "bgr"
    elif fault == "other size":
        for path in (tree.competition / "train_images").iterdir():
            path.write_bytes(bigger(path))
        tree.plan["units"][0]["input"]["resize"] = "crop"
    else:
        weights, bias = tree.models[0, 0]
        bias = bias * np.float32(1.01)
        (tree.weights / "m0-f0.onnx").write_bytes(tiny_onnx.classifier(weights, bias, (SIDE, SIDE)))
    assert probes.limit == 1e-4
    fails(tree, "for 1 of 1 units")


def bigger(path):
    """The image, twice as wide: to be squashed at home, and cropped here."""
    image = Image.open(path)
    out = io.BytesIO()
    image.resize((image.width * 2, image.height), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(("by", "passes"), [(0.0099, True), (0.0101, False)])
def test_the_probe_fails_if_and_only_if_a_difference_is_above_the_limit(kaggle, by, passes):
    tree = Tree(kaggle, samples=2, units=[(0, 0, "identity")])
    probes = Probes(tree, rows=6, limit=0.01)

    def change(values):
        values[0, 4, 1] += by
        return values

    probes.write(0, change=change)
    if passes:
        assert run(tree)["probes"][0]["max_abs_diff"] == pytest.approx(by, abs=1e-5)
    else:
        assert fails(tree, "differs by 0.0101 on 6 training rows, at most 0.01")["probes"][0]["ok"] is False


@pytest.mark.parametrize(
    ("value", "is_rerun"),
    [("1", True), *(pytest.param(value, True, marks=pytest.mark.slow) for value in ("true", "True", "yes"))]
    + [pytest.param(value, False, marks=pytest.mark.slow) for value in ("", "0", "False")],
)
def test_a_rerun_never_probes(kaggle, monkeypatch, value, is_rerun):
    tree = Tree(kaggle, samples=3, units=UNITS[:1])
    probes = Probes(tree)
    probes.write(0, images=255 - probes.images)
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", value)
    if not is_rerun:
        fails(tree, "for 1 of 1 units")
        return
    record = run(tree)
    assert (record["rerun"], record["status"], record["samples_per_prefix"]) == (True, "complete", {"1": 3})
    assert (record["probes"], record["prices"], record["decode"], record["machine"]) == ([], [], {}, {})
    assert "probe" not in record["stages"], "time went by"


@pytest.mark.slow
def test_the_probe_can_be_switched_off(kaggle):
    tree = Tree(kaggle, samples=2, units=UNITS[:1])
    probes = Probes(tree)
    probes.write(0, images=255 - probes.images)
    record = run(tree, settings={"probe": False})
    assert (record["status"], record["probes"], record["rerun"]) == ("complete", [], False)


@pytest.mark.slow
def test_without_test_rows_the_probe_still_runs(kaggle):
    tree = Tree(kaggle, samples=0, units=UNITS[:1])
    probes = Probes(tree)
    assert len(run(tree)["probes"]) == 1
    probes.write(0, images=255 - probes.images)
    fails(tree, "for 1 of 1 units")


@pytest.mark.slow
@pytest.mark.parametrize("gone", [3, 12])
def test_training_images_that_are_not_mounted_are_a_note(kaggle, gone):
    tree = Tree(kaggle, samples=2, units=UNITS)
    probes = Probes(tree)
    for name in probes.ids[:gone]:
        (tree.competition / "train_images" / f"{name}.png").unlink()
    record = run(tree)
    assert [entry["rows"] for entry in record["probes"]] == ([4, 5, 4, 9] if gone == 3 else [])
    assert any(
        f"{gone} of 12 rows are left out, their images are not mounted; first: train_images/t000" in n for n in record["notes"]
    )
    assert record["status"] == "complete"


@pytest.mark.slow
def test_training_images_that_cannot_be_read_are_counted(kaggle):
    tree = Tree(kaggle, samples=2, units=UNITS[:1])
    Probes(tree)
    (tree.competition / "train_images" / "t002.png").write_bytes(b"not an image")
    record = run(tree)
    assert record["probes"][0]["rows"] == 11
    assert record["probes"][0]["ok"]
    assert any("1 of 12 rows could not be read; first: unit 1: " in note and "t002.png" in note for note in record["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["schema", "shape", "no json", "not listed"])
def test_a_probe_that_cannot_be_read_is_a_note(kaggle, fault):
    tree = Tree(kaggle, samples=2, units=UNITS)
    probes = Probes(tree)
    table = tree.weights / "probe-m0.json"
    if fault == "schema":
        probes.write(0, schema=2)
    elif fault == "shape":
        probes.write(0, change=lambda values: values[:, :-1])
    elif fault == "no json":
        table.write_text("[")
    datasets = tree.datasets
    if fault == "not listed":
        del datasets[0]["files"]["probe-m0.json"]
    record = kkb_runtime.run(tree.plan, datasets).run
    assert [entry["member"] for entry in record["probes"]] == ["v001:m1"]
    assert any("the probe of v001:m0 cannot be read, it is left out: " in note for note in record["notes"])
    assert any("there are no rows for unit 1, 2, 3" in note for note in record["notes"])


@pytest.mark.slow
def test_a_model_whose_answers_are_no_numbers_is_caught(kaggle):
    tree = Tree(kaggle, samples=2, units=UNITS)
    Probes(tree)
    weights, bias = tree.models[1, 0]
    (tree.weights / "m1-f0.onnx").write_bytes(tiny_onnx.classifier(weights, bias * np.nan, (SIDE, SIDE)))
    record = fails(tree, r"for 1 of 4 units \(v001:m1 fold 0 identity\).*differs by 1 on 12")
    assert record["probes"][3]["max_abs_diff"] == 1.0


def test_a_slow_backend_is_told_and_fails_nothing(kaggle, capsys):
    tree = Tree(kaggle, samples=2, units=UNITS[:2], seconds=0.001)
    Probes(tree)
    slow = """
        import time
        import kkb_runtime.backends as backends

        fast = backends.Backend.run

        def run(self, *given):
            time.sleep(0.02)
            return fast(self, *given)

        backends.Backend.run = run
    """
    record = run(tree, hooks=hooks(tree, slow))
    told = [note for note in record["notes"] if "the planned time: slow backend, or another machine" in note]
    assert len(told) == 1
    assert told[0].startswith("units 1, 2 take ")
    assert told[0] in capsys.readouterr().out
    assert all(price["seconds_per_sample"] > 0.004 for price in record["prices"])
    assert (record["status"], [entry["ok"] for entry in record["probes"]]) == ("complete", [True, True])


@pytest.mark.slow
def test_rows_go_through_the_hooks_like_any_sample(kaggle):
    tree = Tree(kaggle, samples=2, units=[UNITS[0], UNITS[3]])
    Probes(tree)
    record = run(tree, hooks=hooks(tree, LOAD.format("assert 'label' in row or folder == 'test_images'")))
    assert [entry["rows"] for entry in record["probes"]] == [12, 12]
    wrong = hooks(tree, LOAD.format("") + "    def merge(probs):\n        return probs[0][::-1]\n")
    fails(tree, "for 2 of 2 units", hooks=wrong)


@pytest.mark.slow
def test_a_probe_whose_workers_die_costs_the_run_nothing(kaggle):
    tree = Tree(kaggle, samples=4, units=UNITS[:2])
    Probes(tree)
    deadly = LOAD.format(f"folder == 'train_images' and os.kill(os.getpid(), {int(signal.SIGKILL)})")
    record = run(tree, hooks=hooks(tree, deadly))
    assert (record["status"], record["samples_per_prefix"], record["probes"]) == ("complete", {"2": 4}, [])
    assert any(note.startswith("probe: ") and "died" in note for note in record["notes"])


@pytest.mark.slow
def test_a_bug_in_the_probe_costs_the_run_nothing(kaggle, monkeypatch):
    tree = Tree(kaggle, samples=3, units=UNITS[:1])
    Probes(tree)
    monkeypatch.setattr(kkb_runtime.probe.machine, "describe", lambda: 1 / 0)
    record = run(tree)
    assert (record["status"], record["samples_per_prefix"]) == ("complete", {"1": 3})
    assert "the probe stopped early: ZeroDivisionError: division by zero" in record["notes"]


def rows_of(made, count):
    """Rows of one member for each of the units' members, `count` each, on one fold."""
    spans = {(unit.member, unit.fold): (count * at, count * (at + 1)) for at, unit in enumerate(made)}

    class Table:
        views = ("identity",)

    return Rows(({},) * (count * len(made)), (), spans, dict.fromkeys((unit.member for unit in made), Table), {}, ())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 60))])
def test_on_any_machine_a_probe_keeps_to_its_share_and_accounts_for_every_row(seed):
    dice = np.random.default_rng(seed)
    seconds = dice.choice([0.001, 0.01, 0.2], size=5).tolist()
    made = units(*seconds, batch=int(dice.choice([4, 32])))
    order = ProbeOrder(made, rows_of(made, 50))
    faults = {"kill": float(dice.choice([0, 0.1])), "fail": float(dice.choice([0, 0.2])), "stall": float(dice.choice([0, 0.05]))}
    tree_plan = Plan.from_json({**PLAN, "units": [asdict(unit) for unit in made], "prefixes": uniform(5)})
    machine = Machine(seed, 2, tree_plan, 250, speed=float(dice.choice([0.3, 1, 5])), **faults)
    clock = Clock.begin(20.0, 0.0, now=machine.now)
    engine = Engine(tree_plan, 250, order, machine, clock, machine.fetch, Patience(10.0, 5.0, 5.0, 1.0), warm=True)
    engine.run(lambda: None)
    assert clock.spent() <= 20.02
    done = sorted(order.done, key=lambda task: (task.unit, task.chunk))
    assert len(set(done)) == len(done)
    given_up = sum(int(note.split(" was not probed on ")[1].split()[0]) for note in order.notes)
    assert sum(t.size for t in done) + sum(t.size for t in order.waiting) + given_up + sum(t.size for t in order._running) == 250


PLAN = {
    "schema": 1, "kernel": "k", "task": "t", "metric": "m", "accelerator": "cpu", "limit_s": 200.0, "reserve": 0.05,
    "source": {"competition": "c", "test": "t", "sample_submission": "", "pattern": ""},
    "answer": {"file": "s", "id": "id", "form": "columns", "columns": ["a", "b", "c"], "classes": ["a", "b", "c"]},
    "prior": [0.5, 0.25, 0.25],
}  # fmt: skip


def uniform(count):
    return [{"weights": [1 / k] * k} for k in range(1, count + 1)]


def test_units_are_probed_in_the_plans_order_while_they_fit_and_the_rest_is_named():
    made = units(0.01, 10.0, 0.01)
    order = ProbeOrder(made, rows_of(made, 10))
    first = [order.next(20.0), order.next(20.0)]
    assert [task.rows.tolist() for task in first] == [list(range(8)), [8, 9]]
    assert order.next(20.0) is None, "unit 2 does not fit, and unit 3 does not overtake it"
    for task in first:
        order.finished(task, Spent(0.0, 0.0, 0.01), kept=False)
    assert not order.over
    assert {task.unit for task in order.waiting} == {1, 2}


def test_probes_travel_in_the_plan_and_only_for_members_that_have_units():
    raw = {**PLAN, "units": [asdict(unit) for unit in units(0.1)], "prefixes": uniform(1)}
    assert Plan.from_json(raw).probes == ()
    probe = {"member": "m0", "dataset": "d", "table": "t.json", "values": "v.npy", "max_abs_diff": 1e-4}
    plan = Plan.from_json({**raw, "probes": [probe]})
    assert plan.probes[0].table == "t.json"
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(ValueError, match="probes of m9, which has no unit"):
        Plan.from_json({**raw, "probes": [{**probe, "member": "m9"}]})
    for odd in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=r"the probe of m0 allows a difference of|max_abs_diff: found nan"):
            Plan.from_json({**raw, "probes": [{**probe, "max_abs_diff": odd}]})
    with pytest.raises(ValueError, match="max_fallback"):
        Plan.from_json({**raw, "max_fallback": 2})
    with pytest.raises(ValueError, match=r"probe.*unknown key.*'x'"):
        Plan.from_json({**raw, "probes": [{**probe, "x": 1}]})
