"""What the files of a competition suggest for kernel.toml: task, columns, folds and metric. A person is shown all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.competition import aims, columns, pictures
from builder.competition.tables import read_table
from builder.config import IMAGES, TABLES, TEXTS
from builder.errors import UserError
from builder.metrics import CLASSES

if TYPE_CHECKING:
    import pandas as pd

    from builder.config import Data

    Table = pd.DataFrame


@dataclass(frozen=True)
class Proposal:
    """What the files suggest for kernel.toml, with what it was concluded from.

    Attributes:
        id, target, truth, image, test_image, task, text, columns, group: Values of the keys of `[data]` of the same name.
        form: Form of the submission, as `contract.Answer` names it.
        classes: Number of classes, labels or targets; those of all heads.
        rows: Number of training rows.
        width, height: Median size of some training images, in pixels.
        metric: The likeliest metric of such a submission.
        further, further_text: Columns and texts that both tables have beside what the proposed models read.
        why: What the task and the truth were concluded from, for a person.
    """

    id: str
    target: str | tuple[str, ...]
    image: str
    test_image: str
    form: str
    classes: int
    rows: int
    width: int = 0
    height: int = 0
    task: str = IMAGES
    text: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    group: str = ""
    metric: str = "accuracy"
    why: str = ""
    truth: str | dict[str, str] = CLASSES
    further: tuple[str, ...] = ()
    further_text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tables:
    """The two tables of a competition, where they lie, and their id column."""

    root: Path
    train: Table
    test: Table
    identity: str

    def shared(self, targets: Sequence[str]) -> list[str]:
        """Columns that both tables have, the id and the targets left out."""
        names = [str(name) for name in self.test.columns]
        return [name for name in names if name in self.train and name not in {self.identity, *targets}]


def propose(
    root: Path,
    *,
    train: str = "train.csv",
    test: str = "test.csv",
    sample: str = "sample_submission.csv",
    known: Data | None = None,
) -> Proposal:
    """What the files in `root` suggest for kernel.toml. Raises UserError that says which file or column decides nothing.

    `known` is what kernel.toml says already; its `task` counts only where it was written down.
    """
    if not root.is_dir() or not any(root.iterdir()):
        raise UserError("no competition files here", file=root, expected=f"{train}, {test}, {sample}", remedy="kkb fetch NAME")
    tables = {name: read_table(root / name) for name in (train, test, sample)}
    identity, labels = aims.identity(tables[train], tables[test], tables[sample])
    identity = (known.id if known else "") or identity
    for name in (train, test) if labels else (train, test, sample):
        if identity not in tables[name]:
            raise UserError(
                f"the id column '{identity}' of {sample} is not in {name}",
                file=root / name,
                found=", ".join(tables[name].columns),
                remedy="set data.id in kernel.toml",
            )
    files = aims.Files(tables[train], tables[test], tables[sample], root / train, root / sample, identity, labels)
    aim = aims.aim(files, known)
    read = _read(Tables(root, tables[train], tables[test], identity), aim.targets, known)
    told: dict[str, Any] = {"image": "", "test_image": "", "metric": aim.metric(read["task"]), **read}
    return Proposal(
        id=identity,
        target=aim.targets[0] if len(aim.targets) == 1 else aim.targets,
        truth=aim.truth,
        form=aim.form,
        classes=len(aim.classes),
        rows=len(tables[train]),
        **{**told, "why": "; ".join(filter(None, [read["why"], aim.why]))},
    )


def filled(data: Data, proposal: Proposal) -> Data:
    """`data` with the keys that are still open as proposed. Raises UserError when the files are of another task or truth."""
    for key in ("task", "truth") if not data.target else ("task",):
        mine, theirs = getattr(data, key), getattr(proposal, key)
        if mine != theirs:
            raise UserError(
                f"the files are those of {theirs if isinstance(theirs, str) else ' and '.join(dict.fromkeys(theirs.values()))}",
                found=f"a kernel of {mine}",
                expected=proposal.why,
                remedy=f'kkb fetch NAME completes kernel.toml; or set data.{key} = "{mine}" there',
            )
    return data.model_copy(update={key: getattr(data, key) or getattr(proposal, key) for key in data.needed})


def _read(tables: Tables, targets: Sequence[str], known: Data | None) -> dict[str, Any]:
    """The task, what a model reads, and why: images if there are any, else texts if there are long ones, else the table."""
    chosen = _chosen(known)
    shared = tables.shared(targets)
    group = columns.group(tables.train, tables.test, shared)
    apart = f"; training and test rows share no '{group}'" if group else ""
    if chosen in {"", IMAGES} and (found := _images(tables, needed=bool(chosen) or not shared)):
        unread = [name for name in shared if name != group and f"{{{name}}}" not in found["image"]]
        long = tuple(columns.texts(tables.train, unread))
        further = {"further": tuple(name for name in unread if name not in long), "further_text": long}
        return {**found, **further, "group": group, "why": f"images are named after {found['image']}{apart}"}
    others = [name for name in shared if name != group]
    texts = {} if chosen == TABLES else _texts(tables, others, needed=bool(chosen))
    told = ", ".join(f"'{name}' has {words:.0f} words on average" for name, words in texts.items())
    # A text beside many other columns must be long: `Name` beside age and fare does not make a competition of texts.
    if texts and (chosen or max(texts.values()) >= columns.WORDS + len(others) - len(texts)):
        further = {"further": tuple(name for name in others if name not in texts)}
        return {"task": TEXTS, "text": tuple(texts), **further, "group": group, "why": told + apart}
    if not others:
        raise UserError(
            "the tables have no column to learn from",
            file=tables.root,
            found="no column that training and test table share, the id left out",
            remedy="set data.task and data.columns in kernel.toml",
        )
    told = f"{told}, which is little beside the rest" if told else "no images, no long texts"
    why = f"{len(others)} columns that both tables have; {told}{apart}"
    return {"task": TABLES, "columns": tuple(others), "group": group, "why": why}


def _chosen(known: Data | None) -> str:
    """The task that a person wrote down, or that follows from what they wrote; empty when the files are to decide."""
    if known is None:
        return ""
    written = "task" in known.model_fields_set or known.image or known.test_image
    return known.task if written else ""


def _images(tables: Tables, *, needed: bool) -> dict[str, Any]:
    """The image patterns and sizes; empty when there are no images and none are `needed`."""
    root, identity = tables.root, tables.identity
    try:
        image, examples = pictures.pattern(root, tables.train, identity, avoid="test")
    except UserError:
        if needed or pictures.some(root):
            raise
        return {}
    test_image, _ = pictures.pattern(root, tables.test, identity, avoid="train")
    width, height = pictures.median_size(examples)
    return {"task": IMAGES, "image": image, "test_image": test_image, "width": width, "height": height}


def _texts(tables: Tables, candidates: Sequence[str], *, needed: bool) -> dict[str, float]:
    """The columns of texts -> words on average; where some are `needed`, the one with most words at least."""
    found = columns.texts(tables.train, candidates)
    if found or not needed:
        return found
    counted = {name: columns.words(map(str, tables.train[name].head(columns.LOOKED_AT))) for name in candidates}
    most = max(counted, key=lambda name: counted[name], default="")
    if not most or not counted[most]:
        raise UserError(
            "no column holds texts", file=tables.root, found=", ".join(candidates) or "no column", remedy="set data.text"
        )
    return {most: counted[most]}
