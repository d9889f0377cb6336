"""The command line: one command per stage. The only room that prints or exits.

`--json` puts one JSON object on stdout and nothing else there; everything for people goes to stderr. Exit codes are those of
`builder/errors.py`: 0 done, 2 your input, 3 a gate, 4 Kaggle or the network, 5 a failed run, 6 waited too long, 130 interrupted,
1 our bug.
"""

from __future__ import annotations

import os
import shlex
import sys

from builder.cli.app import app
from builder.errors import KkbError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run `kkb` with `arguments` (default: those of the process) and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run `kkb` with `arguments` and return its exit code."""
    # Commands are registered by importing their modules; the modules import nothing heavy.
    import typer

    from builder.cli import (  # noqa: F401
        adopt,
        bundle,
        ci,
        collect,
        doctor,
        export,
        init,
        machines,
        planning,
        prune,
        rehearse,
        remote,
        stages,
        standin,
        start,
    )

    # Threads that wait by spinning make training several times slower as soon as anything else wants a core (measured: 43 s
    # against 8 s on two busy cores); threads that sleep cost nothing that can be measured on an idle machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments  # what follows belongs to another program
    debug = "--debug" in own or bool(os.environ.get("KKB_DEBUG"))
    plain = [argument for argument in own if argument != "--debug"] + arguments[len(own) :]
    try:
        code = app(plain, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(own)
    except Exception as error:  # the last place that can turn an exception into a message
        if debug:
            raise
        return _explain(error, own)
    if code == INTERRUPTED and own[:2] != ["standin", "exec"]:  # typer turns Ctrl-C into this code, without a word
        return _interrupted(own)
    return code if isinstance(code, int) else 0


def _interrupted(arguments: list[str]) -> int:
    """Say how to go on after Ctrl-C; returns the exit code."""
    from builder.cli.screen import print_json

    again = f"kkb {shlex.join(arguments)}" + (" --resume" if arguments[:1] == ["train"] and "--resume" not in arguments else "")
    if arguments[:1] in (["push"], ["submit"], ["ship"]):
        name = next((one for one in arguments[1:] if not one.startswith("-")), "NAME")
        again += f"; what was started there goes on: kkb status {name}{' --standin' if '--standin' in arguments else ''}"
    if "--json" in arguments:
        print_json({"error": "Interrupted", "message": "interrupted", "remedy": again, "exit_code": INTERRUPTED})
    sys.stderr.write(f"\ninterrupted\n  to do: {again}\n")
    return INTERRUPTED


def _help_of(arguments: list[str]) -> str:
    """The command line that shows the help of what was typed."""
    from typer.main import get_command

    words, command = ["kkb"], get_command(app)
    for argument in arguments:
        known = getattr(command, "commands", {})
        if argument not in known:
            break
        words, command = [*words, argument], known[argument]
    return " ".join([*words, "--help"])


def _explain(error: Exception, own: list[str]) -> int:
    """Tell a person (and, with `--json`, a program) what went wrong; returns the exit code."""
    import typer

    from builder.cli.screen import print_json
    from builder.doctor import packages

    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if not isinstance(error, KkbError):
        error = packages.lacking(error) or error
    if hasattr(error, "format_message"):  # a usage error; where its class lives differs between typer's versions
        record: dict[str, object] = {"error": "UsageError", "message": error.format_message(), "exit_code": 2}
        text, code = f"{error.format_message()}\n  to do: {_help_of(own)}", 2
    elif isinstance(error, KkbError):
        record, text, code = error.record(), error.text(), error.exit_code
        text += "" if error.remedy else f"\n  to do: {_help_of(own)}"
    else:
        what = f"{type(error).__name__}: {error}"
        record = {"error": "Bug", "message": what, "exit_code": 1}
        text, code = f"kkb has a bug: {what}\n  to do: run it again with --debug and report what it prints", 1
    if "--json" in own:
        print_json(record)
    sys.stderr.write(f"error: {text}\n")
    return code
