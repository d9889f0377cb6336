"""The workflow that `kkb init` writes: rendered from a template, never over a file that a person has changed."""

from __future__ import annotations

from pathlib import Path

from builder import __version__
from builder.errors import UserError
from builder.workspace import write_text

PATH = Path(".github") / "workflows" / "kernels.yml"
TEMPLATE = "kernels.yml.j2"
PACKAGE = "kaggle-kernel-builder"


def requirement() -> str:
    """What a runner installs: this very version, because another one may render another notebook."""
    return f"{PACKAGE}=={__version__}"


def text(package: str) -> str:
    """The workflow, installing `package` (a requirement, or a path in the repository). Raises UserError for what is neither."""
    import jinja2

    if not package or any(sign in package for sign in "'\"\n\\$`"):
        raise UserError(
            "not what pip installs", found=repr(package), expected=requirement(), remedy="give a requirement, or a path"
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("builder.ci", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  the output is YAML
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE).render(package=package)


def write(folder: Path, package: str, *, force: bool = False) -> bool:
    """Write the workflow below `folder`; False when it says the same already.

    Raises UserError when there is another one, unless `force`.
    """
    path, wanted = folder / PATH, text(package)
    if path.is_file() and not force:
        if path.read_text("utf-8") == wanted:
            return False
        raise UserError(
            "there is another workflow of this name", file=path, remedy="kkb init --force replaces it; kkb init --no-ci leaves it"
        )
    write_text(path, wanted)
    return True
