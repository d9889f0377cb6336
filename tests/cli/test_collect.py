"""kkb collect: what was launched comes home, once; what nobody launched is told."""

import json
import time

import pytest

from builder import cli
from builder.ledger.store import Ledger
from builder.standin import control
from builder.workspace import Workspace
from tests import competitions, records
from tests.standin.conftest import COMPETITION, KERNELS, Stand, notebook, write_competition

DIGEST = {name: digit * 64 for name, digit in (("healthy", "a"), ("failing", "b"), ("orphan", "c"), ("sleepy", "d"))}
SUBMIT = "open('submission.csv', 'w').write('id,label\\n')"


def run(capsys, *typed):
    """(exit code, JSON object, stderr)."""
    capsys.readouterr()
    code = cli.run([*typed, "--json"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, json.loads(out), err


@pytest.fixture
def stand(workspace, tmp_path):
    """A stand-in in the workspace's own place, with a tiny competition."""
    home = workspace.standin
    control.configure(home, processing_s=0.1)
    data, hidden = write_competition(tmp_path / "competition")
    control.add_competition(home, COMPETITION, data=data, hidden=hidden, metric="accuracy", limit_s=120, kind="any")
    control.up(home)
    try:
        yield Stand(home, tmp_path)
    finally:
        control.down(home)


def launch(stand, workspace, name, source, *, remembered=True, **more):
    """Save a kernel that carries its digest, as a push without waiting does, and write it into the ledger."""
    text = f"# kkb digest `{DIGEST[name]}`\n{source}"
    answer = stand.call(
        KERNELS, "SaveKernel", slug=f"local/the-{name}", newTitle=f"the {name}", text=notebook(text), language="python",
        kernelType="notebook", isPrivate=True, competitionDataSources=[COMPETITION],
        **more,
    )  # fmt: skip
    assert not answer.get("error"), answer
    if remembered:
        with Ledger(workspace.ledger) as ledger:
            ledger.add_push("localhost", f"local/the-{name}", 1, DIGEST[name], [], 0.9)


def test_what_is_over_comes_home_once_and_orphans_are_told(stand, workspace, capsys):
    """Versions that were saved and not run are over at once, and not complete."""
    launch(stand, workspace, "healthy", SUBMIT, kernelExecutionType="QUICK_SAVE")
    launch(stand, workspace, "orphan", SUBMIT, remembered=False, kernelExecutionType="QUICK_SAVE")
    code, told, _ = run(capsys, "collect", "--standin")
    assert code == 5
    assert [(one["kernel"], one["state"], one["fresh"]) for one in told["runs"]] == [("local/the-healthy", "NEW_SCRIPT", True)]
    assert [(one["kernel"], one["digest"]) for one in told["orphans"]] == [("local/the-orphan", DIGEST["orphan"])]
    code, again, _ = run(capsys, "collect", "--standin")
    assert code == 0, "what was told is no news"
    assert [one["fresh"] for one in again["runs"]] == [False]
    assert again["orphans"] == told["orphans"]


@pytest.mark.slow
def test_runs_of_every_end_come_home_once_and_orphans_are_told(stand, workspace, capsys):
    launch(stand, workspace, "healthy", SUBMIT)
    launch(stand, workspace, "failing", "import nothing_of_that_name")
    launch(stand, workspace, "orphan", SUBMIT, remembered=False)
    stand.finished()
    code, told, err = run(capsys, "collect", "--standin")
    assert code == 5
    states = {one["kernel"]: one["state"] for one in told["runs"]}
    assert states == {"local/the-healthy": "COMPLETE", "local/the-failing": "ERROR"}
    assert "a package is not in the image: nothing_of_that_name" in err
    assert [(one["kernel"], one["digest"]) for one in told["orphans"]] == [("local/the-orphan", DIGEST["orphan"])]
    home = workspace.runs("the-healthy") / "v1"
    assert (home / "submission.csv").read_text() == "id,label\n"
    assert json.loads((home / "kkb.json").read_text())["digest"] == DIGEST["healthy"]
    assert json.loads((home / "the-healthy.log").read_text()) is not None
    # Again: nothing is fetched, and the failure, which was told, is no news.
    (home / "submission.csv").write_text("mine")
    code, again, _ = run(capsys, "collect", "--standin", "--no-orphans")
    assert code == 0
    assert [one["fresh"] for one in again["runs"]] == [False, False]
    assert {one["state"] for one in again["runs"]} == {"COMPLETE", "ERROR"}
    assert (home / "submission.csv").read_text() == "mine"
    assert again["orphans"] == []


@pytest.mark.slow
def test_a_run_that_goes_on_is_left_alone(stand, workspace, capsys):
    launch(stand, workspace, "sleepy", "import time; time.sleep(60)")
    stand.until(lambda: stand.status("the-sleepy").get("status") == "RUNNING")
    code, told, _ = run(capsys, "collect", "--standin")
    assert code == 0
    assert [(one["state"], one["folder"], one["fresh"]) for one in told["runs"]] == [("RUNNING", "", False)]


@pytest.mark.slow
def test_a_version_that_is_gone_is_no_error(stand, workspace, capsys):
    with Ledger(workspace.ledger) as ledger:
        ledger.add_push("localhost", "local/never-there", 3, "e" * 64, [], None)
    code, told, _ = run(capsys, "collect", "--standin")
    assert code == 0
    assert [one["state"] for one in told["runs"]] == ["GONE"]


def test_without_a_server_it_says_how_to_get_one(workspace, capsys):
    code, told, _ = run(capsys, "collect", "--standin")
    assert code == 2
    assert told["remedy"] == "kkb standin up"


def test_an_unknown_kernel_is_2(workspace, capsys):
    code, told, _ = run(capsys, "collect", "nothing", "--standin")
    assert code == 2
    assert "kkb new nothing" in told["remedy"]


@pytest.mark.slow
def test_a_push_that_does_not_wait_is_collected_by_another_machine(workspace, tmp_path, capsys):
    """push --no-wait here; a fresh checkout, which has no ledger, finds the run by the digest of the committed notebook."""
    pytest.importorskip("onnxruntime")
    root = competitions.write(tmp_path / "animals")
    hidden = competitions.write(tmp_path / "hidden", visible=8)
    competitions.table(
        hidden / "solution.csv",
        ["image_id", "label", "Usage"],
        [(f"t{n:03d}", ("cat", "dog")[n % 2], "Public") for n in range(8)],
    )
    records.finished(workspace, root)
    control.configure(workspace.standin, processing_s=0.1)
    control.add_competition(
        workspace.standin, competitions.SLUG, data=root, hidden=hidden, metric="accuracy", limit_s=600, daily=5
    )
    control.up(workspace.standin)
    try:
        for typed in (("plan",), ("bundle", "--owner", "local"), ("render", "--owner", "local")):
            code, told, err = run(capsys, typed[0], "animals", *typed[1:])
            assert code == 0, err
        code, pushed, err = run(capsys, "push", "animals", "--no-wait", "--standin")
        assert code == 0, err
        assert (code, pushed["status"], pushed["kernel_version"]) == (0, "started", 1)
        workspace.ledger.rename(tmp_path / "ledger.sqlite")
        for suffix in ("-wal", "-shm"):
            (workspace.private / f"ledger.sqlite{suffix}").unlink(missing_ok=True)
        until(lambda: "COMPLETE" in control.status(workspace.standin)["kernels"])
        code, told, err = run(capsys, "collect", "--standin")
        assert code == 0, err
        assert [(one["kernel"], one["version"], one["state"], one["fresh"]) for one in told["runs"]] == [
            ("local/animals", 1, "COMPLETE", True)
        ]
        assert told["orphans"] == []
        measured = json.loads((Workspace(workspace.root).runs("animals") / "v1" / "run.json").read_text())["prices"]
        kept = list(workspace.weights("animals").glob("v*/exports/*/prices-*.json"))
        assert bool(kept) == bool(measured)
    finally:
        control.down(workspace.standin)


def until(question, limit=120):
    deadline = time.monotonic() + limit
    while not question():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
