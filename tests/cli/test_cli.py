"""The command line: one JSON object on stdout, everything else on stderr, exit codes as promised, and help that shows how."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from builder import cli
from builder.cli import app
from builder.errors import (
    ConfigError,
    CredentialError,
    GateError,
    KkbError,
    RemoteError,
    RunError,
    UserError,
    WaitError,
)
from builder.ledger.store import Ledger
from tests import competitions, records

from .typed import commands, run

KKB = [sys.executable, "-m", "builder.cli"]


COMMANDS = commands()
each_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def test_every_stage_is_a_command_of_its_own():
    wanted = """
        init, new, fetch, train, adopt, export, plan, simulate, bundle, prune, render, rehearse, preflight, push, status, logs,
        output, submit, ship, demo, machine list, machine show, machine capture, standin up, standin down, standin status,
        standin env, standin exec,
        standin add-competition
    """
    wanted = {tuple(words.split()) for words in wanted.split(",")}
    assert wanted <= set(COMMANDS)


@each_command
def test_help_says_what_a_command_does_and_shows_how(words, capsys):
    code, out, err = run(capsys, *words, "--help")
    assert code == 0
    assert "Usage: " in out
    (example,) = [line for line in out.splitlines() if "Example:" in line]
    assert f"kkb {' '.join(words)}" in example
    assert err == ""
    if words != ("standin", "exec"):
        assert "--json" in out


@each_command
def test_the_example_in_the_help_is_understood(words):
    """Its options exist and its arguments are as many as are asked for: parsed, not run."""
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    example = re.search(r"kkb ([^|)\n]*)", command.help.partition("Example:")[2]).group(1)
    typed = shlex.split(example)
    assert tuple(typed[: len(words)]) == words
    with command.make_context(words[-1], typed[len(words) :]) as context:
        assert context.command is command


def test_the_whole_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f" {words[0]} " in out for words in COMMANDS)


def test_without_a_command_there_is_help_and_an_exit_code(capsys):
    code, out, err = run(capsys)
    assert code in {0, 2}
    assert "Usage: " in out + err


def test_the_version_is_that_of_the_package(capsys):
    import builder

    assert run(capsys, "--version")[:2] == (0, f"kkb {builder.__version__}\n")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["trian", "digits"], "train"),
        (["standin", "stauts"], "status"),
        (["train", "digits", "--resum"], "--resume"),
    ],
)
def test_a_typo_names_what_was_meant(typed, told, capsys):
    code, out, err = run(capsys, *typed)
    assert code == 2
    assert out == ""
    assert typed[-1] in err or typed[0] in err
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "typed",
    [
        ["train"],
        ["train", "a", "b"],
        ["new", "photos"],
        ["rehearse", "x", "--rows", "0"],
        ["rehearse", "x", "--rows", "many"],
        ["train", "x", "--fold", "a"],
    ],
)
def test_a_wrong_argument_is_2_and_says_where_help_is(typed, capsys):
    code, out, err = run(capsys, *typed)
    assert code == 2
    assert out == ""
    assert "--help" in err


@pytest.mark.parametrize("typed", [["train"], ["trian"], ["train", "digits", "--resum"]])
def test_json_is_one_object_on_usage_errors_too(typed, capsys):
    code, out, _ = run(capsys, *typed, "--json")
    assert code == 2
    record = json.loads(out)
    assert record["exit_code"] == 2
    assert record["error"] == "UsageError"
    assert record["message"]


NAMED = [
    ("train",),
    ("export",),
    ("plan",),
    ("bundle",),
    ("render",),
    ("rehearse",),
    ("push",),
    ("status",),
    ("logs",),
    ("output",),
    ("submit",),
    ("ship",),
    ("fetch",),
]


@pytest.mark.parametrize("words", NAMED, ids=" ".join)
def test_an_unknown_kernel_is_2_before_anything_is_asked_of_a_network(words, capsys, workspace):
    code, out, err = run(capsys, *words, "digits", "--json")
    assert code == 2
    record = json.loads(out)
    assert (record["error"], record["exit_code"]) == ("UserError", 2)
    assert "kkb new digits" in record["remedy"]
    assert err.startswith("error: there is no kernel 'digits'")
    assert not workspace.private.exists(), "a refused command leaves nothing"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError, 2),
        (ConfigError, 2),
        (CredentialError, 2),
        (GateError, 3),
        (RemoteError, 4),
        (RunError, 5),
        (WaitError, 6),
        (KkbError, 1),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_every_error_has_its_exit_code_and_no_traceback(error, code, as_json, capsys, workspace, monkeypatch):
    from builder import pipeline

    def fail(*_, **__):
        raise error("it failed", found="a", expected="b", remedy="c", file="d")

    records.kernel(workspace, workspace.root / "nowhere")
    monkeypatch.setattr(pipeline, "plan", fail)
    found, out, err = run(capsys, "plan", "animals", *["--json"] * as_json)
    assert found == code
    assert "Traceback" not in err
    assert err == "error: d: it failed\n  found: a\n  expected: b\n  to do: c\n"
    assert (json.loads(out) if as_json else out) == (
        error("it failed", found="a", expected="b", remedy="c", file="d").record() if as_json else ""
    )


def test_our_own_bug_is_1_and_says_how_to_report_it(capsys, workspace, monkeypatch):
    from builder import pipeline

    records.kernel(workspace, workspace.root / "nowhere")
    monkeypatch.setattr(pipeline, "plan", lambda *_: 1 / 0)
    code, out, err = run(capsys, "plan", "animals", "--json")
    assert code == 1
    assert json.loads(out)["exit_code"] == 1
    assert "ZeroDivisionError" in err
    assert "--debug" in err
    assert "Traceback" not in err
    with pytest.raises(ZeroDivisionError):
        cli.run(["--debug", "plan", "animals"])


def test_the_advice_to_debug_can_be_followed(capsys, workspace):
    """`kkb has a bug ... run it again with --debug`: people add it at the end of what they typed."""
    code, _, err = run(capsys, "machine", "list", "--debug")
    assert code == 0, err


def test_an_interrupt_is_130(capsys, workspace, monkeypatch):
    from builder import pipeline

    def interrupt(*_):
        raise KeyboardInterrupt

    records.kernel(workspace, workspace.root / "nowhere")
    monkeypatch.setattr(pipeline, "plan", interrupt)
    code, _, err = run(capsys, "plan", "animals")
    assert code == 130
    assert "Traceback" not in err


@pytest.fixture
def kernel(workspace, animals):
    return records.finished(workspace, animals)


def ok(capsys, *typed):
    code, out, err = run(capsys, *typed, "--json")
    assert code == 0, err
    assert out.endswith("\n")
    assert len(out.splitlines()) == 1
    assert "Traceback" not in err
    return json.loads(out)


def test_each_stage_tells_its_keys_and_is_skipped_the_second_time(kernel, capsys):
    assert set(ok(capsys, "plan", "animals")) >= {"units", "predicted", "rows"}
    bundled = ok(capsys, "bundle", "animals", "--owner", "me")
    assert all(set(one) >= {"slug", "digest", "bytes", "files", "changed", "path"} for one in bundled["datasets"])
    assert bundled["fresh"]
    rendered = ok(capsys, "render", "animals", "--owner", "me")
    assert Path(rendered["notebook"]).is_file()
    assert ok(capsys, "render", "animals", "--check")["digest"] == rendered["digest"]
    for typed in (("bundle", "animals"), ("render", "animals")):
        assert ok(capsys, *typed)["fresh"] is False
    code, _, err = run(capsys, "plan", "animals")
    assert code == 0
    assert "plan: up to date" in err


def test_without_json_stdout_is_empty(kernel, capsys):
    for typed in (("plan", "animals"), ("bundle", "animals", "--owner", "me"), ("render", "animals", "--owner", "me")):
        code, out, err = run(capsys, *typed)
        assert (code, out) == (0, "")
        assert err


def test_a_stale_notebook_is_3(kernel, capsys):
    for typed in (("plan", "animals"), ("bundle", "animals", "--owner", "me"), ("render", "animals", "--owner", "me")):
        ok(capsys, *typed)
    notebook = kernel.folder / "notebook.ipynb"
    notebook.write_text(notebook.read_text().replace("animals", "anymals"))
    code, out, err = run(capsys, "render", "animals", "--check", "--json")
    assert code == 3
    assert json.loads(out)["error"] == "GateError"
    assert "kkb render animals" in err


@pytest.mark.parametrize("limit", ["nine hours", "0s", "-5min"])
def test_a_limit_that_is_no_duration_is_2(kernel, capsys, limit):
    code, out, err = run(capsys, "rehearse", "animals", f"--limit={limit}", "--json")
    assert code == 2
    assert json.loads(out)["found"] == repr(limit)
    assert "9h, 90min or 45s" in err


def test_new_proposes_and_says_what_comes_next(workspace, capsys):
    competitions.write(workspace.private / "data" / "tiny-animals")
    made = ok(capsys, "new", "animals", "--competition", "tiny-animals")
    assert Path(made["kernel_toml"]).is_file()
    assert made["proposal"]["target"] == "label"
    code, _, err = run(capsys, "new", "animals", "--competition", "tiny-animals")
    assert code == 2
    assert "this kernel exists" in err


def test_new_refuses_a_task_that_is_not_known(workspace, capsys):
    code, _, err = run(capsys, "new", "animals", "--competition", "x", "--task", "image-clasification")
    assert code == 2
    assert "did you mean 'image-classification'?" in err


def test_init_makes_a_workspace_once(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ok(capsys, "init", "mine")["made"]
    assert ok(capsys, "init", "mine")["made"] == []


def test_a_bundle_is_compared_with_what_was_pushed(kernel, capsys):
    ok(capsys, "plan", "animals")
    made = ok(capsys, "bundle", "animals", "--owner", "me")["datasets"]
    before = ok(capsys, "bundle", "animals", "--owner", "me", "--diff")
    assert before["since"] is None
    assert {row["state"] for row in before["datasets"]} == {"new"}
    assert before["upload_bytes"] == sum(one["bytes"] for one in made)
    with Ledger(kernel.workspace.ledger) as ledger:
        ledger.add_push("kaggle.com", "me/animals", 3, "0" * 64, [made[0]["slug"], "gone-0123456789ab"], 0.9)
    after = ok(capsys, "bundle", "animals", "--owner", "me", "--diff")
    assert after["since"] == 3
    assert [row["state"] for row in after["datasets"]].count("same") == 1
    assert after["datasets"][-1]["was"] == "gone-0123456789ab"
    assert ok(capsys, "bundle", "animals", "--owner", "me", "--verify")["fresh"] is False


def test_machines_are_listed_and_shown(workspace, capsys):
    from builder import machines as known_machines

    listed = ok(capsys, "machine", "list")["machines"]
    assert [machine["name"] for machine in listed] == known_machines.names()
    assert ok(capsys, "machine", "show", "cpu")["name"] == "cpu"
    code, _, err = run(capsys, "machine", "show", "t4x22")
    assert code == 2
    assert "did you mean 't4x2'?" in err


def test_without_credentials_a_remote_command_is_2_and_says_where_they_come_from(kernel, capsys, monkeypatch, tmp_path):
    """With an empty home: nothing is sent, the message names the file or the variable."""
    for typed in (("plan", "animals"), ("bundle", "animals", "--owner", "me"), ("render", "animals", "--owner", "me")):
        ok(capsys, *typed)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, err = run(capsys, "push", "animals", "--json")
    assert code == 2, err
    record = json.loads(out)
    assert record["error"] == "CredentialError"
    assert record["remedy"]


def typed_in_a_shell(*arguments, cwd, **environment):
    return subprocess.run(
        [*KKB, *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def test_as_a_process_it_says_the_same(workspace, animals):
    """What a shell sees: exit code, one object on stdout, plain text without colours on stderr when it is no terminal."""
    records.finished(workspace, animals)
    ran = typed_in_a_shell("plan", "animals", "--json", cwd=workspace.root)
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout)) >= {"units", "predicted", "rows"}
    assert "\x1b" not in ran.stderr
    failed = typed_in_a_shell("plan", "animalz", "--json", cwd=workspace.root)
    assert failed.returncode == 2
    assert json.loads(failed.stdout)["remedy"] == "did you mean 'animals'?"
    assert "Traceback" not in failed.stderr


def test_a_traceback_is_shown_to_whom_asks_for_it(workspace):
    ran = typed_in_a_shell("plan", "nothing", cwd=workspace.root, KKB_DEBUG="1")
    assert ran.returncode != 0
    assert "Traceback" in ran.stderr


def test_a_closed_pipe_is_no_traceback(workspace):
    """`kkb machine list --json | head -0`"""
    process = subprocess.Popen(
        [*KKB, "machine", "list", "--json"], cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in err


def test_the_script_that_is_installed_is_the_same_program(workspace):
    script = Path(sys.executable).parent / "kkb"
    if not script.exists():
        pytest.skip("not installed as a script here")
    ran = subprocess.run(
        [script, "machine", "list", "--json"], cwd=workspace.root, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(ran.stdout)["machines"]


def test_an_interrupted_training_says_how_to_go_on_as_json_too(capsys, workspace, monkeypatch):
    import json

    from builder import pipeline

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    records.kernel(workspace, workspace.root / "nowhere")
    monkeypatch.setattr(pipeline, "train", interrupt)
    code, out, err = run(capsys, "train", "animals", "--json")
    assert code == 130
    assert json.loads(out)["exit_code"] == 130
    assert "kkb train animals --json --resume" in err
