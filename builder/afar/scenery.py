# ruff: noqa: F821
# mypy: disable-error-code="name-defined"
"""The cell in front of a notebook that is rehearsed on Kaggle, rendered verbatim: it builds a hidden test set where it runs.

Expects: SCENE, the JSON value that `parcel.scene` makes; the standard library and pandas; the competition, mounted as always
    below KKB_KAGGLE or /kaggle, with the very training table that the scene was made of.
Produces: two folders like /kaggle in scratch, links to what is mounted but for the test table, the sample submission and the test
    images. In `rerun` these are made of training rows, and the cells that follow run as in the scored rerun, on it; in `commit`
    there are no test rows, and the notebook's probe runs once more for its prices. In the output: `rehearsal.json`, and what the
    notebook wrote, in a folder for each of the two, never under the name of a submission.
Never: knows a label; writes to what is mounted.
"""

import base64
import hashlib
import json
import lzma
import os
import re
import string
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT, STARTED, RERUN = "KKB_KAGGLE", "KKB_SESSION_START", "KAGGLE_IS_COMPETITION_RERUN"
FILE = "rehearsal.json"
LONGEST_S = 86_400.0  # a first process that is older is no session's


def enter_scene(scene: dict[str, Any]) -> dict[str, Any]:
    """Build both folders, and let the cells that follow take the first for /kaggle. Returns what there is to tell so far."""
    arrived = time.time()
    real, fake = Path(os.environ.get(ROOT) or "/kaggle"), Path(tempfile.mkdtemp(prefix="kkb-scene-"))
    for name in ("commit", "rerun"):
        build(scene, real, fake / name, rows=name == "rerun")
        working = real / "working" / name / "working"
        working.mkdir(parents=True, exist_ok=True)
        (fake / name / "working").symlink_to(working)
    os.chdir(fake / "rerun" / "working")
    began, took = session_start(arrived), time.time() - arrived
    # What the scenery took is no time of the notebook's: its clock begins so much later.
    os.environ.update({ROOT: str(fake / "rerun"), RERUN: "1", STARTED: f"{began + took:.3f}", **scene["environment"]})
    told = {"status": "began", "digest": scene["digest"], "built_s": round(took, 3), "output": str(real / "working")}
    write_told(told)
    sys.stdout.write(f"rehearsal: the scene was set in {took:.1f} s\n")
    return told


def leave_scene(told: dict[str, Any], file: str, probe: Callable[[], object] | None) -> None:
    """After the last cell: tell how long it took, put the submission out of reach, and run the probe for its prices."""
    seconds, output = time.time() - float(os.environ[STARTED]), Path(told["output"])
    hide_submission(output / "rerun" / "working", file)
    written = sum(path.stat().st_size for path in (output / "rerun").rglob("*") if path.is_file())
    told |= {"status": "complete", "seconds": round(seconds, 3), "bytes": written}
    write_told(told)
    if probe is None:
        return
    os.environ.update({ROOT: str(Path(os.environ[ROOT]).with_name("commit")), STARTED: f"{time.time():.3f}"})
    os.environ.pop(RERUN)
    error = ""
    try:
        probe()
    except Exception as fault:  # noqa: BLE001  whatever it is, the verdict tells it
        error = f"{type(fault).__name__}: {fault}"
    hide_submission(output / "commit" / "working", file)
    told["commit"] = {"seconds": round(time.time() - float(os.environ[STARTED]), 3), "error": error}
    write_told(told)


def write_told(told: dict[str, Any]) -> None:
    """Replace the output's rehearsal.json."""
    path = Path(told["output"]) / FILE
    partial = path.with_name(f".{FILE}.partial")
    partial.write_text(json.dumps(told, indent=1), "utf-8")
    partial.replace(path)


def hide_submission(working: Path, file: str) -> None:
    """Give the submission a name that no competition takes."""
    if (working / file).is_file():
        (working / file).replace(working / f"answers{Path(file).suffix}")


def session_start(now: float) -> float:
    """When this session began, in unix time: told, else when the container's first process did."""
    if STARTED in os.environ:
        return float(os.environ[STARTED])
    try:
        ticks = int(Path("/proc/1/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        age = float(Path("/proc/uptime").read_text("utf-8").split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return now
    return now - age if 0 <= age < LONGEST_S else now


def build(scene: dict[str, Any], real: Path, fake: Path, *, rows: bool) -> None:
    """Fill `fake` with links to what `real` has, and with the test set of the scene: its rows, or none."""
    slug, test = scene["competition"], scene["test"]
    places = (f"competitions/{slug}", slug)
    place = next((place for place in places if (real / "input" / place / test).is_file()), None)
    if place is None:
        raise RuntimeError(f"{slug} is not mounted: looked for {test} in {' and '.join(places)} below {real / 'input'}")
    link(real / "input", fake / "input", {place}, set())
    mounted, made = real / "input" / place, fake / "input" / place
    images = scene["test_image"].partition("{")[0].rpartition("/")[0]
    # Where training images lie in the same folder, it stays as it is and gets more of them.
    own = {images} if images and not scene["image"].startswith(f"{images}/") else set()
    link(mounted, made, {test, scene["sample"], *own}, {images} - own - {""})
    folds = write_tables(scene, mounted, made, unpacked(scene["rows"]) if rows else {"at": [], "folds": [], "ids": {}})
    (fake / "rehearsal").mkdir()
    (fake / "rehearsal" / "folds.json").write_text(json.dumps(folds), "utf-8")


def link(real: Path, fake: Path, gone: set[str], opened: set[str], below: str = "") -> None:
    """Make the folder `fake` of links to what is in `real`, without `gone`; folders on the way to it, and `opened`, are real."""
    fake.mkdir(parents=True, exist_ok=True)
    with os.scandir(real) as entries:
        for entry in entries:
            name = below + entry.name
            if any(path == name or path.startswith(f"{name}/") for path in (*gone, *opened)):
                if name not in gone:
                    link(real / entry.name, fake / entry.name, gone, opened, f"{name}/")
            else:
                (fake / entry.name).symlink_to(entry.path)


def write_tables(scene: dict[str, Any], mounted: Path, made: Path, rows: dict[str, Any]) -> dict[str, int]:
    """The test table, the sample submission and the images. Returns which models may answer each row: those of its fold."""
    test = read_table(mounted / scene["test"])
    read = {scene["id"], *test.columns, *(name for _, name, _, _ in string.Formatter().parse(scene["image"]) if name)}
    train = read_table(mounted / scene["train"], lambda column: column in read)
    found = hashlib.sha256("\n".join(train[scene["id"]]).encode()).hexdigest()
    if found != scene["train_ids"]:
        raise RuntimeError(f"{scene['train']} of the competition is not the one at home: fetch it again there (kkb fetch)")
    drawn = train.iloc[rows["at"]].reset_index(drop=True)
    names = [rows["ids"].get(str(at), name) for at, name in enumerate(drawn[scene["id"]])]
    cells = drawn[list(test.columns)].copy()
    cells[scene["id"]] = names
    (made / scene["test"]).parent.mkdir(parents=True, exist_ok=True)
    cells.to_csv(made / scene["test"], index=False)
    write_sample(scene, mounted / scene["sample"], made / scene["sample"], names)
    if scene["image"]:
        for source, target in zip(drawn.to_dict("records"), cells.to_dict("records"), strict=True):
            path = made / scene["test_image"].format_map(defaultdict(str, target))
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(path):
                path.symlink_to(mounted / scene["image"].format_map(source))
    return dict(zip(names, rows["folds"], strict=True))


def write_sample(scene: dict[str, Any], visible: Path, path: Path, names: list[str]) -> None:
    """The sample submission in the form of the visible one: its first row under every id."""
    import pandas as pd

    parquet = path.suffix == ".parquet"
    sample = pd.read_parquet(visible) if parquet else read_table(visible)
    keys, (column, pattern, labels) = names, scene["key"]
    if pattern:
        keys = [row_key(pattern, name, label) for name in names for label in labels]
    if not len(sample):
        sample = pd.DataFrame([dict.fromkeys(sample.columns, "0")], columns=sample.columns)
    filled = sample.iloc[[0] * len(keys)].reset_index(drop=True)
    filled[column] = keys
    if parquet and sample[column].dtype.kind in "iu" and all(map(str.isdecimal, keys)):
        numbers = filled[column].astype(sample[column].dtype)
        filled[column] = numbers if list(map(str, numbers)) == keys else keys  # `007` is no number
    path.parent.mkdir(parents=True, exist_ok=True)
    filled.to_parquet(path, index=False) if parquet else filled.to_csv(path, index=False)


def row_key(pattern: str, name: str, label: str) -> str:
    """The id of a row of the long form: `{id}_{class}` filled in."""
    return "".join({"{id}": name, "{class}": label}.get(part, part) for part in re.split(r"(\{id\}|\{class\})", pattern))


def read_table(path: Path, wanted: Callable[[str], bool] | None = None) -> Any:
    """A csv table in which every cell is text, as in the file; of its columns those that are wanted."""
    import pandas as pd

    return pd.read_csv(path, dtype=str, keep_default_na=False, usecols=wanted)


def unpacked(lines: list[str]) -> dict[str, Any]:
    """Which training rows are the hidden ones, in which fold each is, and the new ids of those that come again."""
    packed: dict[str, Any] = json.loads(lzma.decompress(base64.b64decode("".join(lines))))
    at = 0
    for place, step in enumerate(packed["at"]):
        packed["at"][place] = at = at + step
    return packed


if __name__ == "__main__":
    TOLD = enter_scene(SCENE)
