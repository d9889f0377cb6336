"""A kernel with tiny weights: its own kernel.toml and hooks.py, a competition made of noise, models that train in seconds.

What a pull request can break without touching a weight (kernel.toml, hooks.py, the plan, the notebook, an upgrade of kkb) breaks
here, too, and nothing of it needs credentials, a GPU, or the competition's data.

Expects: a kernel folder, and what git keeps of it: its plan, and the recipes of its versions.
Produces: a workspace with that kernel, shrunk, and the two parts of a competition that looks like its own.
Never: reads weights or data of the kernel; writes into its workspace.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import config as configs
from builder.ci import noise
from builder.ci.noise import SIDE
from builder.config import GROUPED, IMAGES, TABLES, TEXTS
from builder.config.kinds import TOKENS, kind_beside
from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS, OWN
from builder.runtime.contract import Plan
from builder.runtime.reading import ContractError
from builder.workspace import Workspace, read_json, write_text

if TYPE_CHECKING:
    from builder.config import Config, Data

BACKBONE = "timm/test_resnet"
LIMIT = "20min"
KEPT_INPUT = ("resize", "interpolation", "library", "color")
RECURRENT = {"embedding": 8, "width": 8}  # arguments of a network of words
VOCABULARY = 300
SCORED_BY = {CLASSES: "accuracy", MULTILABEL: "f1_micro", NUMBERS: "mae"}  # kind of truth -> a metric that every form has


@dataclass(frozen=True)
class Tiny:
    """Where it all lies: the workspace with the kernel, what competitors see, and what only the scorer sees.

    Attributes:
        metric: By which a stand-in scores, which knows no function of the user's own.
    """

    workspace: Workspace
    data: Path
    hidden: Path
    metric: str


def make(kernel: Path, folder: Path) -> Tiny:
    """Write the shrunk kernel and its competition below the empty `folder`.

    Raises UserError when kernel.toml is not right, or leaves open what the competition looks like.
    """
    config = configs.load(kernel)
    if not config.data.complete:
        raise UserError(
            "kernel.toml leaves open what only the competition's files can tell",
            file=kernel / configs.FILE,
            expected=f"[data] {', '.join(config.data.needed)}",
            remedy=f"kkb fetch {kernel.name}, and commit kernel.toml",
        )
    plan = _plan(kernel)
    facts = noise.Facts(plan.answer if plan else None, _columns(config, kernel, plan))
    metric = config.competition.metric
    metric = _plain(config.data) if OWN in metric else metric
    tiny = Tiny(Workspace(folder / "space"), folder / "data", folder / "hidden", metric)
    noise.write(config, facts, tiny.data, tiny.hidden)
    target = tiny.workspace.kernels / kernel.name
    write_text(target / configs.FILE, shrunk(kernel, config))
    for path in sorted(kernel.glob("*.py")):
        shutil.copyfile(path, target / path.name)
    return tiny


def _plain(data: Data) -> str:
    """A metric that scores what the kernel predicts, of every form."""
    if isinstance(data.truth, str):
        return SCORED_BY[data.truth]
    return ", ".join(f"{name}={SCORED_BY[kind]}" for name, kind in zip(data.targets, data.truths, strict=True))


def _plan(kernel: Path) -> Plan | None:
    """The committed plan; None without one."""
    path = kernel / "plan.json"
    try:
        return Plan.from_json(read_json(path, remedy=f"kkb plan {kernel.name}")) if path.is_file() else None
    except (ContractError, KeyError, TypeError):  # `kkb render --check` says what is wrong with it
        return None


def _columns(config: Config, kernel: Path, plan: Plan | None) -> dict[str, Sequence[str]]:
    """What the columns that models read may say: of a table, as the plan's own recipe knows them.

    Raises UserError where nothing tells the columns, and hooks.py may ask for some of them by name.
    """
    data = config.data
    texts: dict[str, Sequence[str]] = dict.fromkeys(data.text, noise.TEXTS)
    if data.task != TABLES and not data.columns:
        return texts
    known = {name: cells for recipe in _recipes(kernel, plan) for name, cells in _said(recipe).items()}
    names = data.columns or tuple(known)
    hooked = (kernel / "hooks.py").is_file()
    if not names and hooked:
        raise UserError(
            "nothing here tells the columns of the table, which hooks.py may ask for",
            file=kernel / configs.FILE,
            expected="[data] columns, or a plan and its version's recipe.json in git",
            remedy=f"kkb plan {kernel.name}, and commit kernels/ and weights/; or name them in data.columns",
        )
    open_ = [noise.EITHER] if hooked else [noise.NUMBERS, noise.CATEGORIES]
    cells = {name: known.get(name, open_[place % len(open_)]) for place, name in enumerate(names or ("number", "word"))}
    return texts | cells


def _recipes(kernel: Path, plan: Plan | None) -> Iterator[Mapping[str, Any]]:
    """What was fitted to the table's cells for the members of the plan, as far as it is here."""
    weights = Workspace(kernel.parent.parent).weights(kernel.name)
    for member in sorted({unit.member for unit in plan.units} if plan else ()):
        version, _, model = member.partition(":")
        for path in sorted((weights / version / "source" / model).rglob("recipe.json")):
            found = read_json(path, remedy="git checkout weights")
            if isinstance(found, dict):
                yield found


def _said(recipe: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Column -> what its cells may say: categories that the recipe knows, numbers or dates; of others either will do."""
    said: dict[str, Sequence[str]] = {str(column): noise.EITHER for column in recipe.get("columns", ())}
    for feature in recipe.get("features", ()):
        column, part = str(feature.get("column")), str(feature.get("part"))
        if column not in said:  # one that a hook makes
            continue
        if part == "text" and feature.get("values"):
            said[column] = (*map(str, feature["values"][:4]), "")
        elif part == "number" or part.startswith("year "):
            said[column] = noise.NUMBERS if part == "number" else noise.DATES
    return said


def shrunk(kernel: Path, config: Config) -> str:
    """kernel.toml with its models replaced by tiny ones and its limits by small ones; everything else as it is."""
    import tomlkit

    raw: dict[str, Any] = tomlkit.parse((kernel / configs.FILE).read_text("utf-8-sig")).unwrap()
    raw["competition"] = {**raw["competition"], "limit": LIMIT, "machine": "cpu"}
    raw["competition"].pop("test_rows", None)
    raw.setdefault("data", {}).pop("root", None)
    scheme = config.cv.scheme if config.cv.scheme in {*GROUPED, "time"} else "stratified"
    raw["cv"] = {"scheme": scheme, "folds": 2}
    raw["train"] = {"epochs": 1, "batch_size": 16}
    raw["model"] = [_tiny_model(model, config.data.task) for model in config.model]
    raw.setdefault("export", {})["max_score_drop"] = 1.0  # the score of tiny weights is chance
    raw.setdefault("inference", {}).pop("members", None)
    bundle = {key: value for key, value in raw.get("bundle", {}).items() if key in {"as", "licence", "private"}}
    raw["bundle"] = {**bundle, "wheels": False}
    return tomlkit.dumps(raw)


def _tiny_model(model: configs.Model, task: str) -> dict[str, Any]:
    """A model of the same kind; one that is fitted at once, or made of a table, is tiny where the data are."""
    text = {**model.text.model_dump(exclude_unset=True), "vocabulary": VOCABULARY}
    also: dict[str, Any] = {"beside": [_light(backbone) for backbone in model.beside]} if model.beside else {}
    if task == IMAGES:
        kept = {key: getattr(model.input, key) for key in KEPT_INPUT}
        also |= {"text": text} if any(kind_beside(backbone) == TOKENS for backbone in model.beside) else {}
        return {"name": model.name, "backbone": BACKBONE, "pretrained": False, "input": {"size": SIDE, **kept}, **also}
    if task == TEXTS and model.backbone != "text/linear":
        return {"name": model.name, "backbone": _light(model.backbone), "arguments": RECURRENT, "text": text, **also}
    return {"name": model.name, "backbone": model.backbone, "arguments": model.arguments}


def _light(backbone: str) -> str:
    """A network for texts that needs no folder."""
    return "text/lstm" if backbone.startswith("hf/") else backbone
