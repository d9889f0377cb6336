"""Adds a competition: takes visible and hidden data from zips or folders, checks them, and builds the two mounts once.

`visible/` is what anybody may download and what a commit run sees. `hidden/` is what a scored rerun sees: the visible files
overlaid with the hidden ones, without the solution. The solution lies beside them, outside of everything that is mounted,
listed or downloaded.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import time
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder import machines, metrics, scoring, workspace
from builder.errors import UserError
from builder.standin import fitting
from builder.standin.fitting import SAMPLE, SOLUTION, TEST
from builder.standin.home import Home, files_below
from builder.standin.store import Store

KINDS = ("notebook", "csv", "any")
SLUG = re.compile(r"-*[a-z0-9][a-z0-9-]*")
LEFT_OUT = (".*", "__MACOSX")  # names in a folder that are no data
# A name in a zip that begins at a root or climbs out, in either system's spelling.
ELSEWHERE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)


@dataclass(frozen=True)
class Competition:
    """What a person says about a competition; times in seconds.

    `kind` says what may be submitted: versions of notebooks (as in every code competition), files (`csv`), or `any` of both.
    """

    slug: str
    title: str
    metric: str
    limit_s: float
    daily: int
    machine: str
    submission_file: str
    kind: str = "notebook"

    def check(self) -> None:
        """Raises UserError on a value that cannot be."""
        if not SLUG.fullmatch(self.slug):
            raise UserError("wrong competition name", found=repr(self.slug), expected="letters a to z, digits and dashes")
        metrics.get(self.metric)
        machines.load(self.machine)
        if self.limit_s <= 0 or self.daily <= 0:
            found = f"limit {self.limit_s} s, {self.daily} a day"
            raise UserError("wrong limit of a competition", found=found, expected="a time limit and a daily limit above 0")
        if self.kind not in KINDS:
            raise UserError("wrong kind of competition", found=repr(self.kind), expected=" or ".join(KINDS))
        if Path(self.submission_file).suffix not in (".csv", ".parquet") or "/" in self.submission_file:
            raise UserError("wrong submission file", found=self.submission_file, expected="the name of a .csv or .parquet file")


def add(home: Home, store: Store, competition: Competition, data: Path, hidden: Path, *, serving: bool = False) -> dict[str, Any]:
    """Add a competition, or replace its data; its submissions stay. Adding the same again does nothing.

    `serving` says that a server is up: then data is not taken away from under a run.
    """
    competition.check()
    digest = workspace.digest_of({"data": _digest(data), "hidden": _digest(hidden)})
    row = store.one("SELECT * FROM competitions WHERE slug = ?", competition.slug)
    same_data = row is not None and row["digest"] == digest and home.hidden(competition.slug).is_dir()
    changed = row is None or not same_data or any(row[name] != value for name, value in asdict(competition).items())
    if not same_data:
        if serving and row is not None and store.one("SELECT 1 FROM jobs WHERE state = 'running'"):
            remedy = "wait until it has ended: kkb standin status"
            raise UserError(f"the data of '{competition.slug}' cannot be replaced while a kernel runs", remedy=remedy)
        with workspace.replacing_folder(home.competition(competition.slug)) as folder:
            _build(folder, data, hidden)
            fitting.check(folder, competition.metric, data, hidden)
    elif row is not None and row["metric"] != competition.metric:
        fitting.check_metric(home.competition(competition.slug), competition.metric, hidden)
    if changed:
        _save(store, competition, digest)
    folder = home.competition(competition.slug)
    counts = {"train_files": len(files_below(folder / "visible")), "hidden_files": len(files_below(folder / "hidden"))}
    return {
        **asdict(competition),
        "digest": workspace.short(digest),
        "changed": changed,
        "rows": _rows(folder / SOLUTION),
        **counts,
    }


def _save(store: Store, competition: Competition, digest: str) -> None:
    sql = (
        "INSERT INTO competitions (slug, id, title, metric, limit_s, daily, machine, submission_file, kind, digest, created)"
        " VALUES (?, (SELECT count(*) + 1 FROM competitions), ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (slug) DO UPDATE SET title = excluded.title, metric = excluded.metric, limit_s = excluded.limit_s,"
        " daily = excluded.daily, machine = excluded.machine, submission_file = excluded.submission_file,"
        " kind = excluded.kind, digest = excluded.digest"
    )
    store.run(sql, *asdict(competition).values(), digest, time.time())


def _digest(source: Path) -> str:
    """Digest of a zip, or of a folder's names and contents."""
    if source.is_file():
        return workspace.sha256_file(source)
    if source.is_dir():
        _check_links(source)
        return workspace.digest_of({path.as_posix(): workspace.sha256_file(source / path) for path in files_below(source)})
    raise UserError("there is no such file or folder", file=source, expected="a .zip or a folder with the competition's files")


def _build(folder: Path, data: Path, hidden: Path) -> None:
    visible, rerun, incoming = folder / "visible", folder / "hidden", folder / "incoming"
    _take(data, visible, SAMPLE)
    _take(hidden, incoming, SOLUTION)
    if (visible / SOLUTION).exists():
        raise UserError("the visible data has the solution", file=data, found=SOLUTION, remedy="keep it in the hidden zip only")
    for name in (SAMPLE, SOLUTION, TEST):
        if not (incoming / name).is_file():
            raise UserError("the hidden data is not complete", file=hidden, found=_names(incoming), expected=f"{name} at the top")
    for name in (SAMPLE, TEST):
        if not (visible / name).is_file():
            raise UserError("the visible data is not complete", file=data, found=_names(visible), expected=f"{name} at the top")
    (incoming / SOLUTION).replace(folder / SOLUTION)
    # Hard links: the two mounts share what they have in common, and nobody writes to either.
    for path in files_below(visible):
        if not (incoming / path).exists():
            (incoming / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(visible / path, incoming / path)
    incoming.rename(rerun)


def _take(source: Path, target: Path, marker: str) -> None:
    """Copy a folder, or unpack a zip; a single folder that wraps everything is left out."""
    target.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    else:
        try:
            with zipfile.ZipFile(source) as archive:
                _check_entries(source, archive.namelist())
                archive.extractall(target)
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
            raise UserError(
                "cannot be unpacked", file=source, found=error, expected="a .zip of the competition's files"
            ) from None
    entries = [path for path in target.iterdir() if path.name != "__MACOSX"]
    if len(entries) == 1 and entries[0].is_dir() and (entries[0] / marker).is_file():
        for path in list(entries[0].iterdir()):
            path.rename(target / path.name)


def _check_links(source: Path) -> None:
    """Raises UserError when a link among what would be copied leads out of the folder: it could lead to anything at home."""
    top = Path(os.path.realpath(source))
    folders, seen = [top], {top}
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in LEFT_OUT):
                continue
            end = Path(os.path.realpath(path))
            if path.is_symlink() and (not end.is_relative_to(top) or not end.exists()):
                what = "a link leads out of the folder" if not end.is_relative_to(top) else "a link leads nowhere"
                found = f"{path.relative_to(top)} -> {path.readlink()}"
                raise UserError(what, file=source, found=found, remedy="put the file itself in its place")
            if end.is_dir() and end not in seen:  # copying follows links to folders inside, so this does too
                seen.add(end)
                folders.append(end)


def _check_entries(source: Path, names: list[str]) -> None:
    """Raises UserError when an entry of a zip would lie outside of the folder that the zip is unpacked into."""
    for name in names:
        if ELSEWHERE.match(name):
            expected = "names below the zip's own top, without .."
            raise UserError("an entry of the zip leads out of it", file=source, found=name, expected=expected)


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"


def _rows(table: Path) -> int:
    return len(scoring.read_table(table))
