"""Dataset folders, and how they differ from those that were pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, Name, Owner, Standin, app
from builder.cli.screen import Screen, size
from builder.cli.stages import told

if TYPE_CHECKING:
    from builder.bundle.changes import Change


@app.command()
def bundle(
    name: Name,
    diff: Annotated[
        bool, typer.Option("--diff", help="Write nothing; show what the next push would upload, and what it replaces.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file again, those that were hashed before, too.")] = False,
    standin: Standin = False,
    owner: Owner = "",
    json: Json = False,
) -> None:
    """Write the dataset folders that the plan needs. They are named by their content: .kkb/datasets/<slug>/.

    Example: kkb bundle digits --diff
    """
    from builder import pipeline

    screen = Screen(as_json=json)
    if diff:
        _diff(screen, name, standin=standin, owner=owner)
        return
    with context.working(screen, name) as kernel:
        made = pipeline.bundle(kernel, context.owner(kernel, standin=standin, given=owner), lenient=standin, verify=verify)
    told(screen, kernel.fresh["bundle"], "bundle", f"{len(made)} datasets")
    show = kernel.workspace.datasets
    rows = [(one.slug, one.files, size(one.bytes), "written" if one.changed else "unchanged") for one in made]
    screen.table("", ("dataset", "files", "size", ""), rows, right=(1, 2))
    screen.say(f"  in {kernel.workspace.show(show)}/")
    reached = context.STANDIN if standin else f" --owner {owner}" if owner else ""
    screen.say(f"next: kkb render {name}{reached}")
    screen.result({"fresh": kernel.fresh["bundle"], "datasets": [one.record() for one in made]})


def _diff(screen: Screen, name: str, *, standin: bool, owner: str) -> None:
    from builder import delivery

    with context.working(screen, name) as kernel:
        handle = f"{context.owner(kernel, standin=standin, given=owner)}/{kernel.name}"
        version, changes = delivery.changes(kernel, handle, delivery.LOCALHOST if standin else delivery.KAGGLE)
    since = f"version {version} of {handle}" if version else f"nothing: {handle} was not pushed from this workspace"
    upload = sum(change.upload for change in changes)
    screen.say(f"bundle: compared with {since}; the next push uploads {size(upload)}")
    rows = [(c.state, c.slug or "-", c.was or "-", _files(c), size(c.upload)) for c in changes]
    screen.table("", ("", "now", "pushed", "files", "upload"), rows, right=(4,))
    screen.result({"since": version, "upload_bytes": upload, "datasets": [change.record() for change in changes]})


def _files(change: Change) -> str:
    """`+a.onnx -b.onnx`; `?` when what was pushed is not known here."""
    signed = {"+": change.added, "-": change.removed, "~": change.altered}
    if None in signed.values():
        return "?"
    return " ".join(f"{sign}{name}" for sign, names in signed.items() for name in names or ())
