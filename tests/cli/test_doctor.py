"""kkb doctor: works anywhere, shows no secret, and ends as it should."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from builder.cli import ci, collect, doctor, init  # noqa: F401  importing them registers their commands
from builder.cli.app import app
from builder.standin import control

from .typed import commands, run

SECRET = "KGAT_0123456789abcdef"
MINE = [("doctor",), ("collect",), ("init",), ("ci", "run"), ("ci", "weights"), ("ci", "tiny")]
SCREEN = 24  # lines
LONGER = {("rehearse",): 40}  # it takes any notebook, whose inputs and limits are options


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A folder that is no workspace, and a home without credentials."""
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_it_works_outside_a_workspace_and_leaves_nothing(nowhere, capsys):
    code, out, err = run(capsys, "doctor", "--offline", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["ok"] is True
    assert {"python", "packages", "client", "sandbox", "disk"} <= {one["code"] for one in told["fine"] + told["findings"]}
    assert {"severity", "code", "message", "meaning", "remedy", "file"} == set(told["findings"][0])
    assert list(nowhere.iterdir()) == []


def test_no_secret_is_shown(nowhere, capsys, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    code, out, err = run(capsys, "doctor", "--offline", "--all")
    assert code == 0
    assert "KAGGLE_KEY" in err
    assert SECRET not in out + err


def test_what_must_be_fixed_is_3_and_one_object(nowhere, capsys, monkeypatch):
    kept = Path(os.environ["HOME"]) / ".kaggle"
    kept.mkdir()
    (kept / "kaggle.json").write_text("{")
    (kept / "kaggle.json").chmod(0o600)
    code, out, err = run(capsys, "doctor", "--offline", "--json")
    assert code == 3
    told = json.loads(out)
    assert told["ok"] is False
    assert told["findings"][0]["code"] == "credentials-broken"
    assert "credentials-broken" in err


def test_a_server_that_is_not_there_is_4(nowhere, capsys, monkeypatch):
    """Port 1 refuses at once; nothing leaves this machine."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    code, out, err = run(capsys, "doctor", "--json")
    assert code == 4, err
    assert json.loads(out)["findings"][0]["code"] == "unreachable"
    assert SECRET not in out + err


@pytest.mark.slow
def test_the_stand_in_is_asked_and_a_wrong_key_is_refused(workspace, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    control.up(workspace.standin)
    try:
        code, out, err = run(capsys, "doctor", "--standin", "--json")
        assert code == 0, err
        assert "network" in {one["code"] for one in json.loads(out)["fine"]}
        for key, value in {**control.environment(workspace.standin), "KAGGLE_API_TOKEN": "", "KAGGLE_KEY": SECRET}.items():
            monkeypatch.setenv(key, value)
        code, out, err = run(capsys, "doctor", "--json")
        assert code == 3, err
        assert json.loads(out)["findings"][0]["code"] == "refused"
        assert SECRET not in out + err
    finally:
        control.down(workspace.standin)


@pytest.mark.parametrize("words", MINE, ids=" ".join)
def test_help_shows_an_example_that_is_understood(words, capsys):
    assert run(capsys, *words, "--help")[0] == 0
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    example = re.search(r"kkb ([^|)\n]*)", command.help.partition("Example:")[2]).group(1)
    typed = shlex.split(example)
    assert tuple(typed[: len(words)]) == words
    with command.make_context(words[-1], typed[len(words) :]) as context:
        assert context.command is command


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_fits_a_screen(words, capsys):
    _, out, _ = run(capsys, *words, "--help")
    assert len(out.splitlines()) <= LONGER.get(words, SCREEN), out
    assert "Example:" in out


COMPLETE = """
PATH="{bin}:$PATH"
eval "$({kkb} --show-completion bash)"
COMP_WORDS=({words}); COMP_CWORD={last}
$(complete -p kkb | sed 's/.*-F \\([^ ]*\\) .*/\\1/') kkb
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def in_bash(tmp_path, script):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    # The last line keeps bash from turning into the command itself: kkb looks for a shell among its ancestors.
    command = ["bash", "--noprofile", "--norc", "-c", f"{script}\nexit $?"]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def kkb(tmp_path):
    """A `kkb` on a PATH of its own: completion asks the command for its words."""
    script = tmp_path / "bin" / "kkb"
    script.parent.mkdir()
    root = Path(__file__).parents[2]
    text = f"import sys; sys.path.insert(0, {str(root)!r}); sys.argv[0] = 'kkb'; from builder.cli import main; main()"
    script.write_text(f"#!{sys.executable}\n{text}\n")
    script.chmod(0o755)
    return script


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "offered"),
    [(["kkb", "reh"], {"rehearse"}), (["kkb", "standin", "st"], {"status"}), (["kkb", "push", "--no"], {"--no-wait"})],
)
def test_bash_completes_commands_and_options(typed, offered, kkb, tmp_path):
    script = COMPLETE.format(bin=kkb.parent, kkb=kkb, words=" ".join(typed), last=len(typed) - 1)
    ran = in_bash(tmp_path, script)
    assert offered <= set(ran.stdout.split()), ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_and_installed_for_each_shell(shell, kkb, tmp_path):
    shown = in_bash(tmp_path, f"{kkb} --show-completion {shell}")
    assert shown.returncode == 0, shown.stderr
    assert "kkb" in shown.stdout
    installed = in_bash(tmp_path, f"{kkb} --install-completion {shell}")
    assert installed.returncode == 0, installed.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != kkb]
    assert [path for path in files if "kkb" in path.read_text("utf-8")], files
