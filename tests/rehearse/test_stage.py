"""A whole rehearsal, with real records, real linear models and real processes: what is played, concluded and left behind."""

import json
import shutil
from pathlib import Path

import pytest

from builder import pipeline
from builder.errors import UserError
from builder.rehearse import record
from builder.rehearse.findings import SCORED
from builder.rehearse.playing import _shift
from builder.rehearse.stage import Wanted
from builder.rehearse.variants import VARIANTS
from tests import records


@pytest.fixture
def kernel(workspace, animals):
    made = records.finished(workspace, animals)
    for step in (pipeline.plan, lambda k: pipeline.bundle(k, "me"), lambda k: pipeline.render(k, "me")):
        step(made)
    return made


def folder(kernel):
    return kernel.workspace.runs(kernel.name) / "rehearsal"


def must(found):
    return [finding for finding in found.findings if finding.severity == "must-fix"]


@pytest.mark.slow
def test_a_rehearsal_tells_all_that_a_person_needs(kernel):
    """One rerun with more rows than there are, and nothing odd; tests/test_pipeline.py has a shorter one."""
    before = {path: path.stat().st_mtime_ns for path in kernel.root.rglob("*")}
    found = pipeline.rehearse(kernel, rows=70)
    assert (found.label, found.rows, found.ok) == (SCORED, 70, True)
    assert found.difference == pytest.approx(found.score - found.cv, abs=1e-6)
    assert sum(found.rows_per_prefix.values()) == 70
    assert {"prepare", "predict"} <= set(found.stages)
    assert [run.name for run in found.runs] == ["commit", "rerun"]
    assert found.forecast["rows"] == 700
    assert found.forecast_text.startswith("20m limit: ")
    assert found.forecast_text.endswith(" at 700 rows")
    assert "never measured" in found.forecast_basis
    assert not must(found)
    assert "</html>" in Path(found.page).read_text()
    assert not (folder(kernel) / "hidden" / "competition").exists(), "hidden sets go unless --keep"
    assert {path: path.stat().st_mtime_ns for path in kernel.root.rglob("*")} == before, "the user's files stay as they are"
    assert record.load(folder(kernel)) == found
    assert json.loads((folder(kernel) / "rehearsal.json").read_text())["forecast"] == found.forecast


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (Wanted(rows=0), "--rows"),
        (Wanted(rows=10**9), "--rows"),
        (Wanted(limit_s=0.01), "--limit"),
        (Wanted(given=Path("nowhere")), "--hidden is no folder"),
        (Wanted(rows=5, given=Path()), "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(wanted, what):
    with pytest.raises(UserError, match=what) as caught:
        wanted.check()
    assert caught.value.remedy


def test_a_sample_in_another_form_is_refused_before_anything_runs(kernel):
    path = kernel.root / "sample_submission.csv"
    path.write_text(path.read_text().replace("image_id,label", "image_id,answer"))
    with pytest.raises(UserError, match="not in the form") as caught:
        pipeline.rehearse(kernel)
    assert caught.value.file == str(path)
    assert caught.value.found == "image_id, answer"
    assert not (folder(kernel) / "commit").exists()


def test_a_kept_set_is_not_replaced_while_it_is_asked_for(kernel):
    kept = folder(kernel) / "hidden"
    kept.mkdir(parents=True)
    (kept / "solution.csv").write_text("image_id,label\n")
    with pytest.raises(UserError, match="lies where the rehearsal is written"):
        pipeline.rehearse(kernel, given=kept)
    assert (kept / "solution.csv").is_file()


def test_a_shorter_limit_is_told_to_the_notebooks_clock(kernel):
    from builder.plan.stage import load

    plan = load(kernel.folder)
    assert _shift(plan, plan.limit_s) == 0
    assert _shift(plan, 2 * plan.limit_s) == 0
    reserve = plan.reserve * plan.limit_s
    left = plan.limit_s - reserve - _shift(plan, plan.limit_s / 10)
    assert left == pytest.approx((plan.limit_s - reserve) / 10)


@pytest.mark.slow
def test_the_usual_odd_sets_end_well_and_count_what_fell_back(kernel):
    found = pipeline.rehearse(kernel, rows=20, sets="usual")
    assert (found.label, found.ok) == (SCORED, True), found.findings
    runs = {run.name: run for run in found.runs}
    assert list(runs) == ["commit", "rerun", "odd/odd", "odd/one-row", "odd/no-rows"]
    assert 0 < runs["odd/odd"].fallback <= runs["odd/odd"].changed
    assert runs["odd/no-rows"].rows == runs["odd/one-row"].fallback == 0
    (note,) = [finding for finding in found.findings if finding.code == "fallback"]
    assert note.severity == "note"
    assert not list(folder(kernel).glob("odd/*/hidden"))


@pytest.mark.slow
def test_every_odd_set_ends_well(kernel):
    """The tables have columns of every kind beside the id, so that each set has something to change."""
    for name in ("train.csv", "test.csv"):
        path = kernel.root / name
        head, *rows = path.read_text().splitlines()
        lines = [f"{head},age,camera,note"]
        lines += [f"{row},{n},{'ab'[n % 2]}x,{'many words ' * 5}{n}" for n, row in enumerate(rows)]
        path.write_text("\n".join(lines) + "\n")
    found = pipeline.rehearse(kernel, rows=20, sets="all", keep=True)
    assert (found.label, found.ok) == (SCORED, True), found.findings
    assert [run.name for run in found.runs[2:]] == [f"odd/{name}" for name in VARIANTS]
    unread = {run.name for run in found.runs if run.fallback}
    assert unread == {"odd/odd", *(f"odd/{kind}-image" for kind in ("corrupt", "truncated", "empty", "missing"))}
    assert len(list(folder(kernel).glob("odd/*/hidden/competition"))) == len(VARIANTS), "--keep keeps them"


@pytest.mark.slow
def test_a_notebook_that_cannot_do_without_a_row_is_found_out(kernel):
    """It passes the visible and the hidden set, and fails on the empty one: what a person would have learnt from Kaggle."""
    hooks = "import pandas as pd\n\ndef rows(test_dir):\n    table = pd.read_csv(test_dir / 'test.csv', dtype=str)\n"
    (kernel.folder / "hooks.py").write_text(hooks + "    table['first'] = table['image_id'].iloc[0]\n    return table\n")
    pipeline.render(kernel, "me")
    found = pipeline.rehearse(kernel, rows=20, sets="usual")
    assert (found.label, found.ok) == ("Notebook Threw Exception", False)
    assert found.score is not None, "the score of the hidden set stays true"
    (finding,) = must(found)
    assert "hidden set 'no-rows'" in finding.message
    assert found.evidence["run"] == "odd/no-rows"
    assert any("IndexError" in line or "out-of-bounds" in line or "out of bounds" in line for line in found.evidence["log"])
    assert found.evidence["source"]


@pytest.mark.slow
def test_a_given_hidden_set_is_scored_with_its_own_solution(kernel, tmp_path):
    kept = pipeline.rehearse(kernel, rows=30, keep=True)
    mine = tmp_path / "mine"
    shutil.copytree(folder(kernel) / "hidden", mine)
    found = pipeline.rehearse(kernel, given=mine)
    assert (found.rows, found.score) == (30, kept.score)
    (mine / "solution.csv").unlink()
    unknown = pipeline.rehearse(kernel, given=mine)
    assert (unknown.label, unknown.score, unknown.difference) == (SCORED, None, None)


@pytest.mark.slow
def test_a_limit_that_is_too_short_is_kept_and_the_notebook_told(kernel):
    """With a tenth of the time the notebook stops by itself, within it: that is not a timeout."""
    found = pipeline.rehearse(kernel, rows=20, limit_s=100.0)
    assert found.ok, found.findings
    run = json.loads((folder(kernel) / "rerun" / "working" / "run.json").read_text())
    assert run["clock"]["left_s"] + run["clock"]["reserve_s"] < 1200
    assert run["clock"]["spent_s"] > 1000
