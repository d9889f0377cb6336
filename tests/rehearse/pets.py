"""A competition of five visible rows, two datasets of a competitor, and hidden versions with a fault of their own."""

from __future__ import annotations

import csv
import shutil
import zipfile
from pathlib import Path

IDS = ("007", "012", "015", "020", "031")
BREEDS = ("tabby", "collie", "barn")
KINDS = ("cat", "dog", "owl")


def write_table(path: Path, *rows: tuple[object, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)


def competition(folder: Path, ids: tuple[str, ...] = IDS) -> Path:
    """The files, with test rows and test files called `ids`."""
    for name in ("train_files", "test_files"):
        (folder / name).mkdir(parents=True)
    write_table(folder / "sample_submission.csv", ("id", "kind", "score"), *((name, "cat", 0.5) for name in ids))
    test = [(name, BREEDS[at % 3], at + 1) for at, name in enumerate(ids)]
    write_table(folder / "test.csv", ("id", "breed", "age"), *test)
    train = [(f"{at + 100}", BREEDS[at % 3], at % 9, KINDS[at % 3], at / 10) for at in range(12)]
    write_table(folder / "train.csv", ("id", "breed", "age", "kind", "score"), *train)
    for name in ids:
        (folder / "test_files" / f"{name}.txt").write_text(f"pet {name}")
    (folder / "train_files" / "100.txt").write_text("pet 100")
    return folder


def hidden(folder: Path, fault: str) -> Path:
    """The files as the rerun sees them, with `fault`."""
    ids = () if fault == "no-rows" else tuple(str(number) for number in range(500, 509))
    competition(folder, ids)
    test = folder / "test.csv"
    if fault == "unseen-category":
        test.write_text(test.read_text().replace("collie", "axolotl", 1))
    elif fault == "no-age":
        test.write_text(test.read_text().replace("age", "age_in_months"))
    elif fault == "no-value":
        test.write_text(test.read_text().replace("503,tabby,4", "503,tabby,"))
    elif fault == "empty-file":
        (folder / "test_files" / "504.txt").write_text("")
    elif fault != "no-rows":
        raise ValueError(fault)
    return folder


def datasets(folder: Path) -> dict[str, Path]:
    """Two folders as a competitor uploads them."""
    weights, wheels = folder / "weights", folder / "wheels"
    weights.mkdir(parents=True)
    wheels.mkdir()
    (weights / "model.bin").write_bytes(b"w" * 1000)
    (weights / "version.txt").write_text("1\n")
    for name, inner in (("model.pt", "model/data.pkl"), ("tables.zip", "a.csv")):
        with zipfile.ZipFile(weights / name, "w") as archive:
            archive.writestr(inner, "x")
    made = competition(folder / "saved")
    shutil.copy(made / "sample_submission.csv", weights)
    write_wheel(wheels, "greet", "py3-none-any", {"greet.py": "GREETING = 'hello from a wheel'\n"})
    write_wheel(wheels, "aged", "cp38-cp38-manylinux1_x86_64", {"aged.py": ""})
    return {"datasets/me/weights": weights, "datasets/me/wheels": wheels}


def write_wheel(folder: Path, name: str, tag: str, files: dict[str, str]) -> None:
    """A wheel of version 1.0."""
    info = f"{name}-1.0.dist-info"
    parts = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/RECORD": "".join(f"{each},,\n" for each in (*files, f"{info}/RECORD")),
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for each, text in parts.items():
            wheel.writestr(each, text)
