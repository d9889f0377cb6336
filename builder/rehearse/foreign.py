"""The rehearsal of any notebook or script, not only of those that kkb renders.

Expects: the file, the competition's folder with its sample submission, the folders of its datasets.
Produces: a Verdict: the commit run on the visible files, then the rerun on hidden ones (given, or made from the visible ones),
judged by the sample submission; with evidence. Everything is written below `scratch`.
Never: touches the user's files.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import RunError, UserError
from builder.machines import Machine
from builder.progress import Report, silent
from builder.rehearse import engine, judge, limits, lookalike, unpack
from builder.rehearse.findings import MUST, NOTE, SCORED, SHOULD, Evidence, Finding, cause, last_lines, remarks, unenforced
from builder.rehearse.session import COMPLETE, Outcome, Session
from builder.scoring import NOT_FOUND, Rejected
from builder.workspace import write_json

COMMIT, RERUN, RECORD = "commit", "rerun", "rehearsal.json"
LAYOUTS = ("typed", "classic")
SMALLEST_MEMORY = 200_000_000  # what Jupyter and an empty Python kernel take, with room to print
SHORTEST_S = 1.0
MOST_LISTED = 5


@dataclass(frozen=True)
class Foreign:
    """What is rehearsed.

    Attributes:
        notebook: An .ipynb, or a .py: a script kernel.
        competitions: Slug -> folder with the files as the commit run sees them. The first one judges.
        datasets: Path below /kaggle/input in the typed layout (`datasets/me/weights`) -> folder, as it is uploaded.
        machine: Its cores, memory, disk and layout hold for both runs.
        limit_s: Wall clock of each run.
        file: The submission's name.
        hidden: The first competition's folder as the rerun sees it; None: made of the visible one.
        rows: Rows of a hidden set that is made; None: see lookalike.rows_wanted.
        python: Interpreter of a clean environment; None: ours.
        notes: What a person should know about the environment.
    """

    notebook: Path
    competitions: Mapping[str, Path]
    datasets: Mapping[str, Path]
    machine: Machine
    limit_s: float
    file: str = "submission.csv"
    hidden: Path | None = None
    rows: int | None = None
    python: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """How the notebook would end on Kaggle. `label` is `Scored` or one of Kaggle's; nobody knows the score.

    `seconds`, `peak_mb` and `disk_mb` are those of the last run that was played, `runs` has them all. `evidence` is None when
    nothing failed.
    """

    label: str
    rows: int
    seconds: float
    peak_mb: float
    disk_mb: float
    findings: tuple[Finding, ...]
    enforced: tuple[str, ...]
    not_enforced: tuple[str, ...]
    evidence: Evidence | None
    runs: Mapping[str, Mapping[str, Any]]
    machine: str
    layout: str
    limit_s: float
    folder: str
    score: None = None
    forecast: Mapping[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        return asdict(self)


def rehearse(job: Foreign, scratch: Path, *, report: Report = silent) -> Verdict:
    """Play the commit run, then the rerun, and say how it would end.

    Raises:
        UserError: Something in `job` does not exist or makes no sense.
        RunError: It could not be done here: the sandbox does not start, this disk is full.
    """
    check(job)
    try:
        limits.refuse_full_disk(scratch)
        return _Rehearsal(job, scratch, report).play()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        limits.refuse_full_disk(scratch)
        raise RunError(
            "the disk here is full, which says nothing about the notebook",
            file=scratch,
            found=error,
            remedy="make room, or set TMPDIR to a folder on a larger disk",
        ) from None


class _Rehearsal:
    """One rehearsal while it is played."""

    def __init__(self, job: Foreign, scratch: Path, report: Report) -> None:
        self._job = job
        self._scratch = scratch
        self._report = report
        self._slug, self._visible = next(iter(job.competitions.items()))
        self._findings: list[Finding] = [_note("environment", words) for words in job.notes]
        self._runs: dict[str, Outcome] = {}
        self._datasets = {key: self._uploaded(key, folder) for key, folder in job.datasets.items()}

    def play(self) -> Verdict:
        job = self._job
        judge.form_of(self._visible)
        self._report(0, 2, "rehearsal: commit run on the visible files")
        commit = self._run(COMMIT, self._visible)
        if commit.status != COMPLETE:
            return self._failed(COMMIT, commit.label or "Notebook Threw Exception", commit.failure)
        if not (self._working(COMMIT) / job.file).is_file():
            words = f"there is no {job.file} in /kaggle/working after the commit run: this version cannot be submitted"
            return self._judged(COMMIT, self._visible, words)
        hidden = self._hidden()
        self._report(1, 2, "rehearsal: rerun on the hidden files")
        rerun = self._run(RERUN, hidden)
        self._report(2, 2, "rehearsal: judged")
        if rerun.status != COMPLETE:
            return self._failed(RERUN, rerun.label or "Notebook Threw Exception", rerun.failure)
        return self._judged(RERUN, hidden)

    def _hidden(self) -> Path:
        job = self._job
        if job.hidden is not None:
            return job.hidden
        made = lookalike.make(self._visible, self._scratch / "hidden", job.rows)
        if made.why_visible:
            words = f"the rerun saw the visible files, no hidden ones could be made: {made.why_visible}"
            self._findings.append(Finding(NOTE, "visible-only", words, "give hidden ones with --hidden DIR", str(self._visible)))
        return made.folder

    def _uploaded(self, key: str, folder: Path) -> Path:
        """A dataset as it arrives after an upload: archives are folders then."""
        archives = [path for path in sorted(folder.rglob("*")) if path.is_file() and unpack.is_opened(path)]
        if not archives or not key.startswith("datasets/"):
            return folder
        target = self._scratch / "uploaded" / key
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            unpack.place(path, target / path.relative_to(folder).parent, path.name)
        names = ", ".join(str(path.relative_to(folder)) for path in archives[:MOST_LISTED])
        words = f"{key}: Kaggle unpacks {names}{', ...' if len(archives) > MOST_LISTED else ''}; so did the rehearsal"
        remedy = "ship .onnx, .safetensors or .bin, or expect the folder"
        self._findings.append(Finding(NOTE, "archives-unpacked", words, remedy, str(folder)))
        return target

    def _run(self, name: str, competition: Path) -> Outcome:
        job, machine = self._job, self._job.machine
        inputs = {mount(machine.layout, f"competitions/{slug}"): folder for slug, folder in job.competitions.items()}
        inputs |= {mount(machine.layout, key): folder for key, folder in self._datasets.items()}
        inputs[mount(machine.layout, f"competitions/{self._slug}")] = competition
        session = Session(
            notebook=job.notebook,
            folder=self._scratch / name,
            inputs=inputs,
            limit_s=job.limit_s,
            cores=machine.cores,
            memory=machine.memory,
            working=machine.working,
            scratch=machine.scratch,
            rerun=name == RERUN,
            python=job.python,
        )
        outcome = self._runs[name] = engine.run(session)
        files = sum(path.is_file() for path in self._working(name).rglob("*"))
        self._findings += remarks(name, outcome, files, machine.output_files)
        return outcome

    def _working(self, name: str) -> Path:
        return self._scratch / name / "working"

    def _judged(self, name: str, competition: Path, missing: str = "") -> Verdict:
        """The verdict on the submission of a run that ended well."""
        try:
            rows = judge.judge(self._working(name), self._job.file, judge.form_of(competition))
        except Rejected as rejected:
            reason = f"{missing} ({rejected.reason})" if missing and rejected.label == NOT_FOUND else rejected.reason
            return self._failed(name, rejected.label, reason)
        return self._verdict(SCORED, rows, None)

    def _failed(self, name: str, label: str, reason: str) -> Verdict:
        outcome = self._runs[name]
        lines = last_lines(self._scratch / name)
        evidence = Evidence(name, outcome.place, outcome.exceeded, outcome.quiet_s, lines)
        places = {key.rsplit("/", 1)[-1]: key for key in (*(f"competitions/{slug}" for slug in self._job.competitions),
                                                          *self._job.datasets)}  # fmt: skip
        mounted = {slug: f"/kaggle/input/{mount(self._job.machine.layout, key)}" for slug, key in places.items()}
        # What a well-ended run printed does not tell why its file is wrong.
        text = reason if outcome.status == COMPLETE else "\n".join((reason, *lines))
        code, remedy = cause(label, text, outcome.exceeded, mounted)
        if code == "no-gpu" and self._job.machine.accelerator == "cuda":
            remedy = f"'{self._job.machine.name}' has a GPU, this host has none: rehearse where there is one"
        self._findings.insert(0, Finding(MUST, code, f"{name} run: {reason}", remedy, str(self._job.notebook)))
        return self._verdict(label, 0, evidence)

    def _verdict(self, label: str, rows: int, evidence: Evidence | None) -> Verdict:
        last, job = list(self._runs.values())[-1], self._job
        missing = (*last.not_enforced, *_lacking(job.machine))
        self._findings += unenforced(missing, "rehearse on a machine as large as Kaggle's")
        if any("/kaggle" in what for what in last.not_enforced):
            words = "without a sandbox there is no /kaggle here: code that names its paths fails for that reason alone"
            self._findings.append(Finding(SHOULD, "no-sandbox", words, "install bubblewrap", ""))
        shown = ("status", "seconds", "peak_mb", "disk_mb", "failure", "place", "exceeded", "quiet_s", "left", "log_cut")
        made = Verdict(
            label=label,
            rows=rows,
            seconds=last.seconds,
            peak_mb=last.peak_mb,
            disk_mb=last.disk_mb,
            findings=tuple(self._findings),
            enforced=last.enforced,
            not_enforced=missing,
            evidence=evidence,
            runs={name: {key: getattr(outcome, key) for key in shown} for name, outcome in self._runs.items()},
            machine=job.machine.name,
            layout=job.machine.layout,
            limit_s=job.limit_s,
            folder=str(self._scratch),
        )
        write_json(self._scratch / RECORD, made.record())
        return made


def mount(layout: str, key: str) -> str:
    """Path below /kaggle/input of a source: `datasets/me/weights`, or `weights` in the classic layout."""
    parts = key.split("/")
    if layout != "classic":
        return key
    return "/".join(parts[2:]) if parts[0] in ("datasets", "notebooks", "models") else parts[-1]


def machine_for(machine: Machine, *, cores: int | None, memory: int | None, layout: str) -> Machine:
    """The machine with other cores, memory or layout. Raises UserError for values that make no sense."""
    if layout and layout not in LAYOUTS:
        raise UserError("unknown mount layout", found=layout, expected=" or ".join(LAYOUTS))
    if cores is not None and cores < 1:
        raise UserError("a machine has at least one core", found=f"--cpus {cores}", expected="1 or more")
    if memory is not None and memory < SMALLEST_MEMORY:
        raise UserError(
            "no notebook runs in so little memory",
            found=f"--memory {memory} bytes",
            expected=f"at least {SMALLEST_MEMORY // 10**6}MB, which an empty one takes",
        )
    return dataclasses.replace(
        machine, cores=cores or machine.cores, memory=memory or machine.memory, layout=layout or machine.layout
    )


def check(job: Foreign) -> None:
    """Raises UserError for what does not exist or makes no sense, before anything is started."""
    _check_notebook(job.notebook)
    if not job.competitions:
        raise UserError("which competition is it for?", expected="the folder of its files", remedy="add --competition SLUG=DIR")
    if not SHORTEST_S <= job.limit_s <= job.machine.session_limit_s:
        longest = job.machine.session_limit_s
        raise UserError(
            "the limit makes no sense",
            found=f"{job.limit_s:g} s",
            expected=f"{SHORTEST_S:g} s to {longest / 3600:g} h, the longest session of '{job.machine.name}'",
        )
    if not job.file or "/" in job.file or Path(job.file).suffix not in judge.TABLES:
        raise UserError(
            "not the name of a submission",
            found=repr(job.file),
            expected="a file name such as submission.csv or submission.parquet",
        )
    if job.rows is not None and job.rows < 1:
        raise UserError("a hidden set has at least one row", found=f"--rows {job.rows}", expected="1 or more")
    folders = {f"competition {slug}": path for slug, path in job.competitions.items()} | dict(job.datasets)
    if job.hidden:
        folders["the hidden files"] = job.hidden
    for name, path in folders.items():
        if not path.is_dir():
            found = "a file" if path.exists() else "nothing"
            raise UserError(f"{name}: not a folder", file=path, found=found, expected="a folder with its files")
    for folder in (next(iter(job.competitions.values())), *([job.hidden] if job.hidden else [])):
        judge.form_of(folder)


def _check_notebook(path: Path) -> None:
    if not path.is_file() or path.suffix not in (".ipynb", ".py"):
        found = "a folder" if path.is_dir() else (path.suffix or "a file without suffix") if path.exists() else "nothing"
        raise UserError("not a notebook", file=path, found=found, expected="an .ipynb or .py file")
    if path.suffix == ".py":
        return
    import nbformat

    try:
        raw = json.loads(path.read_text("utf-8"))
        if not isinstance(raw, dict) or "nbformat" not in raw:
            raise ValueError("JSON without a notebook's format number")
        notebook = nbformat.reads(json.dumps(raw), as_version=4)  # type: ignore[no-untyped-call]
    except (ValueError, OSError, KeyError, AttributeError, TypeError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError("not a notebook", file=path, found=words, expected="a Jupyter notebook (nbformat 4)") from None
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise UserError("not a Python notebook", file=path, found=language, expected="python")


def _lacking(machine: Machine) -> tuple[str, ...]:
    """What this host has less of than the machine."""
    found = []
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if machine.memory > have:
        found.append(f"{machine.memory / 1e9:.0f} GB of memory: there are only {have / 1e9:.0f} GB here")
    if machine.accelerator == "cuda" and not any(Path("/dev").glob("nvidia[0-9]*")):
        found.append(f"{machine.devices} x {machine.device or 'GPU'}: there is none here")
    return tuple(found)


def _note(code: str, words: str) -> Finding:
    return Finding(NOTE, code, words, "", "")
