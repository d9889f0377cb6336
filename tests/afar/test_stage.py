"""A rehearsal as a private kernel, with the real client, the real stand-in, and real processes there."""

import json
import os
import time

import pytest

from builder import pipeline
from builder.afar import stage
from builder.errors import UserError
from builder.remote import kernels
from builder.remote.client import Client
from builder.standin import control
from tests.standin.conftest import notebook

from .conftest import OWNER, host

pytestmark = pytest.mark.slow


@pytest.fixture
def client(tmp_path, animals):
    """A door to a stand-in that has the tiny competition; the hidden set of its host plays no part here."""
    home = tmp_path / "standin"
    host(home, animals, tmp_path / "hosted")
    try:
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], **control.environment(home)}
        with Client(environment, timeout_s=60, sleep=lambda seconds: time.sleep(min(seconds, 0.3))) as opened:
            yield opened
    finally:
        control.down(home)


def test_a_rehearsal_over_there_says_what_one_here_says(kernel, client):
    found = stage.rehearse(kernel, client, rows=50)
    told = found.verdict
    assert (found.kernel, found.version, found.state) == ("local/animals-rehearsal", 1, "COMPLETE")
    assert told.label == "Scored", told.findings
    here = pipeline.rehearse(kernel, rows=50)
    assert (told.score, told.rows, told.rows_per_prefix) == (here.score, 50, here.rows_per_prefix)
    assert told.forecast["rows"] == 500
    assert "stand-in" in told.not_enforced[0]
    output = kernel.workspace.runs("animals") / "afar" / "output"
    assert json.loads((output / "rerun" / "working" / "run.json").read_text())["rerun"] is True
    assert not list(output.rglob("submission.csv")), "nothing that a competition would take"
    again = stage.rehearse(kernel, client, rows=50)
    assert (again.version, again.verdict.score) == (1, told.score), "the same rehearsal is not run twice unasked"
    assert "--again" in kernel.notes[-1]
    assert stage.rehearse(kernel, client, rows=50, again=True).version == 2


def test_one_can_leave_and_come_back(kernel, client):
    left = stage.rehearse(kernel, client, rows=20, wait=False)
    assert left.verdict is None
    assert left.state in {"QUEUED", "RUNNING"}
    assert left.record()["kernel_version"] == 1
    elsewhere = pipeline.Kernel(kernel.workspace, kernel.name)
    back = stage.rehearse(elsewhere, client, rows=20)
    assert (back.version, back.verdict.label) == (1, "Scored")
    assert stage.rehearse(elsewhere, client, rows=20, wait=False).verdict == back.verdict, "what is over needs no waiting"


def test_a_notebook_that_fails_there_has_its_label_and_the_reason(kernel, client):
    (kernel.folder / "hooks.py").write_text("def rows(test_dir):\n    raise ValueError('broken on purpose')\n")
    pipeline.render(kernel, OWNER)
    found = stage.rehearse(kernel, client, rows=20)
    assert (found.state, found.verdict.label) == ("ERROR", "Notebook Threw Exception")
    (first,) = [one for one in found.verdict.findings if one.severity == "must-fix"]
    assert "broken on purpose" in first.message
    assert found.verdict.forecast == {}


def test_a_kernel_of_another_purpose_is_left_alone(kernel, client):
    folder = kernel.workspace.private / "other"
    folder.mkdir(parents=True)
    (folder / "notebook.ipynb").write_text(notebook("1"))
    metadata = {"id": "local/animals-rehearsal", "title": "animals-rehearsal", "code_file": "notebook.ipynb"}
    metadata |= {"language": "python", "kernel_type": "notebook", "enable_internet": False}
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata))
    kernels.push(client, folder)
    with pytest.raises(UserError, match="no rehearsal"):
        stage.rehearse(kernel, client, rows=20)
    assert kernels.latest(client, "local/animals-rehearsal").version == 1


def test_its_prices_are_kept(copied, client, animals):
    """The probe after the rerun measures that machine, as a commit run does."""
    pytest.importorskip("torch")
    workspace, config, _ = copied
    kernel = pipeline.Kernel(workspace, "animals")
    kernel.config = config
    pipeline.export(kernel)
    pipeline.plan(kernel)
    pipeline.bundle(kernel, OWNER)
    pipeline.render(kernel, OWNER)
    found = stage.rehearse(kernel, client, rows=30)
    assert found.verdict.label == "Scored", found.verdict.findings
    assert [run.name for run in found.verdict.runs] == ["commit", "rerun"]
    assert found.verdict.runs[0].rows > 0
    assert any("prices of standin are stored" in note for note in kernel.notes)
