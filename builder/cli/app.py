"""The application that commands register with, and the options that they share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from builder.cli import completion

# As a kernel takes its way, for `kkb --help`.
ORDER = (
    "demo", "doctor", "init", "new", "fetch", "train", "adopt", "export", "plan", "simulate", "bundle", "render", "rehearse",
    "preflight", "push", "status", "logs", "output", "submit", "ship", "collect", "prune", "machine", "standin", "ci",
)  # fmt: skip


class InOrder(TyperGroup):
    """Commands in ORDER; one that is not in it comes last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        places = {name: place for place, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: places.get(name, len(places)))


app = typer.Typer(
    name="kkb",
    cls=InOrder,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="From data to a scored Kaggle submission.\n\nStart with `kkb demo`, then `kkb new NAME --competition SLUG`.",
)

Name = Annotated[
    str, typer.Argument(help="The kernel: a folder in kernels/.", show_default=False, autocompletion=completion.kernels)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Standin = Annotated[bool, typer.Option("--standin", help="Talk to the local stand-in instead of kaggle.com.")]
Owner = Annotated[str, typer.Option(help="Kaggle user name; default: from the credentials, else the one rendered last.")]


def _version(wanted: bool) -> None:
    if wanted:
        from builder import __version__

        typer.echo(f"kkb {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options before the command."""
