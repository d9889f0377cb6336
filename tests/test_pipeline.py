"""The road at home, with real records and real (linear) models: each stage once, skipped when nothing changed, and each missing
step named by the command that makes it."""

import json
import shutil

import pytest

from builder import delivery, pipeline
from builder.errors import GateError, RunError, UserError
from builder.ledger.store import Ledger
from builder.rehearse import stage as rehearsing
from builder.workspace import write_json

from . import records

OWNER = "me"
STAGES = {
    "export": pipeline.current_exports,
    "plan": pipeline.plan,
    "bundle": lambda kernel: pipeline.bundle(kernel, OWNER),
    "render": lambda kernel: pipeline.render(kernel, OWNER),
}


@pytest.fixture
def kernel(workspace, animals):
    return records.finished(workspace, animals)


def prepared(kernel):
    for stage in ("plan", "bundle", "render"):
        STAGES[stage](kernel)
    return kernel


def test_a_second_time_every_stage_is_up_to_date_and_nothing_is_written(kernel):
    prepared(kernel)
    assert kernel.fresh == {"plan": True, "bundle": True, "render": True}
    folders = (kernel.folder, kernel.workspace.datasets)
    before = {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}
    again = prepared(pipeline.Kernel(kernel.workspace, kernel.name))
    assert again.fresh == {"plan": False, "bundle": False, "render": False}
    assert {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")} == before


def test_the_ledger_notes_what_was_run_and_not_what_was_skipped(kernel):
    prepared(kernel)
    prepared(pipeline.Kernel(kernel.workspace, kernel.name))
    with Ledger(kernel.workspace.ledger) as ledger:
        rows = ledger.runs("animals")
    assert [row["stage"] for row in rows] == ["render", "bundle", "plan"]
    assert all(row["digest"] and row["seconds"] >= 0 and json.loads(row["record"]) for row in rows)


def without(*paths):
    def spoil(kernel):
        for path in paths:
            for found in kernel.workspace.root.glob(path):
                shutil.rmtree(found) if found.is_dir() else found.unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "stage", "remedy"),
    [
        (without("weights/animals/v001"), "export", "kkb train animals"),
        (without("weights/animals/v001/exports"), "plan", "kkb export animals"),
        (without("kernels/animals/plan.json"), "bundle", "kkb plan animals"),
        (without("kernels/animals/plan.json"), "render", "kkb plan animals"),
    ],
    ids=["train", "export", "plan before bundle", "plan before render"],
)
def test_a_step_that_is_missing_is_named_by_its_command(kernel, spoil, stage, remedy):
    prepared(kernel)
    spoil(kernel)
    with pytest.raises(UserError) as caught:
        STAGES[stage](kernel)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("spoil", "remedy"),
    [
        (without("kernels/animals/notebook.ipynb"), "kkb render animals"),
        (without(".kkb/datasets/*"), "kkb bundle animals"),
    ],
    ids=["render", "bundle"],
)
def test_a_rehearsal_names_the_step_that_is_missing(kernel, spoil, remedy):
    prepared(kernel)
    spoil(kernel)
    with pytest.raises(UserError) as caught:
        pipeline.rehearse(kernel)
    assert caught.value.remedy == remedy


def test_a_stage_that_was_not_asked_for_is_not_done(kernel):
    """`kkb plan` does not export, `kkb render` does not plan: what a person did not type does not happen."""
    pipeline.plan(kernel)
    assert not (kernel.folder / "notebook.ipynb").exists()
    assert not kernel.workspace.datasets.exists()


def test_a_changed_setting_makes_stale_what_depends_on_it_and_no_more(kernel):
    prepared(kernel)
    path = kernel.folder / "kernel.toml"
    path.write_text(path.read_text().replace('limit = "20min"', 'limit = "30min"'))
    again = prepared(pipeline.Kernel(kernel.workspace, kernel.name))
    assert again.fresh == {"plan": True, "bundle": False, "render": True}


def test_check_refuses_what_is_stale_and_writes_nothing(kernel):
    prepared(kernel)
    pipeline.render(kernel, OWNER, check=True)
    path = kernel.folder / "plan.json"
    raw = json.loads(path.read_text())
    write_json(path, raw | {"limit_s": 60.0})
    before = (kernel.folder / "notebook.ipynb").read_bytes()
    with pytest.raises(GateError, match=r"notebook\.ipynb"):
        pipeline.render(kernel, OWNER, check=True)
    assert (kernel.folder / "notebook.ipynb").read_bytes() == before


def test_open_keys_are_filled_from_the_files_and_written_ones_stay(kernel, animals):
    path = kernel.folder / "kernel.toml"
    text = path.read_text()
    path.write_text(text.replace('id = "image_id"\n', "").replace('target = "label"\n', ""))
    found = kernel.config
    assert (found.data.id, found.data.target) == ("image_id", "label")
    assert found.data.image == "train_images/{image_id}.png"


def shown(kernel, session):
    """The formats of each value that the executed notebook of a rehearsal's session displays."""
    notebook = json.loads((kernel.workspace.runs("animals") / "rehearsal" / session / "executed.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [set(output["data"]) for output in outputs if "data" in output]


def test_a_rehearsal_is_honest_scored_and_not_repeated(kernel):
    """The rendered notebook, twice in the sandbox: on the visible rows, then on training rows, each by the other fold's model."""
    prepared(kernel)
    found = pipeline.rehearse(kernel)
    assert found.label == "Scored", found.findings
    assert found.score >= 0.9
    assert found.rows == 60
    assert found.seconds > 0
    assert found.peak_mb > 0
    assert set(found.forecast) == {"rows", "low_s", "high_s"}
    assert 0 <= found.forecast["low_s"] < found.forecast["high_s"]
    assert "no network" in " ".join([*found.enforced, *found.not_enforced])
    submission = kernel.workspace.runs("animals") / "rehearsal" / "rerun" / "working" / "submission.csv"
    assert len(submission.read_text().splitlines()) == 61
    assert shown(kernel, "commit") == [{"image/png", "text/plain"}, {"text/html", "text/plain"}], "the picture and the table"
    assert shown(kernel, "rerun") == [], "nobody sees a rerun, and its seconds are the samples'"
    assert pipeline.rehearse(kernel, again=False) == found
    assert kernel.fresh["rehearse"] is False
    assert rehearsing.load(kernel.workspace.runs("animals") / "rehearsal") == found


@pytest.mark.slow
def test_a_kernel_that_fails_is_not_called_scored(kernel):
    (kernel.folder / "hooks.py").write_text("def rows(test_dir):\n    raise ValueError('broken on purpose')\n")
    prepared(kernel)
    found = pipeline.rehearse(kernel, rows=20)
    assert found.label != "Scored"
    assert found.score is None
    (first,) = [finding for finding in found.findings if finding.severity == "must-fix"]
    assert first.remedy
    assert "broken on purpose" in rehearsing.log_tail(kernel.workspace.runs("animals") / "rehearsal", 60)
    assert not (kernel.workspace.runs("animals") / "rehearsal" / "key.json").exists(), "a failure is rehearsed again"


def test_a_submission_without_a_score_is_a_failed_run():
    from builder.remote.submissions import Scored

    scored = Scored(7, "ERROR", None, None, "Notebook Timeout", "said", "submission.csv", None)
    with pytest.raises(RunError, match="submission 7 failed") as caught:
        delivery.refuse_unscored(scored)
    assert caught.value.exit_code == 5
    assert caught.value.found == "Notebook Timeout"
    assert "rehearse" in caught.value.remedy


def test_the_plan_is_of_the_version_that_kernel_toml_describes_not_of_the_newest(copied):
    """Going back to an older recipe goes back to its version."""
    from dataclasses import replace

    workspace, config, version = copied
    newer = replace(version, version="v002", digest="0" * 64, folder=version.folder.with_name("v002"))
    newer.folder.mkdir()
    newer.write()
    kernel = pipeline.Kernel(workspace, "animals")
    kernel.config = config
    assert kernel.described() == version.version


def test_a_clone_without_blobs_makes_them_again(kernel):
    exports = pipeline.current_exports(kernel)
    (export,) = exports.values()
    assert export.is_whole
    next(export.folder.glob("*.onnx")).unlink()
    assert not export.is_whole
    assert pipeline.current_exports(kernel) == exports
