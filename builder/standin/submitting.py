"""Competitions, submitting: limits, saved versions, files."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from kagglesdk.competitions.types import competition_api_service as api

from builder.standin import faults, kernels, storage, uploads
from builder.standin.competitions import competition_row
from builder.standin.wire import ApiError, Call, Methods

DAY = 24 * 3600


def limits(call: Call, request: Any) -> api.ApiSubmissionLimits:
    """GetSubmissionLimits."""
    row = competition_row(call, request.competition_name)
    response = api.ApiSubmissionLimits()
    response.num_today, response.num_total = _today(call, row), _total(call, row)
    response.num_allowed_now = max(row["daily"] - response.num_today, 0)
    return response


def _today(call: Call, row: sqlite3.Row) -> int:
    now = call.service.now()
    sql = "SELECT count(*) AS n FROM submissions WHERE competition = ? AND created >= ?"
    counted = call.store.one(sql, row["slug"], now - now % DAY)
    return counted["n"] if counted else 0


def _total(call: Call, row: sqlite3.Row) -> int:
    counted = call.store.one("SELECT count(*) AS n FROM submissions WHERE competition = ?", row["slug"])
    return counted["n"] if counted else 0


def _check_limit(call: Call, row: sqlite3.Row) -> None:
    if _today(call, row) >= row["daily"]:
        raise ApiError(400, f"You have used all {row['daily']} submissions of today. The limit resets at midnight UTC.")


def submit_code(call: Call, request: Any) -> api.ApiCreateCodeSubmissionResponse:
    """CreateCodeSubmission: the saved version runs again on the hidden data."""
    row = competition_row(call, request.competition_name)
    number = request.kernel_version or 0
    label = f"v{number}" if number else None
    kernel, version = kernels.find(call, request.kernel_owner, request.kernel_slug, label)
    problem = _refusal(call, row, kernel, version, request.file_name)
    if problem:
        raise ApiError(400, problem)
    _check_limit(call, row)
    values = (row["slug"], kernel["slug"], version["number"], request.file_name, request.submission_description or "")
    ref = _insert(call, values, kernel=kernel["id"], version=version["number"])
    response = api.ApiCreateCodeSubmissionResponse()
    response.message, response.ref = f"Successfully submitted to {row['title']}", ref
    return response


def _refusal(call: Call, row: sqlite3.Row, kernel: sqlite3.Row, version: sqlite3.Row, file_name: str) -> str:
    """Why a version cannot be submitted; empty when it can."""
    number, wanted = version["number"], row["submission_file"]
    online = json.loads(version["request"]).get("enableInternet", False)
    mounts = json.loads(version["sources"])
    attached = any(mount["kind"] == "competition" and mount["slug"] == row["slug"] for mount in mounts)
    written = storage.inside(call.home.kernel(kernel["folder"], number) / "output", file_name) is not None
    complete = version["status"] == kernels.COMPLETE
    rules = (
        (row["kind"] != "csv", "This competition does not accept submissions from Notebooks."),
        (complete, f"Version {number} of the notebook has not completed successfully (it is {version['status']})."),
        (not online, "Your Notebook cannot use internet access in this competition. Disable internet and save a new version."),
        (attached, "The notebook does not have the competition's data attached."),
        (file_name == wanted, f"The submission file of this competition must be named {wanted}, not '{file_name}'."),
        (written, f"The output of version {number} has no file '{file_name}'."),
    )
    return next((problem for fine, problem in rules if not fine), "")


def _insert(
    call: Call, values: tuple[Any, ...], *, kernel: int | None = None, version: int | None = None, file: Path | None = None
) -> int:
    """A new submission and its job; a file submission brings its file along, in the same transaction."""
    now = call.service.now()
    with call.store.write() as db:
        sql = (
            "INSERT INTO submissions (competition, kernel, version, file_name, description, status, created)"
            " VALUES (?, ?, ?, ?, ?, 'PENDING', ?)"
        )
        ref = int(db.execute(sql, (*values, now)).lastrowid or 0)
        fate = faults.fate(db, "submission")
        if fate == "error":
            sql = "UPDATE submissions SET status = 'ERROR', error = 'Kaggle Error', finished = ? WHERE ref = ?"
            db.execute(sql, (now, ref))
        elif fate != "stuck":
            sql = "INSERT INTO jobs (lane, kernel, version, ref, created) VALUES (?, ?, ?, ?, ?)"
            db.execute(sql, ("run" if file is None else "score", kernel, version, ref, now))
        if file is not None:
            target = call.home.submission(ref) / values[3]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            db.execute("UPDATE submissions SET bytes = ? WHERE ref = ?", (target.stat().st_size, ref))
    call.service.wake()
    return ref


def _check_files(row: sqlite3.Row) -> None:
    if row["kind"] == "notebook":
        raise ApiError(400, "Submission not allowed: This competition only accepts Submissions from Notebooks.")


def start_upload(call: Call, request: Any) -> api.ApiStartSubmissionUploadResponse:
    """StartSubmissionUpload."""
    _check_files(competition_row(call, request.competition_name))
    response = api.ApiStartSubmissionUploadResponse()
    response.token, response.create_url = uploads.reserve(call, request.file_name, request.content_length or 0)
    return response


def submit_file(call: Call, request: Any) -> api.ApiCreateSubmissionResponse:
    """CreateSubmission: an uploaded file."""
    row = competition_row(call, request.competition_name)
    _check_files(row)
    name, path = uploads.take(call.store, call.home, request.blob_file_tokens)
    _check_limit(call, row)
    values = (row["slug"], None, None, name, request.submission_description or "")
    ref = _insert(call, values, file=path)
    uploads.forget(call.store, call.home, [request.blob_file_tokens])
    response = api.ApiCreateSubmissionResponse()
    response.message, response.ref = f"Successfully submitted to {row['title']}", ref
    return response


METHODS: Methods = {
    "CreateCodeSubmission": (api.ApiCreateCodeSubmissionRequest, submit_code),
    "CreateSubmission": (api.ApiCreateSubmissionRequest, submit_file),
    "GetSubmissionLimits": (api.ApiGetSubmissionLimitsRequest, limits),
    "StartSubmissionUpload": (api.ApiStartSubmissionUploadRequest, start_upload),
}
