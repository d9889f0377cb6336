"""Planning problems that are like real ones: scikit-learn families, some deliberately weak, whose prices are spread thirtyfold.

Four kinds of data (imbalanced classes, easy, hard, noisy shifted digits split by their base image), 12 families x 5 folds.
Everything follows from the kind and the seed. Fitting takes minutes, so a problem is kept on disk once it was made:

    python -m tests.problems digits 7        # makes it, and says how good its families are
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CACHE = Path(__file__).parents[1] / ".kkb" / "cache" / "problems"
KINDS = ("many", "easy", "digits", "hard")
SPREAD = 30.0
RECIPE = 3  # counts the changes of this file that change what it makes


@dataclass(frozen=True)
class Problem:
    """One problem. Probabilities are float32, labels int64.

    Attributes:
        name: Kind and seed.
        names: Of the families.
        cost: Seconds per sample of one fold, float64 (families,).
        oof: (families, rows, classes).
        y, fold: (rows,).
        unlabelled: (families, folds, m, classes).
        test: (families, folds, N, classes).
        truth: (N,).
    """

    name: str
    names: tuple[str, ...]
    cost: np.ndarray
    oof: np.ndarray
    y: np.ndarray
    fold: np.ndarray
    unlabelled: np.ndarray
    test: np.ndarray
    truth: np.ndarray

    @property
    def folds(self) -> int:
        return self.unlabelled.shape[1]

    @property
    def full(self) -> float:
        """Seconds per sample of everything."""
        return float(self.cost.sum() * self.folds)

    def write(self, folder: Path) -> Path:
        """The folder that `kkb plan --units` reads, with `test.npy` and `truth.npy` for `kkb simulate` beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        families = [
            {"name": name, "cost_s": float(cost), "fixed_s": 0.0, "shared": {}}
            for name, cost in zip(self.names, self.cost, strict=True)
        ]
        (folder / "units.json").write_text(json.dumps({"families": families, "folds": self.folds}))
        for name in ("oof", "y", "fold", "unlabelled", "test", "truth"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        return folder


def problem(kind: str, seed: int, *, rows: int = 5000, test: int = 20_000, folds: int = 5, families: int = 12) -> Problem:
    """The problem of that kind and seed, from disk when it was made before."""
    path = CACHE / f"{kind}-{seed}-{rows}-{test}-{folds}-{families}-{RECIPE}.npz"
    if not path.is_file():
        made = _make(kind, seed, rows, test, folds, families)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{seed}.npz")
        np.savez(temporary, **{name: getattr(made, name) for name in Problem.__dataclass_fields__})
        temporary.replace(path)
        return made
    with np.load(path) as stored:
        values = {name: stored[name] for name in stored.files}
    return Problem(**values | {"name": str(values["name"]), "names": tuple(str(n) for n in values["names"])})


def _models(seed: int) -> list[tuple[str, object]]:
    """Names and models of the families. The weak ones are weak on purpose."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    def net(*hidden: int, epochs: int) -> object:
        return make_pipeline(StandardScaler(), MLPClassifier(hidden, max_iter=epochs, random_state=seed, alpha=1.0))

    kernel = make_pipeline(
        StandardScaler(), Nystroem(gamma=0.02, n_components=500, random_state=seed), LogisticRegression(C=10.0, max_iter=200)
    )
    models: list[tuple[str, object]] = [
        ("bayes", GaussianNB(var_smoothing=1e-3)),
        ("tree", DecisionTreeClassifier(max_depth=7, min_samples_leaf=5, random_state=seed)),
        ("lda", make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())),
        ("small-net", net(48, epochs=20)),
        ("extra-trees", ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)),
        ("forest", RandomForestClassifier(50, max_depth=12, random_state=seed)),
        ("net", net(128, 64, epochs=20)),
        ("neighbours", make_pipeline(StandardScaler(), KNeighborsClassifier(20, weights="distance"))),
        ("wide-net", net(512, epochs=15)),
        ("kernel", kernel),
        ("boosting", HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=15, learning_rate=0.15, random_state=seed)),
        ("large-net", net(256, 128, epochs=20)),
    ]
    return models


def _prices(kind: str, seed: int, families: int) -> np.ndarray:
    """Seconds per sample: later families tend to be dearer, but strength is not what is paid for."""
    draw = np.random.default_rng([seed, KINDS.index(kind), 1])
    rank = np.argsort(np.argsort(np.arange(families) + draw.normal(0, families / 3, families)))
    return np.geomspace(1e-3, SPREAD * 1e-3, families)[rank]


def _make(kind: str, seed: int, rows: int, test: int, folds: int, families: int) -> Problem:
    """Fit every family on every fold; predict the held-out rows, the unlabelled rows and the test rows."""
    from sklearn.base import clone
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    draw = np.random.default_rng([seed, KINDS.index(kind)])
    few = max(50, 400 * rows // 5000)
    x, y, group = _data(kind, draw, rows, few, test)
    known, rest, hidden = np.split(np.arange(len(y)), [rows, rows + few])
    if kind == "digits":
        splits = list(GroupKFold(folds).split(x[known], y[known], group[known]))
    else:
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(x[known], y[known]))
    models = _models(seed)
    # Every second one of the list, when only half are wanted: cheap and dear, weak and strong alike.
    models = [models[i] for i in np.unique(np.linspace(0, len(models) - 1, families).astype(int))]
    classes = int(y.max()) + 1
    oof = np.zeros((len(models), rows, classes), np.float32)
    unlabelled = np.zeros((len(models), folds, few, classes), np.float32)
    answers = np.zeros((len(models), folds, test, classes), np.float32)
    fold = np.zeros(rows, np.int64)
    for f, (_, model) in enumerate(models):
        for k, (fit, held) in enumerate(splits):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nets that were stopped early, on purpose
                fitted = clone(model).fit(x[known][fit], y[known][fit])
            fold[held] = k
            columns = fitted.classes_
            oof[f][np.ix_(held, columns)] = fitted.predict_proba(x[known][held])
            unlabelled[f, k][:, columns] = fitted.predict_proba(x[rest])
            answers[f, k][:, columns] = fitted.predict_proba(x[hidden])
    names = tuple(name for name, _ in models)
    return Problem(f"{kind}-{seed}", names, _prices(kind, seed, len(models)), oof, y[known], fold, unlabelled, answers, y[hidden])


def _data(kind: str, draw: np.random.Generator, rows: int, few: int, test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features float32, labels, and the group of each row: training rows, unlabelled rows, test rows, in this order."""
    if kind == "digits":
        return _digits(draw, rows, few + test)
    from sklearn.datasets import make_classification

    classes, separation, wrong, weights = {
        "many": (20, 3.2, 0.004, np.linspace(3, 1, 20) / np.linspace(3, 1, 20).sum()),
        "easy": (10, 2.4, 0.015, None),
        "hard": (10, 1.45, 0.05, None),
    }[kind]
    total = rows + few + test
    x, y = make_classification(
        total,
        n_features=40,
        n_informative=18,
        n_redundant=8,
        n_classes=classes,
        n_clusters_per_class=2,
        class_sep=separation,
        flip_y=wrong,
        weights=weights,
        random_state=int(draw.integers(1 << 31)),
    )
    return x.astype(np.float32), y.astype(np.int64), np.arange(total)


def _digits(draw: np.random.Generator, rows: int, others: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """8x8 digits, shifted by up to a pixel and noisy. No base image is on both sides of a border."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16.0
    base = draw.permutation(len(images))
    here, there = base[: len(base) * 3 // 5], base[len(base) * 3 // 5 :]
    chosen = np.concatenate([draw.choice(here, rows), draw.choice(there, others)])
    shifted = np.zeros((len(chosen), 8, 8), np.float32)
    for i, (picked, (down, right)) in enumerate(zip(chosen, draw.integers(-1, 2, (len(chosen), 2)), strict=True)):
        shifted[i] = np.roll(images[picked], (down, right), axis=(0, 1))
    shifted += draw.normal(0, 0.2, shifted.shape).astype(np.float32)
    return shifted.reshape(len(chosen), -1), labels[chosen].astype(np.int64), chosen.astype(np.int64)


if __name__ == "__main__":
    made = problem(sys.argv[1], int(sys.argv[2]))
    sys.stdout.write(f"{made.name}: {made.full:.4f} s per sample for everything\n")
    for name, price, p, t in zip(made.names, made.cost, made.oof, made.test, strict=True):
        alone, folded = (p.argmax(1) == made.y).mean(), (t.mean(0).argmax(1) == made.truth).mean()
        sys.stdout.write(f"  {name:12} {price * 1e3:6.2f} ms  OOF {alone:.4f}  five folds on test {folded:.4f}\n")
