"""What follows from a `[[model]]` and its task: the kind of its arrays, its views, and its recipe of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.config.sections import IMAGES, TABLES, Train

if TYPE_CHECKING:
    from builder.config import Config
    from builder.config.models import Model

IMAGE, TOKENS, TERMS, TABLE = "image", "tokens", "terms", "table"
VIEWED = (IMAGE, TOKENS)  # what can be seen in more than one way
FITTED = ("text/linear", "table/lightgbm", "table/xgboost")  # at once, by a library, which their `arguments` go to

# A network of words knows them by heart after few passes, a small table needs many; a fine-tuned one must not forget.
RECURRENT = Train(epochs=3, lr=4e-3, weight_decay=0.1, label_smoothing=0, augment=())
FINE_TUNED = Train(epochs=3, batch_size=32, lr=1e-4, weight_decay=0.01, label_smoothing=0, augment=())
PERCEPTRON = Train(epochs=20, batch_size=128, lr=3e-3, weight_decay=0.01, label_smoothing=0, augment=())
AT_ONCE = Train(epochs=1, label_smoothing=0, augment=())


def kind_of(config: Config, model: Model) -> str:
    """What a sample is for this model: IMAGE, or one of `contract.CELLS`."""
    if config.data.task == IMAGES:
        return IMAGE
    if config.data.task == TABLES:
        return TABLE
    return TERMS if model.backbone == "text/linear" else TOKENS


def kind_beside(backbone: str) -> str:
    """What a network of `[[model]] beside` reads."""
    return TABLE if backbone.startswith("table/") else TOKENS


def kinds_of(config: Config, model: Model) -> tuple[str, ...]:
    """What each of a model's inputs is."""
    return (kind_of(config, model), *map(kind_beside, model.beside))


def reads_cells(config: Config) -> bool:
    """Whether any model reads cells of the tables."""
    return any(kind != IMAGE for model in config.model for kind in kinds_of(config, model))


def views_for(config: Config, model: Model) -> tuple[str, ...]:
    """The views of `[inference]` that this model can have; identity is the first."""
    return config.inference.views if kind_of(config, model) in VIEWED else ("identity",)


def recipe_for(config: Config, model: Model) -> Train:
    """`[train]` as it is for this model: its kind's defaults below what kernel.toml says.

    A model that a library fits at once has one epoch, and of `[train]` takes the seed only.
    """
    if config.data.task == IMAGES:
        return config.train
    if model.backbone in FITTED:
        return AT_ONCE.model_copy(update={"seed": config.train.seed})
    words = FINE_TUNED if model.backbone.startswith("hf/") else RECURRENT
    usual = PERCEPTRON if config.data.task == TABLES else words
    return usual.model_copy(update={key: getattr(config.train, key) for key in config.train.model_fields_set})
