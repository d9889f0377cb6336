"""The tables of kernel.toml, `[[model]]` left out. What one of them cannot know of another is checked in `fitting.py`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator

from builder.config.values import Bytes, Fraction, Inside, Seconds, Section, Target, slug_like

Task = Literal["image-classification", "text-classification", "tabular-classification"]
TASKS: tuple[Task, ...] = get_args(Task)
IMAGES, TEXTS, TABLES = TASKS
GROUPED = ("group", "stratified-group")  # schemes of folds that keep the rows of a group together

Column = Annotated[str, Field(min_length=1)]
Truth = Literal["classes", "multilabel", "numbers"]  # as metrics call them
Mixable = Literal["classes", "numbers"]


class Competition(Section):
    """`[competition]`: what is submitted, where, under which limit; `test_rows`: hidden samples, 0 when unknown.

    Attributes:
        slug: The end of the competition's address.
        kind: What is handed in: a notebook that Kaggle runs again.
        file: The submission that the notebook writes, in /kaggle/working.
        limit: Longest run, from the competition's Code Requirements: Kaggle's API does not tell it.
        machine: Image and hardware of the run.
        test_rows: Samples of the hidden test set, which plan and forecast count with; 0: unknown.
        metric: Its name; several targets with classes, or with classes and numbers, may have one each,
            `kind=accuracy, price=r2`: the score is their mean, in which a metric that falls counts as its negative beside one
            that rises.
    """

    slug: Annotated[str, AfterValidator(slug_like)]
    metric: str = "accuracy"
    kind: Literal["notebook"] = "notebook"
    file: Inside = "submission.csv"
    limit: Seconds = 9 * 3600.0
    machine: str = "t4x2"
    test_rows: int = Field(default=0, ge=0)


class Data(Section):
    """`[data]`: the competition's files. Paths are relative to `root`.

    Attributes:
        root: The folder of the competition's files; left out: `.kkb/data/SLUG`, where `kkb fetch` puts them.
        task: What a sample is, and what is asked of it.
        train, test: The tables, .csv or .parquet.
        sample_submission: Decides rows and columns of the submission.
        id: The column that names a sample, in all tables.
        target: The column that is predicted, or several.
        truth: What it holds: one class of each row (of several columns each has classes of its own), labels that are there or not
            (0 or 1 in several columns, or names separated by blanks in one), or numbers. Where some of several columns have
            classes and others numbers, a table tells it for each, `{ kind = "classes", price = "numbers" }`; a column that it
            leaves out has classes, and so has one of 0 and 1.
        image, test_image: Patterns of image files, such as `train_images/{id}.png`.
        text: Columns that hold the texts.
        columns: Columns of a table that models may read; none: all of the test table but the id and the group.
        group: Rows with the same value here stay in one fold.
        time: When a row was: folds are predicted from earlier rows only.
    """

    later: ClassVar[frozenset[str]] = frozenset({"text", "columns", "group", "time", "truth"})

    root: str = ""
    task: Task = IMAGES
    train: Inside = "train.csv"
    test: Inside = "test.csv"
    sample_submission: Inside = "sample_submission.csv"
    id: str = ""
    target: Target = ""
    truth: Truth | dict[Column, Mixable] = "classes"
    image: Inside = ""
    test_image: Inside = ""
    text: tuple[Column, ...] = ()
    columns: tuple[Column, ...] = ()
    group: str = ""
    time: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are predicted; none while nobody knows them."""
        if isinstance(self.target, str):
            return (self.target,) if self.target else ()
        return self.target

    @field_validator("truth", mode="before")
    @classmethod
    def _known(cls, truth: object) -> object:
        """One message, and not one for each of the two ways to say it."""
        if isinstance(truth, dict):
            odd = [kind for kind in truth.values() if kind not in get_args(Mixable)]
            if odd:
                raise ValueError(
                    f"found {odd[0]!r}, expected 'classes' (also of a column of 0 and 1) or 'numbers' for each target"
                )
        elif truth not in get_args(Truth):
            raise ValueError(f"found {truth!r}, expected {', '.join(map(repr, get_args(Truth)))}, or a table of targets")
        return truth

    @field_validator("truth")
    @classmethod
    def _of_targets(cls, truth: Truth | dict[str, Mixable], info: ValidationInfo) -> Truth | dict[str, Mixable]:
        """A table tells of every target, in their order; one word, where all are of one kind."""
        if isinstance(truth, str):
            return truth
        target = info.data.get("target", "")
        targets = [target] if isinstance(target, str) else list(target)
        strange = [name for name in truth if name not in targets]
        if strange:
            raise ValueError(f"found {strange[0]!r}, expected names of data.target: {', '.join(targets) or 'there is none'}")
        told: dict[str, Mixable] = {name: truth.get(name, "classes") for name in targets}
        kinds = set(told.values())
        return kinds.pop() if len(kinds) == 1 else told if kinds else "classes"

    @property
    def truths(self) -> tuple[str, ...]:
        """The kind of truth of each target."""
        table = self.truth
        return (table,) * len(self.targets) if isinstance(table, str) else tuple(table[name] for name in self.targets)

    @property
    def mixed(self) -> bool:
        """Whether some targets have classes and others numbers."""
        return not isinstance(self.truth, str)

    @property
    def headed(self) -> bool:
        """Whether there are several targets, each of which has answers, a blend and a metric of its own."""
        return self.mixed or (self.truth == "classes" and len(self.targets) > 1)

    @property
    def needed(self) -> tuple[str, ...]:
        """The keys that only the competition's files can tell."""
        return ("id", "target", *{IMAGES: ("image", "test_image"), TEXTS: ("text",), TABLES: ()}[self.task])

    @property
    def complete(self) -> bool:
        """True when nothing is left to propose."""
        return all(getattr(self, key) for key in self.needed)


class CrossValidation(Section):
    """`[cv]`: how folds are made.

    Attributes:
        scheme: `stratified` by the target; `group` and `stratified-group` need `data.group`, `time` needs `data.time`.
        folds: How many.
        seed: Of their shuffling.
    """

    scheme: Literal["stratified", "random", "group", "stratified-group", "time"] = "stratified"
    folds: int = Field(default=5, ge=2, le=50)
    seed: int = 0


class Train(Section):
    """`[train]`: the recipe. The defaults are those of images; `recipe_for` knows those of other models.

    Attributes:
        epochs: Passes over the rows of a fold.
        batch_size: Samples of a step.
        lr: The highest learning rate.
        weight_decay: Of the optimiser.
        layer_decay: Of pretrained networks: each layer learns at this share of the rate of the next one; 1: all alike.
        label_smoothing: Share of each label that is spread over all classes.
        augment: What may happen to a training image; leave out what changes its label.
        seed: Of weights, order and augmentation.
    """

    later: ClassVar[frozenset[str]] = frozenset({"layer_decay"})

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=64, ge=2)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    augment: tuple[Literal["shift", "hflip", "vflip", "rot90"], ...] = ("shift",)
    seed: int = 0


class Export(Section):
    """`[export]`: the portable form and the gates it must pass.

    Attributes:
        format: ONNX, or TorchScript for what ONNX cannot say.
        precision: `auto`: fp16 on a GPU, fp32 on a CPU. `int8` is dynamic, `int8-static` calibrated on training rows.
        max_abs_diff: Largest difference of a probability from its source; left out: what the precision allows.
        max_score_drop: Largest loss in the competition's metric on out-of-fold rows.
    """

    format: Literal["onnx", "torchscript"] = "onnx"
    precision: Literal["auto", "fp32", "fp16", "int8", "int8-static"] = "auto"
    max_abs_diff: float | None = Field(default=None, gt=0)
    max_score_drop: float = Field(default=0.0005, ge=0)


class Inference(Section):
    """`[inference]`: what the plan may choose from.

    Attributes:
        members: `version:model` or `version:*`, of versions with equal row ids; left out: the newest version.
        views: Offered to the plan, which keeps those that are worth their seconds.
        backend: What runs an ONNX export; `auto`: onnxruntime.
        blend: How units become one answer; `auto`: what the planner finds best out of fold.
        reserve: Share of the limit that is kept back.
    """

    members: tuple[str, ...] = ()
    views: tuple[str, ...] = ("identity",)
    backend: Literal["auto", "onnxruntime", "openvino"] = "auto"
    blend: Literal["auto", "mean", "weighted", "geometric", "rank", "vote", "stack"] = "auto"
    reserve: Fraction = 0.05

    @field_validator("members")
    @classmethod
    def _readable(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        for member in members:
            if not re.fullmatch(r"v\d{3,}:[a-z0-9*-]+", member):
                raise ValueError(f"found {member!r}, expected version:model, such as v003:effb0 or v003:*")
        return members

    @field_validator("views")
    @classmethod
    def _identity_first(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        if "identity" not in views or len(set(views)) != len(views):
            raise ValueError(f"found {list(views)}, expected different views, 'identity' among them")
        return ("identity", *(view for view in views if view != "identity"))


class Bundle(Section):
    """`[bundle]`: how weights travel, and the packages that the image lacks.

    Attributes:
        requirements: Packages that your hooks need and the image lacks; their wheels travel.
        licence: Of every new dataset.
        private: Whether new datasets are.
        carrier: A Kaggle dataset, or a Kaggle Model. The key is `as`, a word that Python keeps for itself.
        collaborators: Users who may see every new dataset.
        taken: Slugs that other content has on Kaggle, such as an upload that went wrong: ours take the next name.
        wheels: False ships none: for a kernel whose machine has all it needs, such as the stand-in's.
        split: Bytes over which the folds of one model are spread over several datasets.
    """

    model_config = ConfigDict(populate_by_name=True)

    carrier: Literal["dataset", "model"] = Field(default="dataset", alias="as")
    collaborators: tuple[str, ...] = ()
    wheels: bool = True
    requirements: tuple[str, ...] = ()
    split: Bytes = 20_000_000_000
    taken: tuple[str, ...] = ()
    licence: str = "CC0-1.0"
    private: bool = True
