"""Executes what waits in the queue: commit runs and reruns one lane, submitted files the other.

A job is taken inside a transaction and finished inside one; what a kill interrupts is queued again when the server starts. Each
run is one process tree below the rehearsal engine, which ends it at its limit, when its kernel is deleted, and when the server
stops.
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

from builder import machines, scoring, workspace
from builder.errors import KkbError
from builder.rehearse import engine
from builder.rehearse.session import CANCELLED, COMPLETE, Outcome, Session
from builder.standin import sources, storage
from builder.standin.wire import Service

log = logging.getLogger(__name__)
IDLE_S = 0.5
KAGGLE_ERROR = "Kaggle Error"


class Runner:
    """The threads that work the queue off."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._running: dict[tuple[int, int], list[threading.Event]] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Queue again what a kill interrupted, then begin."""
        self._requeue()
        lanes = ["run"] * max(1, self._service.settings.runners) + ["score"]
        for lane in lanes:
            thread = threading.Thread(target=self._work, args=(lane,), name=f"standin-{lane}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _requeue(self) -> None:
        with self._service.store.write() as db:
            db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
            sql = (
                "UPDATE kernel_versions AS v SET status = 'QUEUED', started = NULL WHERE status = 'RUNNING' AND EXISTS"
                " (SELECT 1 FROM jobs j WHERE j.kernel = v.kernel AND j.version = v.number AND j.ref IS NULL)"
            )
            db.execute(sql)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End all runs, which stay in the queue, and the threads."""
        self._stopping.set()
        with self._wake:
            for events in self._running.values():
                for event in events:
                    event.set()
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)
        self._requeue()

    def wake(self) -> None:
        """Look at the queue now."""
        with self._wake:
            self._wake.notify_all()

    def cancel(self, kernel: int, version: int) -> None:
        """End the runs of a kernel version; one that has not started is taken out of the queue."""
        with self._service.store.write() as db:
            sql = "UPDATE kernel_versions SET status = ?, finished = ? WHERE kernel = ? AND number = ? AND status = 'QUEUED'"
            db.execute(sql, ("CANCEL_ACKNOWLEDGED", self._service.now(), kernel, version))
            sql = "DELETE FROM jobs WHERE kernel = ? AND version = ? AND ref IS NULL AND state = 'queued'"
            db.execute(sql, (kernel, version))
        with self._wake:
            for event in self._running.get((kernel, version), []):
                event.set()

    # -- the queue -----------------------------------------------------------------------------------------------------

    def _work(self, lane: str) -> None:
        while not self._stopping.is_set():
            job = self._take(lane)
            if job is None:
                with self._wake:
                    self._wake.wait(IDLE_S)
                continue
            try:
                self._do(job)
            except Exception:  # a fault of ours must not end the thread; the person sees Kaggle's word for it
                log.exception("job %s failed", dict(job))
                self._give_up(job)

    def _take(self, lane: str) -> sqlite3.Row | None:
        sql = "SELECT * FROM jobs WHERE lane = ? AND state = 'queued' ORDER BY id LIMIT 1"
        store = self._service.store
        if store.one(sql, lane) is None:
            return None
        with store.write() as db:
            job: sqlite3.Row | None = db.execute(sql, (lane,)).fetchone()
            if job is not None:
                db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job["id"],))
        return job

    def _do(self, job: sqlite3.Row) -> None:
        """Work one job off. It stays in the queue when the server is stopping."""
        if job["lane"] == "score":
            self._score(job, None)
        elif job["ref"] is None:
            self._commit(job)
        else:
            self._rerun(job)

    def _give_up(self, job: sqlite3.Row) -> None:
        if job["ref"] is not None:
            self._finish_submission(job, error=KAGGLE_ERROR)
        else:
            self._finish_version(job, "ERROR", f"{KAGGLE_ERROR}: see {self._service.home.log.name}")

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _commit(self, job: sqlite3.Row) -> None:
        kernel, version = self._rows(job)
        if kernel is None or version is None:
            self._forget(job)  # deleted meanwhile
            return
        sql = "UPDATE kernel_versions SET status = 'RUNNING', started = ? WHERE kernel = ? AND number = ?"
        self._service.store.run(sql, self._service.now(), job["kernel"], job["version"])
        fate = json.loads(version["request"]).get("fate", "")
        if fate == "stuck":
            self._forget(job)  # it stays RUNNING and nobody works on it, as seen with kernels whose executor died
            return
        if fate == "error":
            self._finish_version(job, "ERROR", "A fault was asked for")
            return
        folder = self._service.home.kernel(kernel["folder"], version["number"])
        outcome = self._execute(job, version, folder / "notebook.ipynb", folder / "run", rerun=False)
        if outcome is None:
            return
        if self._rows(job)[1] is None:
            shutil.rmtree(folder, ignore_errors=True)  # deleted meanwhile
            self._forget(job)
            return
        _keep(folder, outcome)
        status = {COMPLETE: "COMPLETE", CANCELLED: "CANCEL_ACKNOWLEDGED"}.get(outcome.status, "ERROR")
        self._finish_version(job, status, outcome.failure)

    def _rerun(self, job: sqlite3.Row) -> None:
        kernel, version = self._rows(job)
        if kernel is None or version is None:
            self._finish_submission(job, error=KAGGLE_ERROR)
            return
        notebook = self._service.home.kernel(kernel["folder"], version["number"]) / "notebook.ipynb"
        run = self._service.home.submission(job["ref"]) / "run"
        outcome = self._execute(job, version, notebook, run, rerun=True)
        if outcome is None:
            return
        workspace.write_json(run.parent / "session.json", outcome.record())
        if outcome.status == COMPLETE:
            self._score(job, run / "working")
        else:
            self._finish_submission(job, error=outcome.label or "Notebook Threw Exception")
        shutil.rmtree(run, ignore_errors=True)  # nobody gets to see the log or the output of a rerun

    def _execute(self, job: sqlite3.Row, version: sqlite3.Row, notebook: Path, folder: Path, *, rerun: bool) -> Outcome | None:
        """Run the saved version; None when the server is stopping and the run has to be done again."""
        home, key = self._service.home, (job["kernel"], job["version"])
        shutil.rmtree(folder, ignore_errors=True)
        mounts = json.loads(version["sources"])
        stop = threading.Event()
        with self._wake:
            self._running.setdefault(key, []).append(stop)
            if self._stopping.is_set():
                stop.set()
        try:
            machine = machines.load(version["machine"])
            session = Session(
                notebook=notebook,
                folder=folder,
                inputs=sources.inputs(home, self._service.owner, mounts, self._service.settings.layout, rerun=rerun),
                limit_s=self._rerun_limit(job["ref"], version) if rerun else version["limit_s"],
                cores=machine.cores,
                memory=machine.memory,
                working=machine.working,
                rerun=rerun,
            )
            outcome = engine.run(session, stop=stop)
        except KkbError as error:
            log.warning("a run could not be started: %s", error)
            outcome = Outcome("error", KAGGLE_ERROR, str(error), 0.0, 0.0, 0.0, (), ())
        finally:
            with self._wake:
                self._running[key].remove(stop)
        return None if self._stopping.is_set() and outcome.status == CANCELLED else outcome

    def _rerun_limit(self, ref: int, version: sqlite3.Row) -> float:
        sql = "SELECT c.limit_s FROM submissions s JOIN competitions c ON c.slug = s.competition WHERE s.ref = ?"
        row = self._service.store.one(sql, ref)
        return float(row["limit_s"] if row else version["limit_s"])

    def _rows(self, job: sqlite3.Row) -> tuple[sqlite3.Row | None, sqlite3.Row | None]:
        store = self._service.store
        kernel = store.one("SELECT * FROM kernels WHERE id = ?", job["kernel"])
        version = store.one("SELECT * FROM kernel_versions WHERE kernel = ? AND number = ?", job["kernel"], job["version"])
        return kernel, version

    def _forget(self, job: sqlite3.Row) -> None:
        self._service.store.run("DELETE FROM jobs WHERE id = ?", job["id"])

    def _finish_version(self, job: sqlite3.Row, status: str, failure: str) -> None:
        with self._service.store.write() as db:
            sql = "UPDATE kernel_versions SET status = ?, failure = ?, finished = ? WHERE kernel = ? AND number = ?"
            db.execute(sql, (status, failure, self._service.now(), job["kernel"], job["version"]))
            db.execute("DELETE FROM jobs WHERE id = ?", (job["id"],))

    # -- scores --------------------------------------------------------------------------------------------------------

    def _score(self, job: sqlite3.Row, working: Path | None) -> None:
        """Score what a rerun wrote to `working`, or the file that was submitted."""
        home = self._service.home
        sql = "SELECT s.*, c.metric FROM submissions s JOIN competitions c ON c.slug = s.competition WHERE s.ref = ?"
        row = self._service.store.one(sql, job["ref"])
        if row is None:
            self._forget(job)
            return
        folder = home.submission(row["ref"])
        path = folder / row["file_name"]
        if working is not None:
            path.unlink(missing_ok=True)
            written = storage.inside(working, row["file_name"])
            if written is not None:
                shutil.move(written, path)
        solution, sample = home.solution(row["competition"]), home.hidden(row["competition"]) / "sample_submission.csv"
        try:
            scores = scoring.score(path, solution, sample, row["metric"])
        except scoring.Rejected as rejected:
            workspace.write_json(folder / "rejected.json", {"label": rejected.label, "reason": rejected.reason})
            self._finish_submission(job, error=rejected.label, size=_size(path))
            return
        self._finish_submission(job, scores=scores, size=_size(path))

    def _finish_submission(
        self, job: sqlite3.Row, *, error: str = "", scores: scoring.Scores | None = None, size: int = 0
    ) -> None:
        values: tuple[Any, ...] = (
            "ERROR" if scores is None else "COMPLETE",
            scores.public if scores else "",
            scores.private if scores else "",
            error,
            size,
            self._service.now(),
        )
        with self._service.store.write() as db:
            sql = "UPDATE submissions SET status = ?, public = ?, private = ?, error = ?, bytes = ?, finished = ? WHERE ref = ?"
            db.execute(sql, (*values, job["ref"]))
            db.execute("DELETE FROM jobs WHERE id = ?", (job["id"],))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _keep(folder: Path, outcome: Outcome) -> None:
    """Put a run's output, log and outcome where people and the API look for them."""
    run, output = folder / "run", folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    if (run / "working").is_dir():
        (run / "working").rename(output)
    for name in ("log.json", "executed.ipynb"):
        if (run / name).is_file():
            (run / name).replace(folder / name)
    workspace.write_json(folder / "session.json", outcome.record())
    shutil.rmtree(run, ignore_errors=True)
