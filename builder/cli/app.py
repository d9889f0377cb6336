"""The application that commands register with, and the options that they share."""

from __future__ import annotations

from typing import Annotated

import typer

from builder.cli import completion

app = typer.Typer(
    name="kkb",
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
