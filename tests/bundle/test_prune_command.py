"""kkb prune against the stand-in: what is listed, what goes, and what stays whatever is asked."""

import json
import os
import time

import pytest

from builder import cli
from builder.bundle import stage
from builder.bundle.record import MANIFEST
from builder.config import Bundle
from builder.ledger.store import Ledger
from builder.remote import datasets, kernels, scores
from builder.remote.client import Client
from builder.standin import control
from builder.workspace import write_text
from tests import competitions
from tests.remote import folders

from .making import dataset

pytestmark = pytest.mark.slow

ROLES = ("idle", "older", "newest", "submitted", "mounted-elsewhere", "without-manifest")


@pytest.fixture
def town(tmp_path, workspace):
    """One dataset for each role on the stand-in; the ledger knows two kernels, the stand-in a third."""
    control.up(workspace.standin)
    try:
        control.configure(workspace.standin, processing_s=0.1)
        visible, hidden = folders.competition(tmp_path / "competition")
        control.add_competition(
            workspace.standin, folders.COMPETITION, data=visible, hidden=hidden, metric="accuracy", limit_s=60
        )
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **control.environment(workspace.standin)}
        with Client(environment, sleep=lambda seconds: time.sleep(min(seconds, 0.2))) as client:
            owner = control.environment(workspace.standin)["KAGGLE_USERNAME"]
            made = {role: dataset(tmp_path / role, {f"{role}.onnx": role.encode()}, role) for role in ROLES}
            for bundled in stage.write(made.values(), workspace, owner, Bundle()):
                datasets.ensure(client, workspace.datasets / bundled.slug)
            fill_ledger(workspace, owner, made)
            kernel = folders.kernel(
                tmp_path / "by-hand", "by-hand", owner=owner, dataset_sources=[f"{owner}/{made['mounted-elsewhere'].slug}"]
            )
            kernels.push(client, kernel)
            yield client, owner, {role: one.slug for role, one in made.items()}
    finally:
        control.down(workspace.standin)


def fill_ledger(workspace, owner, made):
    with Ledger(workspace.ledger) as ledger:
        for version, role in ((1, "submitted"), (2, "older"), (3, "newest")):
            ledger.add_push("localhost", f"{owner}/mine", version, str(version), [f"{owner}/{made[role].slug}"], None)
        ledger.add_submission("localhost", folders.COMPETITION, 7, f"{owner}/mine", 1, "1", None)


@pytest.fixture
def mine(workspace, animals):
    """The kernel.toml of the kernel that the ledger knows: it says to which competition its versions go."""
    text = competitions.config(animals).replace("tiny-animals", folders.COMPETITION)
    write_text(workspace.kernels / "mine" / "kernel.toml", text)


def prune(capsys, *arguments):
    code = cli.run(["prune", "--standin", "--json", *arguments])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def test_prune_lists_and_removes_what_nothing_mounts(town, mine, capsys, monkeypatch):
    client, owner, slugs = town
    real = datasets.files
    # Somebody's own dataset, named by chance as ours are.
    monkeypatch.setattr(
        datasets, "files", lambda *a: {k: v for k, v in real(*a).items() if k != MANIFEST or a[2] != slugs["without-manifest"]}
    )
    code, told = prune(capsys)
    assert code == 0
    assert told["dry_run"]
    assert {one["slug"] for one in told["remote"]} == set(slugs.values())
    assert [one["slug"] for one in told["remote"] if one["removable"]] == [slugs["idle"]]
    states = {one["slug"]: one["state"] for one in told["remote"]}
    assert states[slugs["mounted-elsewhere"]] == "used"
    assert states[slugs["submitted"]] == "submitted"
    assert len(datasets.list_own(client)) == len(ROLES)

    code, told = prune(capsys, "--yes")
    assert code == 0
    assert [one["slug"] for one in told["remote"] if one["removed"]] == [slugs["idle"]]
    assert {one.slug for one in datasets.list_own(client)} == set(slugs.values()) - {slugs["idle"]}

    unknown = scores.Scored(99, "COMPLETE", None, None, "", "", "", None)  # submitted in a browser: of which version, nobody says
    with monkeypatch.context() as patch:
        patch.setattr(scores, "listing", lambda *_: [unknown])
        assert prune(capsys, slugs["older"], "--yes")[0] == 3
    code, told = prune(capsys, slugs["older"], "--yes")
    assert code == 0
    assert [one["slug"] for one in told["remote"] if one["removed"]] == [slugs["older"]]

    for role in ("submitted", "newest", "mounted-elsewhere"):
        assert prune(capsys, slugs[role], "--yes")[0] == 3
        assert datasets.status(client, owner, slugs[role]) == datasets.READY
    assert prune(capsys, "nothing-0123456789ab", "--yes")[0] == 2


def test_prune_at_home_needs_no_network(tmp_path, workspace, capsys):
    for environment in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        assert environment not in os.environ
    stage.write([dataset(tmp_path / "x", {"x.onnx": b"x"}, "left-over")], workspace, "me", Bundle())
    assert cli.run(["prune", "--local", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["local"]
    assert not row["removed"]
    assert cli.run(["prune", "--local", "--yes", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["local"]
    assert row["removed"]
    assert list(workspace.datasets.iterdir()) == []


def test_an_unreadable_plan_keeps_every_folder(tmp_path, workspace, capsys):
    stage.write([dataset(tmp_path / "x", {"x.onnx": b"x"}, "left-over")], workspace, "me", Bundle())
    (workspace.kernels / "broken").mkdir()
    (workspace.kernels / "broken" / "plan.json").write_text("{")
    (workspace.kernels / "broken" / "kernel.toml").write_text("[competition]")
    assert cli.run(["prune", "--local", "--yes", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["local"] == []
    assert "what broken uses can't be told" in captured.err
