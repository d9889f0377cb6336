# ruff: noqa: F821
# mypy: disable-error-code="name-defined, import-not-found, type-arg"
"""Find the runtime among the attached datasets, check that it is what this notebook was rendered for, make it importable."""

import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

INPUT = Path(os.environ.get("KKB_KAGGLE") or "/kaggle") / "input"


def attached(item: dict) -> list[Path]:
    """The files of a dataset, checked; raises when it is not mounted or holds other content."""
    owner, slug = item["owner"], item["slug"]
    places = [INPUT / "datasets" / owner / slug, INPUT / slug, INPUT / "d" / owner / slug]
    for folder in places:
        files = {folder / name: digest for name, digest in item["files"].items()}
        if all(path.is_file() for path in files):
            wrong = [path.name for path, digest in files.items() if hashlib.sha256(path.read_bytes()).hexdigest() != digest]
            if wrong:
                raise RuntimeError(f"dataset {owner}/{slug} in {folder} is another version, or not ready: {wrong} differ")
            return sorted(files)
    there = sorted(str(path) for path in INPUT.glob("*/*"))[:20] or "nothing"
    raise RuntimeError(f"dataset {owner}/{slug} is not attached, or not ready: looked for {places}, found {there}")


def missing(wheel: Path) -> bool:
    """True when one of the packages or modules in the wheel cannot be imported here."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    found = {name.split("/")[0] for name in names if name.count("/") == 1 and name.endswith("/__init__.py")}
    found |= {name.split(".")[0] for name in names if "/" not in name and name.endswith((".py", ".so"))}
    return any(importlib.util.find_spec(name) is None for name in found)


def install(wheels: list[Path]) -> None:
    """Install what this image lacks; pip takes the wheel that fits its Python and its glibc."""
    wanted = sorted({path.name.split("-")[0] for path in wheels if missing(path)})
    folders = [part for folder in sorted({str(path.parent) for path in wheels}) for part in ("--find-links", folder)]
    if wanted:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *folders, *wanted]
        subprocess.run(pip, check=True, timeout=900)
        importlib.invalidate_caches()


TAG = f"wheels-cp{sys.version_info[0]}{sys.version_info[1]}"  # each Python of the image has its own wheels
install([path for item in DATASETS if item["key"] == TAG for path in attached(item) if path.suffix == ".whl"])
runtime = str(next(path for item in DATASETS if item["key"] == "runtime" for path in attached(item) if path.suffix == ".whl"))
sys.path.insert(0, runtime)
os.environ["PYTHONPATH"] = os.pathsep.join(part for part in (runtime, os.environ.get("PYTHONPATH")) if part)

import kkb_runtime  # noqa: E402, F401
