"""kkb ci run and kkb ci weights, as a step of a workflow calls them."""

import json

import pytest

from builder import cli, pipeline
from builder.cli import ci  # noqa: F401  importing it registers its commands
from tests import competitions, records


def run(capfd, *typed):
    capfd.readouterr()
    code = cli.run(list(typed))
    out, err = capfd.readouterr()
    return code, out, err


def test_a_failed_command_keeps_its_exit_code_and_says_whose_turn_it_is(workspace, capfd, monkeypatch, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    code, out, err = run(capfd, "ci", "run", "--", "plan", "nothing")
    assert code == 2
    assert out.startswith("::error title=kkb plan%3A yours::there is no kernel 'nothing'")
    assert "ci: yours: something in this repository" in err
    told = summary.read_text()
    assert told.startswith("before\n### `kkb plan nothing`: yours\n")
    assert "kkb new nothing --competition SLUG" in told


@pytest.mark.slow
def test_a_command_that_went_well_is_told_as_json(workspace, capfd):
    code, out, _ = run(capfd, "ci", "run", "--json", "--", "machine", "list")
    assert code == 0
    told = json.loads(out)
    assert (told["verdict"], told["exit_code"], told["command"]) == ("passed", 0, ["machine", "list"])
    assert told["result"]["machines"]


@pytest.mark.slow
def test_weights_are_listed_and_restored(workspace, capfd, tmp_path):
    kernel = records.finished(workspace, competitions.write(tmp_path / "animals"))
    pipeline.plan(kernel)
    pipeline.bundle(kernel, "me")
    pipeline.render(kernel, "me")
    assert run(capfd, "ci", "weights", "animals")[:2] == (0, "")
    (tmp_path / "down").mkdir()
    for path in workspace.weights("animals").rglob("*.onnx"):
        path.rename(tmp_path / "down" / f"{path.parents[2].name}-{path.name}")
    code, out, _ = run(capfd, "ci", "weights", "animals")
    assert code == 0
    assert all(line.startswith("me/") for line in out.splitlines())
    assert out
    code, _, err = run(capfd, "ci", "weights", "animals", str(tmp_path))
    assert (code, run(capfd, "ci", "weights", "animals")[1]) == (0, ""), err
    for path in workspace.weights("animals").rglob("*.onnx"):
        path.unlink()
    (tmp_path / "empty").mkdir()
    code, out, err = run(capfd, "ci", "weights", "animals", str(tmp_path / "empty"), "--json")
    assert code == 2
    assert json.loads(out)["missing"]
    assert "to do: put SLUG.tar of each into the release" in err
