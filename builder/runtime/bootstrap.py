# ruff: noqa: F821
# mypy: disable-error-code="name-defined, import-not-found, type-arg"
"""Find the runtime among the attached datasets, check it, make it importable; it sees to the packages that the image lacks."""

import base64
import csv
import hashlib
import os
import sys
from pathlib import Path

INPUT = Path(os.environ.get("KKB_KAGGLE") or "/kaggle") / "input"


def attached(item: dict) -> list[Path]:
    """The files of a dataset, checked; raises when it is not mounted or holds other content."""
    owner, slug, files = item["owner"], item["slug"], item["files"]
    kind = "models" if "/" in slug else "datasets"
    places = [INPUT / kind / owner / slug, INPUT / slug, INPUT / kind[0] / owner / slug]
    for folder in places:
        if all((folder / name).exists() for name in files):
            wrong = [name for name, digest in files.items() if not intact(folder / name, digest)]
            if wrong:
                raise RuntimeError(f"{kind[:-1]} {owner}/{slug} in {folder} is another version, or not ready: {wrong} differ")
            return sorted(folder / name for name in files)
    there = sorted(str(path) for path in INPUT.glob("*/*"))[:20] or "nothing"
    raise RuntimeError(f"{kind[:-1]} {owner}/{slug} is not attached, or not ready: looked for {places}, found {there}")


def intact(path: Path, digest: str) -> bool:
    """Whether a file has this sha256. A wheel that Kaggle has unpacked is judged by its own RECORD."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == digest
    rows = [row for record in path.glob("*.dist-info/RECORD") for row in csv.reader(record.read_text().splitlines())]
    known = {row[0]: base64.urlsafe_b64decode(row[1][7:] + "=").hex() for row in rows if len(row) > 1 and row[1]}
    return bool(known) and all((path / name).is_file() and intact(path / name, known[name]) for name in known)


RUNTIME = next(str(path) for item in DATASETS if item["key"] == "runtime" for path in attached(item) if path.suffix == ".whl")
sys.path.insert(0, RUNTIME)
os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (RUNTIME, os.environ.get("PYTHONPATH")) if part)

import kkb_runtime.packages  # noqa: E402

_ = kkb_runtime.packages.provide(DATASETS)  # a cell shows its last value
