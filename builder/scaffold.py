"""What `kkb init`, `kkb new` and `kkb fetch` write for a person to read and change: a workspace, a kernel.toml, its open keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from builder import competition
from builder.competition import Proposal
from builder.config import FILE, GROUPED, IMAGES, NAME_RULE, TABLES, TEXTS, Config, Data, Task
from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS
from builder.workspace import Workspace, write_text

TINY = 64  # pixels; below it, pretrained networks made for 224 have little to offer
NO_GPU = "                 # these models need no GPU"
GROUP_NOTE = "  # rows that share it stay in one fold, as training and test rows share none"
LONGEST_LINE = 120
GITIGNORE = """\
/.kkb/
/weights/*/v*/checkpoints/
/weights/*/v*/oof/
/weights/*/v*/exports/*/*.onnx
/weights/*/v*/exports/*/*.lgb.txt
/weights/*/v*/exports/*/*.xgb.json
/weights/*/v*/exports/*/*.npy
"""

HEAD = """\
# One screen describes the submission. `kkb ship {name}` goes from here to a score; unknown keys are refused.
[competition]
slug = {slug}
metric = {metric}{pad}# {metrics}
limit = "9h"                    # see the competition's Code Requirements: Kaggle's API does not tell it
machine = "{machine}"{machine_note}

[data]
"""
# Keys that only the competition's files can tell, while nobody has seen them.
OPEN = {
    "": "# task, id, target and what is read: `kkb fetch {name}` proposes them from the competition's files.\n",
    IMAGES: "# id, target, image and test_image: `kkb fetch {name}` proposes them from the competition's files.\n",
    TEXTS: "# id, target and text: `kkb fetch {name}` proposes them from the competition's files.\n",
    TABLES: "# id and target: `kkb fetch {name}` proposes them from the competition's files.\n",
}
FOLDS = """\

[cv]
scheme = "{scheme}"
folds = 5
"""
IMAGE_MODELS = """\

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
LINEAR = """
[[model]]
name = "linear"                 # counts terms: seconds, and often hard to beat
backbone = "text/linear"
"""
BAYES = """
[[model]]
name = "bayes"                  # the same terms weighed otherwise: seconds, too, and it errs elsewhere
backbone = "text/linear"
arguments = { learner = "bayes" }
"""
RECURRENT = """\
[[model]]
name = "gru"                  # or text/lstm, or hf/FOLDER with a Hugging Face model
backbone = "text/gru"
text = { length = 128, vocabulary = 5000 }
"""
MINUTES = "\n# One that reads word for word trains for minutes.\n"
TEXT_VIEWS = """
[inference]
views = ["identity"]            # of models that read words also "tail", "identity@64", ...
reserve = "5%"
"""
LIGHTGBM = """
[[model]]
name = "lightgbm"
backbone = "table/lightgbm"     # arguments = { num_leaves = 15 } and the like go to the library
"""
XGBOOST = """
[[model]]
name = "xgboost"
backbone = "table/xgboost"
"""
PERCEPTRON = """
[[model]]
name = "mlp"
backbone = "table/mlp"

[inference]
reserve = "5%"
"""
BESIDE_NOTE = '   # read by a [[model]] with beside = ["{network}"]'
# Truth, or several targets with classes -> metrics to choose from, and what is said beside the target.
MEASURES = {
    CLASSES: "accuracy | balanced_accuracy | logloss | auc | f1_macro",
    MULTILABEL: "mean(auc) | logloss | f1_samples | f1_micro | f1_macro",
    NUMBERS: "rmse | mae | rmsle | r2 | mean(rmse)",
}
OF_MIXED = "one for each target; beside one that rises, one that falls (rmse, mae, logloss) counts as its negative"
OF_SEVERAL = 'accuracy | f1_macro | ..., or one for each target: "kind=accuracy, size=f1_macro"'
SEVERAL_NOTE = "  # each has classes of its own; the score is the mean"
TRUTH_NOTES = {
    MULTILABEL: "            # labels of which each is there or not",
    NUMBERS: "               # not classes",
}


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
    """The text of a new kernel.toml; `task` is empty where nobody has chosen one: then the proposal's counts."""
    task = task or (proposal.task if proposal else "")
    data = f"task = {_quoted(task)}\n" if task else ""
    data += _data(proposal) if proposal else OPEN[task].format(name=name)
    models = _models(task, proposal)
    chosen = vars(choice(proposal)) | ({"machine": "cpu", "machine_note": NO_GPU} if models else {})
    metric = proposal.metric if proposal else "accuracy"
    truth = proposal.truth if proposal else CLASSES
    measures = OF_MIXED if not isinstance(truth, str) else OF_SEVERAL if _several(proposal) else MEASURES[truth]
    head = HEAD.format(
        **chosen, name=name, slug=_quoted(slug), metric=_quoted(metric), metrics=measures, pad=" " * max(1, 21 - len(metric))
    )
    scheme = GROUPED[-1] if proposal and proposal.group else "stratified"
    return head + data + FOLDS.format(scheme=scheme) + (models or IMAGE_MODELS.format(**chosen))


def _several(proposal: Proposal | None) -> bool:
    """Whether several targets have classes, each its own."""
    return proposal is not None and proposal.truth == CLASSES and not isinstance(proposal.target, str)


def _models(task: str, proposal: Proposal | None) -> str:
    """The models of texts and tables that can answer what is asked; empty for images."""
    truth, one = (proposal.truth, isinstance(proposal.target, str)) if proposal else (CLASSES, True)
    if task == TABLES:
        return LIGHTGBM + XGBOOST + PERCEPTRON
    if task == TEXTS and one and truth == CLASSES:
        unread = "".join(f"# {line}\n" for line in RECURRENT.splitlines())
        return LINEAR + BAYES + MINUTES + unread + TEXT_VIEWS
    return f"{LINEAR}\n{RECURRENT}{TEXT_VIEWS}" if task == TEXTS else ""


def _data(proposal: Proposal) -> str:
    """The keys of `[data]` as proposed."""
    note = TRUTH_NOTES.get(proposal.truth, "") if isinstance(proposal.truth, str) else ""
    notes = {"truth": note, "target": SEVERAL_NOTE if _several(proposal) else ""}
    lines = [f"{key} = {_quoted(value)}{notes.get(key, '')}" for key, value in _keys(proposal).items()]
    if proposal.columns:
        named = f"# columns = {_quoted(proposal.columns)}"
        short = len(named) <= LONGEST_LINE
        lines.append(named if short else f"# columns: the {len(proposal.columns)} that the test table has, too; or name some")
    for key, names, network in (("text", proposal.further_text, "text/gru"), ("columns", proposal.further, "table/mlp")):
        if names:
            lines.append(f"# {key} = {_quoted(names)}{BESIDE_NOTE.format(network=network)}")
    if proposal.group:
        lines.append(f"group = {_quoted(proposal.group)}{GROUP_NOTE}")
    return "".join(f"{line}\n" for line in lines)


def _quoted(value: object) -> str:
    """A basic string of TOML, a list or a table of them: JSON's quoting is a part of TOML's, but for one character."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_quoted(key)} = {_quoted(one)}' for key, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _keys(proposal: Proposal) -> dict[str, Any]:
    """The keys that its task and its truth need, and their values."""
    found: dict[str, Any] = {}
    for key in Data(task=cast("Task", proposal.task)).needed:
        value = getattr(proposal, key)
        found[key] = list(value) if isinstance(value, tuple) else value
        if key == "target" and proposal.truth != CLASSES:
            found["truth"] = proposal.truth
    return found


def new(workspace: Workspace, name: str, slug: str, task: str) -> tuple[Path, Proposal | None]:
    """Write kernels/<name>/kernel.toml, from the competition's files when they are there. Raises UserError when it exists.

    An empty `task` leaves it to the files to tell which it is.
    """
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
    known = Data(task=cast("Task", task)) if task else None
    proposal = competition.propose(root, known=known) if root.is_dir() else None
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

    A file that is still as `kkb new` wrote it is written again with the models that suit the files. In one that a person has
    edited, comments and edits stay: of images with classes only the open keys of `[data]` are filled, of others all that was not
    edited.
    """
    if config.data.complete:
        return None
    data, slug, path = config.data, config.competition.slug, folder / FILE
    proposal = competition.propose(root, train=data.train, test=data.test, sample=data.sample_submission, known=data)
    text, task = path.read_text("utf-8"), data.task if "task" in data.model_fields_set else ""
    before, after = (kernel_toml(folder.name, slug, task, found) for found in (None, proposal))
    if text == before:
        write_text(path, after)
    elif proposal.task == IMAGES and proposal.truth == CLASSES:
        write_text(path, _filled(text, proposal))
    else:
        write_text(path, _merged(text, before, after))
    return proposal


def _filled(text: str, proposal: Proposal) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    table = document.setdefault("data", tomlkit.table())
    for key, value in _keys(proposal).items():
        if not table.get(key):
            table[key] = value
    return tomlkit.dumps(document)


def _merged(text: str, before: str, after: str) -> str:
    """`text` with every change from `before` to `after` in what it has not changed itself."""
    import tomlkit

    document = tomlkit.parse(text)
    _merge(document, tomlkit.parse(before), tomlkit.parse(after))
    _drop_group(document)
    return tomlkit.dumps(document)


def _merge(mine: Any, before: Any, after: Any) -> None:
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if old == new or (old is None and mine.get(key)):
            continue
        if key in mine and isinstance(mine[key], Mapping) and isinstance(old, Mapping) and isinstance(new, Mapping):
            _merge(mine[key], old, new)
        elif mine.get(key) == old or not mine.get(key):
            if new is None:
                mine.pop(key, None)
            else:
                mine[key] = new


def _drop_group(document: Any) -> None:
    """Leave out a proposed group where a person has chosen folds that don't look at it."""
    if document.get("cv", {}).get("scheme", "stratified") not in GROUPED:
        document.get("data", {}).pop("group", None)


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
