"""Tiny folders of the kinds that remote takes, and a tiny competition."""

import hashlib
import json
from pathlib import Path

COMPETITION = "tiny"
OWNER = "local"
ROWS = 6


def bundle(folder: Path, content: dict[str, bytes], *, slug: str | None = None, owner: str = OWNER, **metadata) -> Path:
    """A dataset folder as `kkb bundle` writes it."""
    digest = _fill(folder, content)
    slug = slug or f"tiny-{digest[:12]}"
    metadata = {"id": f"{owner}/{slug}", "title": slug, "licenses": [{"name": "CC0-1.0"}], "isPrivate": True, **metadata}
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
    return folder


def model(folder: Path, content: dict[str, bytes], *, slug: str, owner: str = OWNER, framework: str = "onnx") -> Path:
    """The folder of a Kaggle Model as `kkb bundle` writes it."""
    _fill(folder, content)
    about = {"ownerSlug": owner, "title": slug, "slug": slug, "subtitle": "", "isPrivate": True, "description": "tiny"}
    (folder / "model-metadata.json").write_text(json.dumps({**about, "publishTime": "", "provenanceSources": ""}))
    variation = {"ownerSlug": owner, "modelSlug": slug, "instanceSlug": "weights", "framework": framework, "overview": "o"}
    variation |= {"usage": "u", "licenseName": "Apache 2.0", "fineTunable": False, "trainingData": []}
    (folder / "model-instance-metadata.json").write_text(json.dumps(variation))
    return folder


def _fill(folder: Path, content: dict[str, bytes]) -> str:
    """Write the files and their manifest; the digest."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in sorted(content.items())
    ]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps({"digest": digest, "files": files}))
    return digest


PROGRAM = """
import csv, pathlib
found = next(p for p in (pathlib.Path('/kaggle/input/competitions/tiny'), pathlib.Path('/kaggle/input/tiny')) if p.is_dir())
rows = list(csv.DictReader((found / 'test.csv').open()))
with open('/kaggle/working/submission.csv', 'w') as out:
    out.write('id,label\\n' + ''.join(f"{row['id']},{int(row['x']) % 2}\\n" for row in rows))
pathlib.Path('/kaggle/working/deep').mkdir(exist_ok=True)
pathlib.Path('/kaggle/working/deep/run.json').write_text('{}')
print('predicted', len(rows))
"""


def kernel(folder: Path, slug: str, *, program: str = PROGRAM, owner: str = OWNER, digest: str = "", **metadata) -> Path:
    """A kernel folder as `kkb render` writes it; the notebook is one code cell."""
    folder.mkdir(parents=True, exist_ok=True)
    source = [f"# digest {digest}\n", *program.splitlines(keepends=True)]
    notebook = {
        "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": [], "source": source}],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "notebook.ipynb").write_text(json.dumps(notebook))
    values = {
        "id": f"{owner}/{slug}",
        "title": slug.replace("-", " ").title(),
        "code_file": "notebook.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_internet": False,
        "dataset_sources": [],
        "competition_sources": [COMPETITION],
        "kernel_sources": [],
        "model_sources": [],
        **metadata,
    }
    (folder / "kernel-metadata.json").write_text(json.dumps(values))
    return folder


def competition(folder: Path) -> tuple[Path, Path]:
    """`(visible, hidden)` folders of a competition whose label is the parity of x."""

    def table(header, rows):
        return "\n".join([header, *rows]) + "\n"

    visible, hidden = folder / "visible", folder / "hidden"
    for place, first, count in ((visible, 100, 3), (hidden, 200, ROWS)):
        place.mkdir(parents=True)
        ids = range(first, first + count)
        (place / "test.csv").write_text(table("id,x", [f"{i},{i * 7}" for i in ids]))
        (place / "sample_submission.csv").write_text(table("id,label", [f"{i},0" for i in ids]))
    (visible / "train").mkdir()
    (visible / "train" / "a.txt").write_text("a")
    (visible / "train.csv").write_text(table("id,x,label", [f"{i},{i},{i % 2}" for i in range(20)]))
    usage = ["Public", "Private"]
    (hidden / "solution.csv").write_text(
        table("id,label,Usage", [f"{i},{i % 2},{usage[i // 2 % 2]}" for i in range(200, 200 + ROWS)])
    )
    return visible, hidden
