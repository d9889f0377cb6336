"""What boosted trees may be told: defaults, names of the packages' own, and names that people know from elsewhere.

Defaults fit tables of some hundred rows as well as large ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.errors import ConfigError, did_you_mean

ROUNDS = "num_boost_round"
LIGHTGBM: dict[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_data_in_leaf": 10,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "min_data_per_group": 10,
    "cat_smooth": 10.0,
    "max_cat_to_onehot": 8,
}
XGBOOST: dict[str, Any] = {
    "learning_rate": 0.05,
    "max_depth": 4,
    "min_child_weight": 3.0,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "lambda": 5.0,
    "max_cat_to_onehot": 8,
}
DEFAULTS = {"lightgbm": LIGHTGBM, "xgboost": XGBOOST}
# What else [[model]] arguments may say. Not objective, classes, seed and threads: they follow from the rest.
MORE = {
    "lightgbm": (
        "cat_l2", "data_sample_strategy", "extra_trees", "feature_fraction_bynode", "is_unbalance",
        "lambda_l1", "max_bin", "max_cat_threshold", "max_delta_step", "max_depth", "min_data_in_bin", "min_gain_to_split",
        "min_sum_hessian_in_leaf", "neg_bagging_fraction", "other_rate", "path_smooth", "pos_bagging_fraction",
        "scale_pos_weight", "top_rate",
    ),
    "xgboost": (
        "alpha", "base_score", "colsample_bylevel", "colsample_bynode", "gamma", "grow_policy", "max_bin",
        "max_cat_threshold", "max_delta_step", "max_leaves", "num_parallel_tree", "scale_pos_weight", "tree_method",
    ),
}  # fmt: skip
# Names that people know from elsewhere, scikit-learn's interface above all.
ALIASES = {
    "lightgbm": {
        "n_estimators": ROUNDS, "num_iterations": ROUNDS, "eta": "learning_rate", "max_leaves": "num_leaves",
        "min_child_samples": "min_data_in_leaf", "colsample_bytree": "feature_fraction", "subsample": "bagging_fraction",
        "subsample_freq": "bagging_freq", "reg_lambda": "lambda_l2", "reg_alpha": "lambda_l1",
        "min_child_weight": "min_sum_hessian_in_leaf", "min_split_gain": "min_gain_to_split",
    },
    "xgboost": {
        "n_estimators": ROUNDS, "eta": "learning_rate", "reg_lambda": "lambda", "reg_alpha": "alpha",
        "min_split_loss": "gamma",
    },
}  # fmt: skip


def settings(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a training under the package's own names. Raises ConfigError for one that is not known."""
    known = {*DEFAULTS[kind], *MORE[kind], *ALIASES[kind], ROUNDS}
    chosen: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in known:
            raise ConfigError(f"table/{kind} takes no argument '{name}'", found=repr(value), remedy=did_you_mean(name, known))
        proper = ALIASES[kind].get(name, name)
        if proper in chosen:
            raise ConfigError(f"two arguments of table/{kind} say the same", found=f"{name} and {proper}", remedy="keep one")
        chosen[proper] = value
    rounds = chosen.get(ROUNDS, 1)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ConfigError(
            f"{ROUNDS} is no number of trees", found=rounds, expected="a whole number of at least 1", remedy="mend it"
        )
    return {**DEFAULTS[kind], **chosen}
