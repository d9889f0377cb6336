"""What learns: one `[[model]]` of kernel.toml on the competition's training rows, whatever they are made of.

Expects: checked training rows, and what the model is built from.
Produces: fitted models that answer rows they are shown, and files that hold them; what a version must know of the model.
Never: reads the labels of rows that it is not told to learn from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import images, models
from builder.config.kinds import recipe_for, views_for
from builder.errors import UserError
from builder.networks import joined, making
from builder.progress import Report, silent
from builder.runtime import joint
from builder.runtime.contract import Cells, Input, Joint
from builder.shown import Pixels, Read, Several, Shown, ports_of
from builder.train import fit, sources
from builder.train.fitted import Fitted, Network, Trees
from builder.workspace import Workspace

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.competition import Rows
    from builder.config import Config, Model
    from builder.runtime.contract import Head

    Picks = NDArray[np.int64]
    Told = Callable[[int, float], None]

WEIGHTS = ".safetensors"
TRIED = 8  # rows that a network which was brought along is asked first


@dataclass(frozen=True)
class Given:
    """What a learner is made from."""

    config: Config
    model: Model
    rows: Rows
    root: Path
    workspace: Workspace
    name: str
    report: Report = silent
    features: int = 0  # what it answers with in place of logits, as one of several inputs of a model

    @property
    def classes(self) -> int:
        """How many outputs it has, those of all heads."""
        return self.features or len(self.rows.classes)

    @property
    def heads(self) -> tuple[Head, ...]:
        """What its outputs are."""
        return self.rows.heads

    @property
    def source(self) -> Path | None:
        """Where the model's own code or configuration lies."""
        return sources.folder_of(self.model, self.workspace, self.name)

    @property
    def names(self) -> Sequence[str]:
        """Of its views."""
        return views_for(self.config, self.model)


class Learner(ABC):
    """One `[[model]]`.

    Attributes:
        given: What it is made from.
        suffix: Of the files that hold its weights.
        steps: How many times it tells of its progress.
    """

    suffix = WEIGHTS

    def __init__(self, given: Given) -> None:
        self.given = given
        self.steps = recipe_for(given.config, given.model).epochs

    @property
    def name(self) -> str:
        return self.given.model.name

    @property
    @abstractmethod
    def input(self) -> Input | Cells | Joint:
        """How its rows are read."""

    @property
    @abstractmethod
    def shown(self) -> Shown:
        """All training rows, under every view."""

    @abstractmethod
    def check(self) -> None:
        """Raise UserError for whatever can be wrong before anything is trained."""

    def try_out(self, module: torch.nn.Module) -> None:
        """Raise UserError unless a network answers the first rows as it must, under every view."""
        some = np.arange(min(TRIED, len(self.shown)))
        for view in self.given.names:
            found = models.predicted(module, self.shown, some, view, self.given.heads)
            if found.shape != (len(some), self.given.classes) or not np.isfinite(found).all():
                raise UserError(
                    f"{self.given.model.backbone} does not answer with finite logits",
                    found=f"answers of shape {found.shape} under view '{view}', such as {found[0].tolist()[:5]}",
                    expected=f"{self.given.classes} finite numbers for each row",
                    remedy="check the weights",
                )

    def fit(self, rows: Picks, seed: int, told: Told) -> Fitted:
        """A model that learned from `rows` alone."""
        module = self.network(seed, pretrained=self.given.model.pretrained)
        recipe = recipe_for(self.given.config, self.given.model)
        heads = self.given.heads
        device = fit.fit(module, self.shown, self.given.rows.y, rows, heads, recipe, seed, told)
        return Network(module.cpu(), heads, device)

    @abstractmethod
    def network(self, seed: int, *, pretrained: bool) -> torch.nn.Module:
        """The module, its initial weights drawn from `seed`: they must not depend on what was trained before."""

    def load(self, path: Path) -> Fitted:
        """The model that `save` wrote."""
        module = self.network(0, pretrained=False)
        models.load_weights(module, path)
        return Network(module, self.given.heads)

    def keep(self, to: Path) -> dict[str, str]:
        """Copy what it is built from into a folder, the version's source/<model>/; path in it -> sha256."""
        return sources.keep(self.given.model, self.given.source, to)

    def facts(self) -> dict[str, Any]:
        """What a version says of its arithmetic and licence."""
        return {"mean": (), "std": (), "licence": ""}


class OfImages(Learner):
    """A network on decoded images."""

    @property
    def input(self) -> Input:
        """From kernel.toml, and from the weights' own data config."""
        return sources.shape_of(self.given.model, self.given.source)[0]

    @cached_property
    def shown(self) -> Pixels:
        """Decoded once, mapped from a file."""
        g = self.given
        found = images.seen(g.rows.paths, self.input, g.names, root=g.root, cache=g.workspace.cache, report=g.report)
        return Pixels(found)

    def check(self) -> None:
        """Whether the network takes its images, at every size that a view shows it; and whether all images can be read."""
        self.try_out(self.network(0, pretrained=False))
        _ = self.shown

    def try_out(self, module: torch.nn.Module) -> None:
        """On images of noise, of every size that a view shows."""
        g, called = self.given, self.given.model.build or self.given.model.backbone
        models.check(module, self.input.height, self.input.width, g.classes, called, g.source)
        models.check_views(module, self.input, g.names, g.classes, called, g.source)

    def network(self, seed: int, *, pretrained: bool) -> torch.nn.Module:
        """timm's, a Hugging Face folder's or the user's own, behind its pixel arithmetic."""
        import torch

        torch.manual_seed(seed)
        g = self.given
        made: torch.nn.Module = sources.network(g.model, g.classes, g.source, pretrained=pretrained)
        return made

    def facts(self) -> dict[str, Any]:
        """Mean and std, and the licence of pretrained weights."""
        g = self.given
        _, mean, std = sources.shape_of(g.model, g.source)
        licence = models.data_config(g.model.backbone, g.source)["licence"] if g.model.pretrained else ""
        return {"mean": mean, "std": std, "licence": licence}


class OfCells(Learner):
    """A network, a linear model or trees on cells that a recipe reads."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        backbone = given.model.backbone
        self.trees = making.TREES.get(backbone, "")
        self.linear = backbone == "text/linear"
        if self.trees or self.linear:
            self.steps = 1
        if self.trees:
            self.suffix = {"lightgbm": ".lgb.txt", "xgboost": ".xgb.json"}[self.trees]

    @cached_property
    def prepared(self) -> sources.Prepared:
        """The recipe, and its reader."""
        g = self.given
        return sources.prepared(g.config, g.model, g.rows, g.root, g.workspace, g.name)

    @property
    def input(self) -> Cells:
        """Named by the recipe's content."""
        return self.prepared.input

    @cached_property
    def shown(self) -> Read:
        """Read once."""
        self.given.report(0, None, f"{self.name}: read {len(self.given.rows.cells)} rows")
        return Read(self.prepared.read(self.given.rows.cells))

    def check(self) -> None:
        """Whether the recipe can be made, and the network built; arguments of trees are looked at when they grow."""
        g = self.given
        making.refuse_arguments(g.model.backbone, g.model.arguments)
        if self.linear:
            from builder.train import linear

            linear.checked(g.model.arguments, g.heads)
        _ = self.shown
        if not self.trees:
            self.network(0, pretrained=False)

    def fit(self, rows: Picks, seed: int, told: Told) -> Fitted:
        """By the library's own solver where there is one."""
        if not self.trees and not self.linear:
            return super().fit(rows, seed, told)
        g, recipe = self.given, self.prepared.recipe
        material: Any = self.shown.material  # of the kind that the recipe says
        learned = (recipe, material, g.rows.y, rows, g.heads, seed, g.model.arguments)
        if self.trees:
            from builder.train import boosting

            made: Fitted = Trees(boosting.fit(self.trees, *learned), g.heads)
        else:
            from builder.train import linear

            made = Network(linear.fit(*learned), g.heads)
        told(1, float("nan"))
        return made

    def network(self, seed: int, *, pretrained: bool) -> torch.nn.Module:
        """As `networks.making` builds it."""
        import torch

        torch.manual_seed(seed)
        g, link = self.given, self.given.heads[0].link
        recipe = self.prepared.recipe
        return making.make(
            g.model.backbone, g.model.arguments, recipe, g.classes, folder=g.source, pretrained=pretrained, link=link
        )

    def load(self, path: Path) -> Fitted:
        """From the library's own text form, for trees."""
        if not self.trees:
            return super().load(path)
        from builder.train import boosting

        return Trees(boosting.load(path), self.given.heads)

    def keep(self, to: Path) -> dict[str, str]:
        """The recipe, and what a Hugging Face folder has beside its weights."""
        return self.prepared.keep(to) | sources.keep(self.given.model, self.given.source, to, "text")


class OfSeveral(Learner):
    """A network of several inputs, each read and answered as by a model of its own."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        first, *others = (replace(given, model=part, features=joined.FEATURES) for part in sources.parts(given.model))
        self.parts: tuple[OfImages | OfCells, ...] = (plain(first), *map(OfCells, others))

    @cached_property
    def input(self) -> Joint:
        """The inputs of all; recipes lie where `keep` puts them."""
        places = [f"{place}/" if (place := sources.place_of(number)) else "" for number in range(len(self.parts))]
        found = zip(places, (part.input for part in self.parts), strict=True)
        return Joint(tuple(replace(one, recipe=place + one.recipe) if isinstance(one, Cells) else one for place, one in found))

    @cached_property
    def shown(self) -> Several:
        """As each of its parts is shown them."""
        return Several(tuple(part.shown for part in self.parts), joint.leading(self.input.parts))

    def check(self) -> None:
        """Whether each of its networks takes what it is shown, and all of them together do."""
        for part in self.parts:
            part.check()
        self.try_out(self.network(0, pretrained=False))

    def network(self, seed: int, *, pretrained: bool) -> torch.nn.Module:
        """The networks of its parts, joined."""
        import torch

        networks = [part.network(seed, pretrained=pretrained) for part in self.parts]
        torch.manual_seed(seed)
        return joined.join(networks, [len(ports_of(part.input)) for part in self.parts], self.given.classes)

    def keep(self, to: Path) -> dict[str, str]:
        """What each of its parts keeps, in a folder of its own."""
        kept: dict[str, str] = {}
        for number, part in enumerate(self.parts):
            place = sources.place_of(number)
            kept |= {(Path(place) / name).as_posix(): digest for name, digest in part.keep(to / place).items()}
        return kept

    def facts(self) -> dict[str, Any]:
        """Those of its backbone."""
        return self.parts[0].facts()


def plain(given: Given) -> OfImages | OfCells:
    """The learner of a `[[model]]` with one input."""
    return OfImages(given) if given.config.data.task.startswith("image") else OfCells(given)


def of(given: Given) -> Learner:
    """The learner of a `[[model]]`."""
    return OfSeveral(given) if given.model.beside else plain(given)
