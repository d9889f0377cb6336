"""From what a run left behind to its verdict: each end has Kaggle's label, whatever is missing or broken."""

import json
from dataclasses import replace

import pytest

from builder import machines
from builder.afar import parcel, scenery, verdict
from builder.rehearse import record
from builder.remote.runs import Status

RAISED = {"stream_name": "stderr", "time": 7.5, "data": "Traceback\nValueError: broken on purpose\n"}
SAID = {"stream_name": "stdout", "time": 9.0, "data": "   12.3 s  1.50 of 4 units per sample\n"}
OWN = {
    "rows": 20,
    "samples_per_prefix": {"4": 20},
    "stages": {"prepare": 0.1, "mount": 0.2, "predict": 2.0, "finalise": 0.1},
    "clock": {"spent_s": 5.0},
    "accelerator": {"workers": 2},
    "peak_mb": {"supervisor": 100.0, "worker": 50.0},
    "units": [{"seconds_per_sample": 0.01, "decode_seconds_per_sample": 0.001, "samples": 20}],
}


@pytest.fixture
def stage(kernel, plan, tmp_path):
    """A rehearsal whose run is over; its output is what each test writes."""
    fold_of = {f"a{at:03d}": at // 2 % 2 for at in range(60)}
    sent = parcel.pack(kernel, plan, fold_of, 20, environment={})
    facts = (kernel.name, kernel.config, plan, machines.load("cpu"), kernel.folder, tmp_path / "afar", sent.hidden)
    return verdict.Stage(*facts, real=True)


def left(stage, *, told=None, own=OWN, answers=True, **more):
    """Write the output of a run that came to its end, or as far as `told` says."""
    output = stage.folder / verdict.OUTPUT
    working = output / "rerun" / "working"
    working.mkdir(parents=True)
    told = {"status": "complete", "seconds": 6.0, "built_s": 1.0, "bytes": 2_000_000} if told is None else told
    (output / scenery.FILE).write_text(json.dumps(told | more))
    (working / "run.json").write_text(json.dumps(own))
    if answers:
        truth = stage.hidden.solution.read_text().splitlines()[1:]
        rows = [",".join(row.split(",")[:2]) for row in truth]
        (working / "answers.csv").write_text("\n".join(["image_id,label", *rows]) + "\n")


def conclude(stage, state="COMPLETE", failure="", log=(SAID,)):
    return verdict.conclude(stage, Status(state, failure), list(log))


def test_a_run_to_the_end_is_scored_and_foretold(stage):
    left(stage)
    found = conclude(stage)
    assert (found.label, found.score, found.rows, found.seconds, found.disk_mb) == ("Scored", 1.0, 20, 6.0, 2.0)
    assert found.difference == pytest.approx(1.0 - found.cv, abs=1e-6)
    assert found.peak_mb == 200.0
    assert found.rows_per_prefix == {"4": 20}
    assert found.forecast["rows"] == 200
    assert 0 < found.forecast["low_s"] < found.forecast["high_s"] <= 1200
    assert found.forecast_basis == "a run of 20 rows on cpu"
    assert found.ok
    assert not found.not_enforced
    assert record.load(stage.folder) == found
    assert "20 hidden rows" in (stage.folder / "page.html").read_text()


def test_the_stand_in_is_not_taken_for_kaggle(stage):
    left(stage)
    found = conclude(replace(stage, real=False))
    assert "stand-in" in found.not_enforced[0]
    assert "stand-in" in found.forecast_basis


def test_what_takes_too_long_there_is_told_although_nobody_ended_it(stage):
    """A private run has the session's limit, not the competition's."""
    left(stage, seconds=1300.0)
    found = conclude(stage)
    assert (found.label, found.score) == ("Notebook Timeout", None)
    assert found.findings[0].code == "too-much-time"


@pytest.mark.parametrize(
    ("state", "failure", "log", "label", "code"),
    [
        ("ERROR", "", (RAISED,), "Notebook Threw Exception", "notebook-threw-exception"),
        ("ERROR", "ValueError: broken on purpose (code cell 3 of 9: run())", (RAISED,), "Notebook Threw Exception", ""),
        ("ERROR", "the notebook did not end within 1200 s", (SAID,), "Notebook Timeout", "too-much-time"),
        ("CANCEL_ACKNOWLEDGED", "Your notebook exceeded the max allowed execution duration", (SAID,), "Notebook Timeout", ""),
        ("ERROR", "the notebook used 31000 MB of memory, its machine has 30000 MB", (SAID,), "Notebook Exceeded Allowed Compute",
         "too-much-memory"),
        ("ERROR", "Your notebook tried to allocate more memory than is available", (), "Notebook Exceeded Allowed Compute", ""),
        ("ERROR", "the notebook used 21000 MB of /kaggle/working, its machine has 20000 MB", (SAID,),
         "Notebook Exceeded Allowed Compute", "too-much-working"),
        ("ERROR", "", (), "Notebook Threw Exception", ""),
        ("ERROR", "MemoryError: timed out (code cell 1 of 2: x)", ({"data": "MemoryError: timed out\n"},),
         "Notebook Threw Exception", "memory"),
    ],
)  # fmt: skip
def test_a_run_that_was_ended_has_its_label(stage, state, failure, log, label, code):
    left(stage, told={"status": "began", "built_s": 1.0}, answers=False)
    found = conclude(stage, state, failure, log)
    assert (found.label, found.score, found.forecast, found.ok) == (label, None, {}, False)
    (first,) = [one for one in found.findings if one.severity == "must-fix"]
    assert first.remedy
    assert first.code == code or not code
    assert found.evidence["run"] == "rerun"
    assert found.seconds == max(0.0, (log[-1].get("time", 0.0) if log else 0.0) - 1.0)


STRANGE = ["{", "[]", '{"status": "complete", "seconds": "many"}', '{"status": "complete", "seconds": NaN}', '{"commit": 7}']


@pytest.mark.parametrize("text", STRANGE)
def test_a_note_that_something_else_wrote_is_no_success(stage, text):
    left(stage)
    (stage.folder / verdict.OUTPUT / scenery.FILE).write_text(text)
    found = conclude(probed(stage))
    assert (found.label, found.score) == ("Notebook Threw Exception", None)


@pytest.mark.parametrize("spoil", ["no answers", "wrong rows", "no output", "broken run"])
def test_an_output_that_is_not_whole_is_no_success(stage, spoil):
    left(stage, answers=spoil != "no answers", own="{" if spoil == "broken run" else OWN)
    output = stage.folder / verdict.OUTPUT
    if spoil == "wrong rows":
        (output / "rerun" / "working" / "answers.csv").write_text("image_id,label\na000,cat\n")
    if spoil == "no output":
        (output / scenery.FILE).unlink()
    found = conclude(stage)
    label = {"no answers": "Submission CSV Not Found", "wrong rows": "Submission Format Error", "broken run": "Scored"}
    assert found.label == label.get(spoil, "Notebook Threw Exception")
    assert spoil == "broken run" or [one for one in found.findings if one.severity == "must-fix"]


def probed(stage):
    from builder.runtime.contract import Probe

    probe = Probe("v001:resnet", "v001:resnet", "probe.json", "probe.npy", 0.01)
    return replace(stage, plan=replace(stage.plan, probes=(probe,)))


def test_a_machine_that_answers_otherwise_than_home_is_told(stage):
    left(stage, commit={"seconds": 3.0, "error": "RunFailedError: this machine gives other probabilities than home"})
    found = conclude(probed(stage))
    assert (found.label, found.score) == ("Notebook Threw Exception", 1.0), "the rerun itself was scored"
    assert "other probabilities than home" in found.findings[0].message
    assert found.findings[0].remedy.endswith("kkb machine show cpu")
    assert [run.name for run in found.runs] == ["commit", "rerun"]


def test_hooks_that_look_past_the_hidden_set_are_told(stage):
    left(stage)
    (stage.kernel / "hooks.py").write_text("def rows(test_dir):\n    return read('/kaggle/input/tiny-animals/test.csv')\n")
    (found,) = conclude(stage).findings
    assert (found.code, found.severity) == ("fixed-path", "should-fix")


def test_a_session_that_fails_after_the_last_cell_has_failed(stage):
    left(stage)
    found = conclude(stage, "ERROR", "the session broke")
    assert (found.label, found.score) == ("Notebook Threw Exception", None)


def test_a_probe_that_was_cut_off_costs_the_verdict_not_the_score(stage):
    left(stage)
    found = conclude(probed(stage), "ERROR", "the notebook did not end within 1200 s")
    assert found.score == 1.0
    assert not found.ok
