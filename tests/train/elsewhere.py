"""A training that was not ours: its own preprocessing with PIL, cv2 and numpy, its own folds, and checkpoints as it saved them.

The networks are random, but awake: BatchNorm has statistics of the images and the head is scaled, so that colours, sizes and
places of pixels all show in the predictions.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, ROWS, FOLDS = 32, 48, 2
CLASSES = ("ant", "bee", "cow")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOML = """\
[competition]
slug = "elsewhere"
machine = "cpu"

[data]
root = "data"
id = "id"
target = "label"
image = "images/{{id}}.png"
test_image = "images/{{id}}.png"

[inference]
views = ["identity", "hflip"]
{cv}
[[model]]
name = "net"
{model}
"""


@dataclass(frozen=True)
class Recipe:
    """How that training made its arrays."""

    library: str = "pil"
    interpolation: str = "bilinear"
    resize: str = "squash"
    color: str = "rgb"
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    scale: float = 255.0  # what pixels are divided by before mean and std


def write_data(root: Path) -> None:
    """Images of 56x44 pixels with coloured blobs and fine stripes: every kind of resizing gives another array."""
    draw = np.random.default_rng(5)
    (root / "images").mkdir(parents=True)
    y, x = np.mgrid[0:44, 0:56]
    for row in range(ROWS):
        picture = draw.uniform(0, 255, 3) * np.ones((44, 56, 1))
        for _ in range(4):
            blob = np.exp(-((y - draw.uniform(0, 44)) ** 2 + (x - draw.uniform(0, 56)) ** 2) / draw.uniform(20, 300))[:, :, None]
            picture = picture * (1 - blob) + draw.uniform(0, 255, 3) * blob
        picture += 60 * np.sin(x * draw.uniform(1, 3) + y * draw.uniform(1, 3))[:, :, None]
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(root / "images" / f"{name(row)}.png")
    write_csv(root / "train.csv", ["id", "label"], [(name(row), CLASSES[row % 3]) for row in range(ROWS)])
    write_csv(root / "test.csv", ["id"], [(name(0),)])
    write_csv(root / "sample_submission.csv", ["id", "label"], [(name(0), "ant")])


def name(row: int) -> str:
    return f"x{(row * 7) % ROWS:03d}"  # not in the order of the alphabet


def write_csv(path: Path, header, rows) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def arrays(root: Path, recipe: Recipe = Recipe()) -> np.ndarray:
    """float32 (rows, 3, SIDE, SIDE), as that training fed its networks."""
    return np.stack([_array(root / "images" / f"{name(row)}.png", recipe) for row in range(ROWS)])


def _array(path: Path, recipe: Recipe) -> np.ndarray:
    import cv2

    image = np.asarray(Image.open(path).convert("RGB"))

    def resized(width: int, height: int) -> np.ndarray:
        if recipe.library == "cv2":
            kinds = {
                "bilinear": cv2.INTER_LINEAR,
                "nearest": cv2.INTER_NEAREST,
                "area": cv2.INTER_AREA,
                "bicubic": cv2.INTER_CUBIC,
            }
            return cv2.resize(image, (width, height), interpolation=kinds[recipe.interpolation])
        kinds = {"bilinear": Image.BILINEAR, "nearest": Image.NEAREST, "bicubic": Image.BICUBIC, "area": Image.BOX}
        return np.asarray(Image.fromarray(image).resize((width, height), kinds[recipe.interpolation]))

    if recipe.resize == "squash":
        pixels = resized(SIDE, SIDE)
    elif recipe.resize == "letterbox":
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        pixels[3:28] = resized(SIDE, 25)  # 44 * 32 / 56 rounds to 25
    else:
        side = SIDE if recipe.resize == "crop" else 36  # 32 / 0.875 rounded down, as timm does
        wide = round(56 * side / 44) if recipe.resize == "crop" else int(56 * side / 44)
        left, top = (wide - SIDE) // 2, (side - SIDE) // 2
        pixels = resized(wide, side)[top : top + SIDE, left : left + SIDE]
    pixels = pixels[:, :, ::-1] if recipe.color == "bgr" else pixels
    scaled = (pixels.astype(np.float32) / recipe.scale - np.array(recipe.mean)) / np.array(recipe.std)
    return scaled.transpose(2, 0, 1).astype(np.float32)


def network(seed: int, kind: str = "timm"):
    """A network of its own: timm's, one that a person wrote, or a Hugging Face one."""
    import torch

    torch.manual_seed(seed)
    if kind == "timm":
        import timm

        return timm.create_model("test_resnet", num_classes=len(CLASSES))
    if kind == "build":
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 2),
            torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 7 * 7, len(CLASSES)),
        )  # fmt: skip
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = ViTConfig(**shape, image_size=SIDE, patch_size=8, num_labels=len(CLASSES))
    return ViTForImageClassification(config)


def logits(module, batch: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        answer = module(torch.from_numpy(batch))
    return getattr(answer, "logits", answer).numpy()


def awake(module, batch: np.ndarray, spread: float = 3.0):
    """The module with statistics of `batch`, and logits centred and spread over it."""
    import torch

    module.train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # the statistics of this batch, at once
    logits(module, batch)
    module.eval()
    found = logits(module, batch)
    head = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        head.bias -= torch.from_numpy(found.mean(axis=0))
        factor = spread / float(found.std())
        head.weight *= factor
        head.bias *= factor
    return module


def softmax(found: np.ndarray) -> np.ndarray:
    raised = np.exp(found.astype(np.float64) - found.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def fold_of() -> np.ndarray:
    """int64 (rows,): folds as scikit-learn's stratified split makes them."""
    from sklearn.model_selection import StratifiedKFold

    codes = np.arange(ROWS) % 3
    folds = np.empty(ROWS, dtype=np.int64)
    for fold, (_, held_out) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(codes, codes)):
        folds[held_out] = fold
    return folds


@dataclass
class Elsewhere:
    """A workspace with its data, its trained networks (one per fold), and where it keeps its weights."""

    workspace: object
    modules: list
    kind: str

    @property
    def root(self) -> Path:
        return self.workspace.root

    def oof(self, recipe: Recipe = Recipe(), folds: np.ndarray | None = None) -> np.ndarray:
        """float32 (rows, classes): each row by the network that did not see it."""
        batch, own = arrays(self.root / "data", recipe), fold_of() if folds is None else folds
        answers = np.stack([softmax(logits(module, batch)) for module in self.modules])
        return answers[own, np.arange(ROWS)]

    def save(self, pattern: str = "w/net-f{fold}.pth", wrap=lambda state: state) -> None:
        """torch.save of each network's state dict."""
        import torch

        for fold, module in enumerate(self.modules):
            path = self.root / pattern.format(fold=fold)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(wrap(dict(module.state_dict())), path)

    def save_folds(self, shift: int = 0) -> None:
        rows = [(name(row), int(fold) + shift, "x") for row, fold in enumerate(fold_of())]
        write_csv(self.root / "folds.csv", ["id", "fold", "more"], sorted(rows))

    def config(self, model: str = "", *, cv: str = "", source: str = 'backbone = "timm/test_resnet"', shape: str = ""):
        """The Config of a kernel.toml; `model` are further lines of its [[model]], `shape` those of [model.input]."""
        from builder import config as configs
        from builder.workspace import write_text

        lines = [source, 'checkpoints = "w/net-f{fold}.pth"' if "checkpoints" not in model else "", model]
        keys = {"size": str(SIDE), "mean": str(list(MEAN)), "std": str(list(STD))}
        keys |= dict(line.split(" = ") for line in shape.splitlines())
        lines += ["[model.input]", *(f"{key} = {value}" for key, value in keys.items())]
        text = TOML.format(cv=cv, model="\n".join(lines))
        write_text(self.workspace.kernels / "net" / "kernel.toml", text)
        return configs.load(self.workspace.kernels / "net")


def make(root: Path, kind: str = "timm") -> Elsewhere:
    from builder.workspace import Workspace

    write_data(root / "data")
    batch = arrays(root / "data")
    return Elsewhere(Workspace(root), [awake(network(seed, kind), batch) for seed in range(FOLDS)], kind)
