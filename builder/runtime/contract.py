"""What home and the notebook agree on: plan.json, and the list of datasets that carries what it names.

Expects: JSON written by `builder/plan` (the plan) and `builder/bundle` (the datasets).
Produces: frozen records; `Plan.from_json` refuses what it does not understand, naming the key.
Never: reads files, knows paths of either side, or imports anything outside the standard library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .reading import ContractError, record
from .specs import CELLS, Cells, Input, Joint

__all__ = [
    "BACKENDS",
    "BLENDS",
    "CELLS",
    "EFFORTS",
    "LATER",
    "LINKS",
    "SCHEMA",
    "Answer",
    "Carried",
    "Cells",
    "ContractError",
    "Effort",
    "Head",
    "Input",
    "Joint",
    "Plan",
    "Prefix",
    "Probe",
    "Share",
    "Source",
    "Unit",
    "datasets_from_json",
]

SCHEMA = 1
BACKENDS = ("onnxruntime", "openvino", "torchscript", "lightgbm", "xgboost")  # what can run a unit
BLENDS = ("weighted", "geometric", "rank", "vote", "stack")  # how the units of a prefix become one answer
EFFORTS = ("static", "tiers", "queue")
LINKS = ("softmax", "sigmoid", "identity")  # what makes answers of a head's outputs
BY_HEAD = ("heads", "long-heads")  # forms of an answer that have a cell for each head
LATER = ("shares", "heads")  # keys that are younger than the first plans: left out where they are empty


@dataclass(frozen=True)
class Unit:
    """One model of one fold under one view.

    Attributes:
        member: Version and model, `v003:effb0`; units of one member share their out-of-fold predictions.
        fold: The fold that this model did not see; -1 when it saw all rows.
        view: A name in views.py.
        dataset: Key of the dataset (in the dataset list) that carries the file.
        file: Name of the model file in that dataset.
        backend: What runs the file: one of BACKENDS.
        input: Its preprocessing: of an image, of cells, or of several of them.
        batch: Samples per call.
        seconds: Predicted seconds per sample, without decoding.
        load_s: Predicted seconds to load the model.
        decode_s: Predicted seconds per sample to read and decode its input; 0 when unknown.
        temperature: Divides the logarithm of this unit's own probabilities (of labels: their logits) before they are pooled.
    """

    member: str
    fold: int
    view: str
    dataset: str
    file: str
    backend: str
    input: Input | Cells | Joint
    batch: int
    seconds: float
    load_s: float
    decode_s: float = 0.0
    temperature: float = 1.0


@dataclass(frozen=True)
class Head:
    """One target of a model, with its own outputs; a model of one class per row has one head.

    Attributes:
        name: The target's column in the training table; may be empty when there is one head.
        link: One of LINKS: one class of each row, labels of which each is there or not, or numbers.
        classes: Class labels, or names of labels or targets, in the order of the outputs.
        offset, spread: Of `identity`, per output: an answer is the output times the spread plus the offset. Empty: as it is.
        decision: As that of an `Answer`, when there are several heads.
    """

    name: str
    link: str
    classes: tuple[str, ...]
    offset: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    decision: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Share:
    """How one of several heads is blended: weights and temperature as those of a `Prefix`."""

    weights: tuple[float, ...]
    temperature: float = 1.0


@dataclass(frozen=True)
class Prefix:
    """What is answered for a sample on which the first `len(weights)` units have run.

    Attributes:
        weights: One weight per unit of the prefix, summing to 1.
        temperature: Divides the logarithm of the pooled probabilities (of labels: their logits); 1 leaves them as they are.
        score: Predicted score (cross-fitted out-of-fold), None when unknown.
        shift: Of a `stack`, which adds the weighted logarithms: one number per class that is added too. Its weights are any.
        shares: Of a plan with several heads: how each is blended; `weights` are their mean then.
    """

    weights: tuple[float, ...]
    temperature: float = 1.0
    score: float | None = None
    shift: tuple[float, ...] = ()
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True)
class Effort:
    """Who gets how many units, as data; `effort.py` has the arithmetic.

    Every sample climbs the same stops; the rule says whose next climb comes first. Ranks, never thresholds: a threshold that was
    tuned at home overspends on other data, a rank spends exactly what there is.

        static  everybody reaches a stop before anybody goes on; the most doubtful first
        tiers   the same with few stops: a low prefix for all, a high one for the doubtful
        queue   by predicted gain per second, whatever the stop

    Attributes:
        kind: One of EFFORTS.
        stops: Lengths of the prefixes at which a sample may stay, ascending.
        common: How many of the stops every sample reaches before any sample goes further.
        worth: Of a queue, per stop after the first: predicted gain per second of climbing to it, on average over samples.
        doubts, shape: Of a queue: a sample with `doubts[i]` gains `shape[i]` times the average; linear in between.
    """

    kind: str
    stops: tuple[int, ...]
    common: int = 1
    worth: tuple[float, ...] = ()
    doubts: tuple[float, ...] = ()
    shape: tuple[float, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the submission file looks like.

    Attributes:
        file: Its name in the working folder.
        id: The id column.
        form: `labels` (one column of class labels), `columns` (one probability column per class), `probability` (one column: the
            probability of the last of two classes), `strings` (one column: labels separated by blanks), `numbers` (one column
            per target), `long` (one row per id and class, one column of numbers), `heads` (one column per head, of its labels or
            numbers) or `long-heads` (one row per id and head, one column of all of them).
        columns: The columns after the id, in order.
        classes: Class labels, or names of targets, in the order of the model's outputs; those of all heads.
        key_column, key: Of the long forms: the id column of the file, and how its cells are made, `{id}_{class}`.
        kinds: Of a parquet file: numpy's name for the type of the id column and of each further one, or `text`.
        decision: What makes cells of answers, the JSON values of a `decide.Decision`; None: the most probable class. Of several
            heads each has its own instead.
        heads: What the outputs are; none: one class of each row.
    """

    file: str
    id: str
    form: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    key_column: str = ""
    key: str = ""
    kinds: tuple[str, ...] = ()
    decision: Mapping[str, Any] | None = None
    heads: tuple[Head, ...] = ()

    @property
    def parts(self) -> tuple[Head, ...]:
        """The heads, at least one."""
        return self.heads or (Head("", LINKS[0], self.classes),)


@dataclass(frozen=True)
class Source:
    """Where the samples are, relative to the competition's folder.

    Attributes:
        competition: The competition's slug.
        test: The test table, `test.csv`.
        sample_submission: The sample submission, or an empty string when there is none.
        pattern: Image path with columns of the table in braces, `test_images/{image_id}.jpg`.
    """

    competition: str
    test: str
    sample_submission: str
    pattern: str


@dataclass(frozen=True)
class Probe:
    """Training rows with the answers that a member gave them at home: a commit run must give the same.

    Attributes:
        member: As units name it.
        dataset: Key of the dataset that carries both files.
        table: Name of a JSON file: {"schema": 1, "views": [names], "rows": [{"fold": the fold that predicts it, "row": {cells of
            the training table, the id included}, "image": path in the competition's folder}]}.
        values: Name of a .npy file, float32 (views, rows, outputs): the answers; NaN where there is none.
        max_abs_diff: By how much an answer may differ; numbers in units of their spread.
    """

    member: str
    dataset: str
    table: str
    values: str
    max_abs_diff: float


@dataclass(frozen=True)
class Plan:
    """An ordered list of units and, for each prefix of it, how to blend. The clock decides how far down each sample gets.

    Attributes:
        max_fallback: Share of samples without any answer above which a commit run fails; a rerun goes on.
        probes: What a commit run predicts before anything else.
        effort: Who gets how many units; None: everybody one after the other.
        blend: How the units of a prefix become one answer, one of BLENDS.
        references: Of a `rank` blend: per "member view" (one blank between) and output, ascending probabilities that a rank
            is counted among.
    """

    kernel: str
    task: str
    metric: str
    accelerator: str
    limit_s: float
    reserve: float
    source: Source
    answer: Answer
    units: tuple[Unit, ...]
    prefixes: tuple[Prefix, ...]
    prior: tuple[float, ...]
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA
    expected: Mapping[str, Any] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    max_fallback: float = 0.1
    effort: Effort | None = None
    blend: str = "weighted"
    references: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json(to_json())` is equal to the plan."""
        return dict(_plain(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Plan:
        """The plan in `raw`. Raises ContractError for another schema, unknown keys or an impossible plan."""
        found = raw.get("schema") if isinstance(raw, Mapping) else None
        if found != SCHEMA:
            raise ContractError(f"plan: found schema {found!r}, this runtime reads schema {SCHEMA}; run `kkb plan` again")
        plan: Plan = record(cls, raw)
        plan.check()
        return plan

    def check(self) -> None:
        """Raise ContractError when the plan contradicts itself."""
        from .contradictions import refuse  # it knows this module

        refuse(self)


@dataclass(frozen=True)
class Carried:
    """One dataset as the notebook looks for it.

    Attributes:
        key: What units call it.
        owner, slug: Its handle on Kaggle.
        files: File name -> sha256.
    """

    key: str
    owner: str
    slug: str
    files: Mapping[str, str]


def datasets_from_json(raw: Any) -> dict[str, Carried]:
    """Key -> dataset, from the notebook's dataset list."""
    return {one.key: one for one in (record(Carried, item, f"datasets[{index}]") for index, item in enumerate(raw))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item or name not in LATER}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
