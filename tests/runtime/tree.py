"""A tiny real project below a fake /kaggle: images, tables, models, a plan; and what its answers must be."""

import csv
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

from . import tiny_onnx

OWNER, SLUG = "me", "digits"
SIDE, CLASSES = 4, ("cat", "dog", "eel")
BOOTSTRAP = Path(__file__).parents[2] / "builder" / "runtime" / "bootstrap.py"


class Tree:
    """Members `m0`, `m1`, ... each with `folds` folds; units in the order member-major, identity first.

    `units` is a list of (member, fold, view). Prefix weights are uneven on purpose, so that a wrong prefix shows.
    """

    def __init__(
        self, root, *, samples=10, units=None, layout="typed", form="columns", batch=4, limit=600.0, sample=None, seconds=1e-4
    ):
        self.root, self.layout = root, layout
        self.units = units if units is not None else [(0, 0, "identity"), (0, 0, "hflip"), (1, -1, "identity")]
        self.ids = [f"{index:03d}" for index in range(samples)]
        self.rng = np.random.default_rng(7)
        self.images = self.rng.integers(0, 256, (samples, SIDE, SIDE, 3), dtype=np.uint8)
        self.models = {}
        self.competition = self.folder("competitions", SLUG)
        self.weights = self.folder("datasets", "digits-weights")
        self._tables(sample, form)
        self._models()
        self.plan = self._plan(form, batch, limit, seconds)

    def folder(self, kind, slug):
        inner = {"datasets": f"datasets/{OWNER}/{slug}", "competitions": f"competitions/{slug}"}[kind]
        path = self.root / "input" / (inner if self.layout == "typed" else slug)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _tables(self, sample, form):
        (self.competition / "test_images").mkdir(exist_ok=True)
        for name, image in zip(self.ids, self.images, strict=True):
            Image.fromarray(image).save(self.competition / "test_images" / f"{name}.png")
        write_csv(self.competition / "test.csv", ["image_id", "other"], [[name, "x"] for name in self.ids])
        if sample is not None:
            write_csv(self.competition / "sample_submission.csv", ["image_id", *columns(form)], sample)

    def _models(self):
        for member, fold, _ in self.units:
            name = f"m{member}-f{fold}.onnx"
            rng = np.random.default_rng(100 * member + fold + 10)
            weights = (rng.standard_normal((SIDE * SIDE * 3, len(CLASSES))) / 255).astype(np.float32)
            bias = rng.standard_normal(len(CLASSES)).astype(np.float32)
            self.models[member, fold] = (weights, bias)
            (self.weights / name).write_bytes(tiny_onnx.classifier(weights, bias, (SIDE, SIDE)))

    def _plan(self, form, batch, limit, seconds):
        size = {"height": SIDE, "width": SIDE, "resize": "squash", "interpolation": "bilinear", "library": "pil", "color": "rgb"}
        return {
            "schema": 1,
            "kernel": "digits",
            "task": "image-classification",
            "metric": "accuracy",
            "accelerator": "cpu",
            "limit_s": limit,
            "reserve": 0.05,
            "source": {
                "competition": SLUG,
                "test": "test.csv",
                "sample_submission": "sample_submission.csv" if (self.competition / "sample_submission.csv").exists() else "",
                "pattern": "test_images/{image_id}.png",
            },
            "answer": {
                "file": "submission.csv",
                "id": "image_id",
                "form": form,
                "columns": columns(form),
                "classes": list(CLASSES),
            },
            "units": [
                {
                    "member": f"v001:m{member}",
                    "fold": fold,
                    "view": view,
                    "dataset": "weights",
                    "file": f"m{member}-f{fold}.onnx",
                    "backend": "onnxruntime",
                    "input": size,
                    "batch": batch,
                    "seconds": seconds,
                    "load_s": 0.01,
                }
                for member, fold, view in self.units
            ],
            "prefixes": [
                {"weights": uneven(k), "temperature": 1.0 + 0.5 * k, "score": None} for k in range(1, len(self.units) + 1)
            ],
            "prior": [0.5, 0.3, 0.2],
        }

    @property
    def datasets(self):
        return [self.carried("weights", self.weights, "digits-weights")]

    def carried(self, key, folder, slug):
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        return {"key": key, "owner": OWNER, "slug": slug, "files": files}

    def with_runtime(self, wheel):
        """The dataset list with the runtime's, mounted."""
        folder = self.folder("datasets", "kkb-runtime-abc")
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return [*self.datasets, self.carried("runtime", folder, "kkb-runtime-abc")]

    def expected(self, length, rows=None):
        """Probabilities (n, classes) of the first `length` units, by numpy alone."""
        images = self.images if rows is None else self.images[rows]
        mixed = 0.0
        for weight, (member, fold, view) in zip(uneven(length), self.units, strict=False):
            mixed = mixed + weight * probabilities(images, view, *self.models[member, fold])
        cooled = mixed ** (1 / (1.0 + 0.5 * length))
        return cooled / cooled.sum(axis=1, keepdims=True)

    @property
    def submission(self):
        return self.root / "working" / "submission.csv"

    def answers(self):
        """id -> cells after the id, as in the file."""
        return {row[0]: row[1:] for row in read_csv(self.submission)[1:]}

    def record(self):
        return json.loads((self.root / "working" / "run.json").read_text())

    def nearest_prefix(self, row, cells, tolerance=1e-5):
        """Which prefix (0: the prior) the row's probabilities are; None when they are none of them."""
        values = np.array([float(cell) for cell in cells])
        known = [np.array(self.plan["prior"]), *(self.expected(k, [row])[0] for k in range(1, len(self.units) + 1))]
        found = [k for k, each in enumerate(known) if np.abs(each - values).max() < tolerance]
        return found[0] if found else None

    def notebook(self, datasets, **arguments):
        """The cells as one script: variables, bootstrap, the call."""
        call = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        cells = [
            f"PLAN = {self.plan!r}",
            f"DATASETS = {datasets!r}",
            f"exec(compile({BOOTSTRAP.read_text()!r}, {str(BOOTSTRAP)!r}, 'exec'))",  # under its own name in a traceback
            "import kkb_runtime",
            f"result = kkb_runtime.run(PLAN, DATASETS, {call})",
        ]
        return "\n".join(cells)

    def start(self, source, **popen):
        """Run a script as Kaggle would: another process, an empty folder, nothing of ours importable."""
        (self.root / "working").mkdir(exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "KAGGLE_KERNEL_RUN_TYPE"}}
        environment = {**clean, "KKB_KAGGLE": str(self.root), "TMPDIR": str(self.root.parent), **popen.pop("env", {})}
        script = self.root / "notebook.py"
        script.write_text(textwrap.dedent(source))
        return subprocess.Popen(
            [sys.executable, str(script)],
            cwd=self.root / "working",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **popen,
        )


def uneven(length):
    raw = [1.0 / (2 + k) for k in range(length)]
    return [each / sum(raw) for each in raw]


def columns(form):
    return ["cat", "dog", "eel"] if form == "columns" else ["label"]


def write_csv(path, header, rows):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def read_csv(path):
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


class Probes:
    """Training rows with what home made of them, for each member of a tree: row k is of fold `folds[k % len(folds)]`."""

    def __init__(self, tree, *, rows=12, limit=1e-4):
        self.tree, self.limit = tree, limit
        self.images = np.random.default_rng(11).integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)
        self.ids = [f"t{index:03d}" for index in range(rows)]
        self.views = list(dict.fromkeys(view for _, _, view in tree.units))
        (tree.competition / "train_images").mkdir(exist_ok=True)
        for name, image in zip(self.ids, self.images, strict=True):
            Image.fromarray(image).save(tree.competition / "train_images" / f"{name}.png")
        for member in dict.fromkeys(member for member, _, _ in tree.units):
            self.write(member)

    def folds(self, member):
        own = sorted({fold for other, fold, _ in self.tree.units if other == member})
        return [own[row % len(own)] for row in range(len(self.ids))]

    def write(self, member, *, schema=1, images=None, change=None):
        """(Over)write a member's probe. `images` are what home believes to have seen; `change` edits the values."""
        seen = self.images if images is None else images
        table = {"schema": schema, "views": self.views, "rows": []}
        values = np.zeros((len(self.views), len(self.ids), len(CLASSES)), dtype=np.float32)
        for row, fold in enumerate(self.folds(member)):
            cells = {"image_id": self.ids[row], "label": "cat"}
            table["rows"].append({"fold": fold, "row": cells, "image": f"train_images/{self.ids[row]}.png"})
            for at, view in enumerate(self.views):
                values[at, row] = probabilities(seen[row : row + 1], view, *self.tree.models[member, fold])[0]
        values = values if change is None else change(values)
        folder = self.tree.weights
        (folder / f"probe-m{member}.json").write_text(json.dumps(table))
        np.save(folder / f"probe-m{member}.npy", values)
        name = f"v001:m{member}"
        others = [probe for probe in self.tree.plan.get("probes", []) if probe["member"] != name]
        files = {"table": f"probe-m{member}.json", "values": f"probe-m{member}.npy"}
        probe = {"member": name, "dataset": "weights", **files, "max_abs_diff": self.limit}
        self.tree.plan["probes"] = sorted([*others, probe], key=lambda each: each["member"])


TURN = {"identity": lambda x: x, "hflip": lambda x: x[:, :, ::-1], "vflip": lambda x: x[:, ::-1]}


def probabilities(images, view, weights, bias):
    """What a model of the tree makes of images under a view, by numpy alone."""
    logits = TURN[view](images).reshape(len(images), -1).astype(np.float64) @ weights + bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
