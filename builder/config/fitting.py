"""What the tables of a kernel.toml must know of each other: that keys, models, folds and views are those of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import config_faults
from builder.config.kinds import TABLE, TOKENS, kind_beside, kind_of, kinds_of
from builder.config.sections import GROUPED, IMAGES, TABLES, TEXTS
from builder.errors import nearest
from builder.metrics import CLASSES, MULTILABEL, NUMBERS

if TYPE_CHECKING:
    from builder.config import Config
    from builder.config.models import Model

# Task -> library -> its names; none: whatever the library knows.
BACKBONES: dict[str, dict[str, tuple[str, ...]]] = {
    IMAGES: {"timm": (), "hf": ()},
    TEXTS: {"text": ("linear", "lstm", "gru"), "hf": ()},
    TABLES: {"table": ("lightgbm", "xgboost", "mlp")},
}
# Task -> what may stand beside a backbone.
BESIDE: dict[str, dict[str, tuple[str, ...]]] = {
    IMAGES: {"table": ("mlp",), "text": ("lstm", "gru"), "hf": ()},
    TEXTS: {"table": ("mlp",)},
    TABLES: {},
}
EXAMPLES = {"timm": "timm/<architecture>, such as timm/efficientnet_b0", "hf": "hf/<folder>"}
READ_BY = {"image": IMAGES, "test_image": IMAGES, "text": TEXTS, "columns": TABLES}  # key of [data] -> its task
READ_BESIDE = {"text": TOKENS, "columns": TABLE}  # key of [data] -> what reads it beside another backbone
SEVERAL, MIXED = f"several {CLASSES}", "classes and numbers"
# What is answered -> blends that it has not: votes and ranks are those of classes.
UNBLENDED = {
    MULTILABEL: ("vote", "stack"),
    NUMBERS: ("geometric", "rank", "vote", "stack"),
    **dict.fromkeys((SEVERAL, MIXED), ("geometric", "rank", "vote", "stack")),
}
LAYERLESS = ("text/lstm", "text/gru", "table/mlp")
fault = config_faults.unfit


def check(config: Config) -> None:
    """Raise pydantic's error for the first key that does not fit another one."""
    _check_data(config)
    _check_folds(config)
    for number, model in enumerate(config.model):
        _check_model(config, model, f"model.{number}")
    if config.data.task != IMAGES and config.train.augment and "augment" in config.train.model_fields_set:
        raise _foreign(config, "train.augment", list(config.train.augment), IMAGES)
    for view in config.inference.views:
        _check_view(config, view)
    _check_truth(config)


def _foreign(config: Config, key: str, value: object, task: str) -> Exception:
    return fault(
        key,
        f"{value!r} in a kernel of {config.data.task}",
        f"nothing: it is a key of {task}",
        f'remove it, or set data.task = "{task}"',
    )


def _check_data(config: Config) -> None:
    data = config.data
    read = {kind_beside(backbone) for model in config.model for backbone in model.beside}
    for key, task in READ_BY.items():
        if getattr(data, key) and data.task != task and READ_BESIDE.get(key) not in read:
            raise _foreign(config, f"data.{key}", getattr(data, key), task)
    for key in ("text", "columns"):
        names = getattr(data, key)
        if len(set(names)) < len(names):
            raise fault(f"data.{key}", list(names), "different columns")
        for target in set(data.targets) & set(names):
            raise fault(f"data.{key}", f"the target, {target!r}", "columns that the test table has, too")
    for key in ("group", "time"):
        if getattr(data, key) in data.targets:
            raise fault(f"data.{key}", f"the target, {getattr(data, key)!r}", "another column")
    if len(set(data.targets)) < len(data.targets) or data.id in data.targets:
        raise fault("data.target", list(data.targets), "different columns, and not the id")


def _check_truth(config: Config) -> None:
    """What cannot blend, or be smoothed, of answers that are more than one class of each row."""
    data, blend = config.data, config.inference.blend
    kind = data.truth if isinstance(data.truth, str) else MIXED
    aim = f"several {kind}" if kind == CLASSES and len(data.targets) > 1 else kind
    if blend in UNBLENDED.get(aim, ()):
        raise fault("inference.blend", f"{blend!r} for {aim}", '"auto", "mean" or "weighted"')
    if data.truth == NUMBERS and config.train.label_smoothing and "label_smoothing" in config.train.model_fields_set:
        found = f"{config.train.label_smoothing:g} where data.truth is numbers"
        raise fault("train.label_smoothing", found, "nothing: numbers are no labels", "remove it")


def _check_folds(config: Config) -> None:
    for key, schemes in (("group", GROUPED), ("time", ("time",))):
        column, scheme = getattr(config.data, key), config.cv.scheme
        if scheme in schemes and not column:
            raise fault(
                "cv.scheme", f"{scheme!r} without data.{key}", f"a column that tells the {key} of each row", f"set data.{key}"
            )
        if column and scheme not in schemes:
            raise fault(
                f"data.{key}",
                f"{column!r} with cv.scheme = {scheme!r}, which does not look at it",
                f"cv.scheme = {' or '.join(map(repr, schemes))}",
                f'set cv.scheme = "{schemes[-1]}", or remove data.{key}',
            )


def _check_model(config: Config, model: Model, key: str) -> None:
    task, kinds = config.data.task, kinds_of(config, model)
    if model.backbone:
        _check_backbone(task, model.backbone, f"{key}.backbone", BACKBONES[task])
    if model.beside:
        _check_beside(config, model, f"{key}.beside")
    if task != IMAGES:
        texts = task == TEXTS and model.backbone.startswith("hf/")  # networks of texts that can be brought along
        for name in ("build", "input", *(() if texts else ("checkpoints",))):
            if name in model.model_fields_set and getattr(model, name):
                raise _foreign(config, f"{key}.{name}", name, IMAGES)
    if config.train.layer_decay != 1 and model.backbone in LAYERLESS:
        what = f"{config.train.layer_decay:g} with {model.backbone!r}"
        raise fault("train.layer_decay", what, "networks with layers: of timm's, or of a Hugging Face folder", "remove it")
    if task != TEXTS and TOKENS not in kinds and "text" in model.model_fields_set:
        raise _foreign(config, f"{key}.text", "text", TEXTS)
    if model.backbone == "text/linear" and model.text.model_fields_set:
        raise fault(f"{key}.text", "tokens for text/linear", "nothing: it counts all terms of a text", "remove it")
    reading = next((name for name, kind in zip((model.backbone, *model.beside), kinds, strict=True) if kind == TOKENS), "")
    if reading.startswith("hf/") and "vocabulary" in model.text.model_fields_set:
        found, expected = model.text.vocabulary, "nothing: a Hugging Face folder has its own tokenizer"
        raise fault(f"{key}.text.vocabulary", found, expected, "remove it")


def _check_beside(config: Config, model: Model, key: str) -> None:
    """What stands beside a backbone must be something that the backbone does not read, and that [data] names."""
    data, kinds = config.data, kinds_of(config, model)
    alone = next((name for name in ("build", "checkpoints") if getattr(model, name)), "")
    if not BESIDE[data.task] or alone or model.backbone == "text/linear":
        who = f"{alone} = {getattr(model, alone)!r}" if alone else f"{model.backbone!r} in a kernel of {data.task}"
        expected = "a network for images or texts that is trained here"
        raise fault(key, f"{list(model.beside)} beside {who}", expected, "remove beside, or choose another backbone")
    for backbone in model.beside:
        _check_backbone(data.task, backbone, key, BESIDE[data.task])
    if len(set(kinds)) < len(kinds):
        raise fault(key, list(model.beside), "one network for each further kind of input")
    for backbone, kind in zip(model.beside, kinds[1:], strict=True):
        named = next(name for name, read in READ_BESIDE.items() if read == kind)
        if not getattr(data, named):
            found, expected = f"{backbone!r} without data.{named}", f"data.{named}, the columns that it reads"
            raise fault(key, found, expected, f"set data.{named}")
    if config.train.layer_decay != 1:
        found, expected = f"{config.train.layer_decay:g} with {key}", "one network, whose layers have an order"
        raise fault("train.layer_decay", found, expected, "remove it")


def _check_backbone(task: str, backbone: str, key: str, fitting: dict[str, tuple[str, ...]]) -> None:
    """`fitting`: library -> its names that may stand there; none: whatever the library knows."""
    library, _, name = backbone.partition("/")
    if library in fitting and name and (not fitting[library] or name in fitting[library]):
        return
    known = [f"{one}/{name}" for one, names in fitting.items() for name in names]
    expected = ", or ".join([*([", ".join(known)] if known else []), *(EXAMPLES[one] for one in fitting if not fitting[one])])
    task_of = next((other for other, libraries in BACKBONES.items() if other != task and library in libraries), "")
    match = nearest(backbone, known)
    remedy = f"did you mean '{match}'?" if match else "change the value"
    if task_of and library not in fitting:
        remedy = f'change the value, or set data.task = "{task_of}"'
    raise fault(key, f"{backbone!r} in a kernel of {task}", expected, remedy)


def _check_view(config: Config, view: str) -> None:
    """A view must be one that at least one model can have; identity is one of all."""
    if view == "identity":
        return
    try:
        if config.data.task == IMAGES:
            config_faults.view(view)
            return
        kinds = [kind_of(config, model) for model in config.model]
        config_faults.view_of_cells(TOKENS if TOKENS in kinds else kinds[0], view)
    except ValueError as error:
        found, _, expected = str(error).removeprefix("found ").partition(", expected ")
        raise fault("inference.views", found, expected) from None
