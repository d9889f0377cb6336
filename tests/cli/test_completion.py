"""Names of kernels after Tab, asked as each shell's script asks: through variables, and in bash for once by its own means."""

import os
import shlex
import subprocess
import sys

import pytest

from builder.cli import completion
from builder.cli.app import app

from .typed import commands

NAMES = ("digits", "table-passengers", "text-reviews")
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def kernels(workspace):
    """Kernels, and folders that are none."""
    for name in NAMES:
        (workspace.kernels / name).mkdir()
        (workspace.kernels / name / "kernel.toml").touch()
    (workspace.kernels / "text-without-toml").mkdir()
    return workspace.kernels


@pytest.fixture
def offered(capsys, monkeypatch):
    """What a shell is offered for a line that ends at the cursor, as its script reads it: (words, exit code)."""

    assert commands()  # registers them

    def ask(shell, line):
        words = line.split(" ")
        asked = {
            "_KKB_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in asked.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                app(prog_name="kkb", standalone_mode=False)
        out, err = capsys.readouterr()
        assert err == ""
        if shell == "zsh":  # `_arguments '*: :(("one":"help" "two"))'`, or `_files`
            inside = out.strip().removeprefix("_arguments '*: :((").removesuffix("))'")
            out = "\n".join("" if each == "_files" else each for each in shlex.split(inside))
        return [word.partition("\t")[0] for word in out.split("\n") if word], end.value.code

    return ask


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_is_offered_the_kernels(shell, kernels, offered):
    assert offered(shell, "kkb train ") == (list(NAMES), 0)
    assert offered(shell, "kkb render te") == (["text-reviews"], 0)
    assert offered(shell, "kkb ci tiny d") == (["digits"], 0)
    assert offered(shell, "kkb push nothing") == ([], 0)


def test_every_command_that_takes_a_kernel_offers_them(kernels, offered):
    """All those of `NAME` in builder/cli/app.py; a new kernel's name is nobody's yet."""
    takes = [
        ("adopt",),
        ("export",),
        ("plan",),
        ("rehearse",),
        ("collect",),
        ("bundle",),
        ("fetch",),
        ("preflight",),
        ("status",),
        ("submit",),
        ("ship",),
        ("ci", "weights"),
    ]
    assert set(takes) <= set(commands())
    for words in takes:
        assert offered("bash", f"kkb {' '.join(words)} ")[0] == list(NAMES), words
    assert offered("bash", "kkb new ")[0] == []


def test_a_folder_within_the_workspace_will_do(kernels, offered, monkeypatch):
    monkeypatch.chdir(kernels / "digits")
    assert offered("fish", "kkb train di") == (["digits"], 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_more_than_a_word_is_not_offered(shell, kernels, offered):
    """A shell evaluates some of what it is offered, and a cloned repository may have folders of any name."""
    for name in ("a b", "$(touch x)", "`touch x`", "';touch x;'", '\\";touch x;"', "a\nb", "-rf", "é"):
        (kernels / name).mkdir()
        (kernels / name / "kernel.toml").touch()
    assert offered(shell, "kkb train ") == (list(NAMES), 0)


def test_where_nothing_is_nothing_is_offered(tmp_path, offered, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert offered("bash", "kkb train ") == ([], 0)
    empty.rmdir()
    assert offered("bash", "kkb train ") == ([], 0), "the shell stands in a folder that has been deleted"


def test_names_are_found_without_reading_a_file(kernels):
    (kernels / "digits" / "kernel.toml").write_bytes(b"\xff = not TOML")
    assert completion.kernels("dig") == ["digits"]


@pytest.mark.slow
def test_bash_completes_names_of_kernels(kernels, tmp_path):
    """With the script that `kkb --install-completion bash` leaves behind."""
    tool = tmp_path / "bin" / "kkb"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'import sys; sys.argv[0] = "kkb"; from builder.cli import main; main()\' "$@"\n'
    )
    tool.chmod(0o755)
    script = f"""
        export PATH={shlex.quote(str(tool.parent))}:$PATH
        kkb --install-completion bash > /dev/null || exit 1
        for file in ~/.bash_completions/*; do . "$file"; done
        COMP_WORDS=(kkb export t); COMP_CWORD=2
        $(complete -p kkb | sed 's/.*-F \\([^ ]*\\) .*/\\1/') kkb
        printf '%s\\n' "${{COMPREPLY[@]}}"
        exit $?
    """
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    command = ["bash", "--noprofile", "--norc", "-c", script]
    ran = subprocess.run(command, env=environment, cwd=kernels.parent, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.split() == ["table-passengers", "text-reviews"], ran.stderr
