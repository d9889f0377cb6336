"""What `kkb init`, `kkb new` and `kkb fetch` write for a person to read and change: a workspace, a kernel.toml, its open keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from builder import competition
from builder.competition import Proposal
from builder.config import FILE, NAME_RULE, Config
from builder.errors import UserError
from builder.workspace import Workspace, write_text

TINY = 64  # pixels; below it, pretrained networks made for 224 have little to offer
GITIGNORE = """\
/.kkb/
/weights/*/v*/checkpoints/
/weights/*/v*/oof/
/weights/*/v*/exports/*/*.onnx
/weights/*/v*/exports/*/*.npy
"""

COMPETITION = """\
# One screen describes the submission. `kkb ship {name}` goes from here to a score; unknown keys are refused.
[competition]
slug = {slug}
metric = "accuracy"             # accuracy | balanced_accuracy | logloss | auc | f1_macro
limit = "9h"                    # see the competition's Code Requirements: Kaggle's API does not tell it
machine = "{machine}"{machine_note}

[data]
task = "{task}"
"""
OPEN = """\
# id, target, image and test_image: `kkb fetch {name}` proposes them from the competition's files.
"""
FILLED = """\
id = {id}
target = {target}
image = {image}
test_image = {test_image}
"""
REST = """\

[cv]
scheme = "stratified"
folds = 5

[train]
epochs = {epochs}
lr = {lr}
augment = ["shift"]             # add "hflip" when a mirrored image keeps its label

[[model]]
name = "{model}"
backbone = "timm/{backbone}"
pretrained = {pretrained}
input = {{ size = {size} }}

[inference]
views = ["identity"]            # "hflip", "identity@288", "hflip@center90", ...: priced, and kept when worth its seconds
reserve = "5%"
"""


@dataclass(frozen=True)
class Choice:
    """A first model for images of some size."""

    machine: str
    machine_note: str
    model: str
    backbone: str
    pretrained: str
    size: int
    epochs: int
    lr: str


LARGE = Choice("t4x2", "                # cpu for CPU-only competitions", "effb0", "efficientnet_b0", "true", 224, 8, "1e-3")


def choice(proposal: Proposal | None) -> Choice:
    """A small network trained from nothing for tiny images, a pretrained EfficientNet for all others."""
    if proposal is None or max(proposal.width, proposal.height) > TINY:
        return LARGE
    size = max(32, proposal.width, proposal.height)
    return Choice("cpu", "                 # tiny images need no GPU", "resnet", "test_resnet", "false", size, 12, "3e-3")


def kernel_toml(name: str, slug: str, task: str, proposal: Proposal | None) -> str:
    """The text of a new kernel.toml."""
    chosen = choice(proposal)
    head = COMPETITION.format(name=name, slug=_quoted(slug), task=task, machine=chosen.machine, machine_note=chosen.machine_note)
    data = (
        OPEN.format(name=name)
        if proposal is None
        else FILLED.format(**{key: _quoted(value) for key, value in _keys(proposal).items()})
    )
    rest = REST.format(
        model=chosen.model,
        backbone=chosen.backbone,
        pretrained=chosen.pretrained,
        size=chosen.size,
        epochs=chosen.epochs,
        lr=chosen.lr,
    )
    return head + data + rest


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's quoting is a part of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _keys(proposal: Proposal) -> dict[str, str]:
    return {"id": proposal.id, "target": proposal.target, "image": proposal.image, "test_image": proposal.test_image}


def new(workspace: Workspace, name: str, slug: str, task: str) -> tuple[Path, Proposal | None]:
    """Write kernels/<name>/kernel.toml, from the competition's files when they are there. Raises UserError when it exists."""
    refuse_name(name)
    if not NAME_RULE.fullmatch(slug):
        raise UserError(
            "not a competition's slug",
            found=repr(slug),
            expected="lower-case letters, digits and dashes",
            remedy="take it from its address",
        )
    path = workspace.kernels / name / FILE
    if path.exists():
        raise UserError("this kernel exists", file=path, remedy="edit it, or choose another name")
    root = workspace.private / "data" / slug
    proposal = competition.propose(root) if root.is_dir() else None
    write_text(path, kernel_toml(name, slug, task, proposal))
    return path, proposal


def refuse_name(name: str) -> None:
    """Raise UserError for a name that can't be a slug on Kaggle."""
    from slugify import slugify

    if slugify(name) != name or not 5 <= len(name) <= 50:
        raise UserError(
            "a kernel's name becomes its slug on Kaggle",
            found=repr(name),
            expected="5 to 50 lower-case letters, digits and dashes",
            remedy=f"kkb new {_slug_like(name)} --competition SLUG",
        )


def _slug_like(name: str) -> str:
    """A name that is allowed and looks like `name`."""
    from slugify import slugify

    slug = slugify(name)[:50].strip("-")
    return slug if len(slug) >= 5 else f"{slug or 'my'}-kernel"


def complete(folder: Path, config: Config, root: Path) -> Proposal | None:
    """Fill the open keys of kernel.toml from the files in `root`; None when there were none.

    A file that is still as `kkb new` wrote it is written again with the model that suits the images; in one that a person has
    edited only the open keys of `[data]` are filled, and comments stay.
    """
    if config.data.complete:
        return None
    data = config.data
    proposal = competition.propose(root, train=data.train, test=data.test, sample=data.sample_submission)
    path = folder / FILE
    text = path.read_text("utf-8")
    slug = config.competition.slug
    if text == kernel_toml(folder.name, slug, data.task, None):
        write_text(path, kernel_toml(folder.name, slug, data.task, proposal))
    else:
        write_text(path, _filled(text, proposal))
    return proposal


def _filled(text: str, proposal: Proposal) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    table = document.setdefault("data", tomlkit.table())
    for key, value in _keys(proposal).items():
        if not table.get(key):
            table[key] = value
    return tomlkit.dumps(document)


def init(folder: Path) -> list[Path]:
    """Make a workspace in `folder`; what is there stays. Returns what was made."""
    made = []
    for name, text in {
        ".gitignore": GITIGNORE,
        "kernels/README.md": "# kernels\n\nOne folder each: kernel.toml is yours, the rest follows from it (`kkb ship NAME`).\n",
        "weights/README.md": "# weights\n\nOne folder per training result. JSON and folds.csv are committed, blobs are not.\n",
    }.items():
        path = folder / name
        if not path.exists():
            write_text(path, text)
            made.append(path)
    (folder / ".kkb").mkdir(exist_ok=True)
    return made
