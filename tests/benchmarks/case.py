"""The case of the throughput benchmark: photos, networks of random weights with fixed seeds, their exports, a plan of all units.

Below one folder: photos/ and weights/*.pth for the public loop; kaggle/ (competition and models mounted as Kaggle does it),
plan.json and datasets.json for the runtime; case.json, which says what is in it. Both sides get the same weights. Random networks
answer every photo alike, so batch norms are given the statistics of some photos and heads are scaled until logits differ.
"""

import hashlib
import json
import zipfile
from pathlib import Path

ARCHITECTURES = ("resnet18", "mobilenetv2_100", "efficientnet_b0")
VIEWS = ("identity", "hflip")
CLASSES, SIZE = 10, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEEN = 24  # photos that a network takes its statistics from
SPREAD = 2.0  # standard deviation of its logits on them
BATCH = 8  # of a unit that nobody priced


def build(folder, photos, folds, architectures=ARCHITECTURES):
    """Write the case below `folder`; `photos` is name -> content."""
    paths = write_photos(folder, photos)
    models = folder / "kaggle" / "input" / "datasets" / "me" / "photos-models"
    for each in (models, folder / "weights"):
        each.mkdir(parents=True)
    units = [unit(*each) for each in networks(folder / "weights", models, architectures, folds, decoded(paths[:SEEN]))]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(models.iterdir())}
    datasets = [{"key": "models", "owner": "me", "slug": "photos-models", "files": files}]
    told = {"architectures": architectures, "folds": folds, "classes": CLASSES, "size": SIZE, "rows": len(paths)}
    for name, value in (("case", told), ("plan", plan(units)), ("datasets", datasets)):
        (folder / f"{name}.json").write_text(json.dumps(value))


def write_photos(folder, photos):
    """The photos, and the competition that has them as its test set; paths in the order of the answers."""
    images = folder / "kaggle" / "input" / "competitions" / "photos" / "test_images"
    images.mkdir(parents=True)
    for name, content in photos.items():
        (images / name).write_bytes(content)
    (folder / "photos").symlink_to(images, target_is_directory=True)
    (images.parent / "test.csv").write_text("\n".join(["image", *sorted(photos)]) + "\n")
    return [images / name for name in sorted(photos)]


def from_archive(path, rows):
    """Name -> content of the first `rows` photos of the archive, in the order of their names."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        return {Path(name).name: archive.read(name) for name in names[:rows]}


def decoded(paths):
    from builder.runtime import inputs
    from builder.runtime.contract import Input

    return inputs.decode_many(paths, Input(SIZE, SIZE))[0]


def networks(weights, models, architectures, folds, pixels):
    """Every network as a checkpoint and as an export; yields architecture, fold and view of each unit, fold after fold."""
    import timm
    import torch

    from builder.export import onnx_format, source
    from builder.models import portable

    for fold in range(folds):
        for number, architecture in enumerate(architectures):
            torch.manual_seed(100 * fold + number)
            backbone = timm.create_model(architecture, pretrained=False, num_classes=CLASSES)
            network = portable(backbone, MEAN, STD)
            settle(network, torch.from_numpy(pixels))
            torch.save(backbone.state_dict(), weights / f"{architecture}-f{fold}.pth")
            onnx_format.save(onnx_format.trace(source.image(network, SIZE, SIZE)), models / f"{architecture}-f{fold}.onnx")
            yield from ((architecture, fold, view) for view in VIEWS)


def settle(network, images):
    """Statistics of `images` for the batch norms, and a head whose logits differ between photos."""
    import torch

    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = None  # the mean over what it sees
    with torch.no_grad():
        network.train()(images)
        logits = network.eval()(images)
        head = network.backbone.get_classifier()
        scale = SPREAD / logits.std(dim=0)
        head.weight *= scale[:, None]
        head.bias.copy_((head.bias - logits.mean(dim=0)) * scale)


def unit(architecture, fold, view):
    size = {"height": SIZE, "width": SIZE, "resize": "squash", "interpolation": "bilinear", "library": "pil", "color": "rgb"}
    return {
        "member": f"v001:{architecture}",
        "fold": fold,
        "view": view,
        "dataset": "models",
        "file": f"{architecture}-f{fold}.onnx",
        "backend": "onnxruntime",
        "input": size,
        "batch": BATCH,
        "seconds": 0.03,
        "load_s": 0.3,
        "decode_s": 0.01,
    }


def plan(units):
    """All units on every photo with equal weights, which is what the public loop does."""
    columns = [f"class{number}" for number in range(CLASSES)]
    return {
        "schema": 1,
        "kernel": "photos",
        "task": "image-classification",
        "metric": "logloss",
        "accelerator": "cpu",
        "limit_s": 9 * 3600.0,
        "reserve": 0.05,
        "source": {"competition": "photos", "test": "test.csv", "sample_submission": "", "pattern": "test_images/{image}"},
        "answer": {"file": "submission.csv", "id": "image", "form": "columns", "columns": columns, "classes": columns},
        "units": units,
        "prefixes": [{"weights": [1 / count] * count, "temperature": 1.0, "score": None} for count in range(1, len(units) + 1)],
        "prior": [1 / CLASSES] * CLASSES,
    }
