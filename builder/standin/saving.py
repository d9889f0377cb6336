"""Kernels, writing: save, delete, cancel.

Every save makes a version, which waits in the queue, runs and keeps its output. What it may read is fixed when it is saved:
sources that do not exist are dropped and named in the answer, the others are pinned to the version that is ready now.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from kagglesdk.kernels.types import kernels_api_service as api
from kagglesdk.kernels.types.kernels_enums import KernelExecutionType

from builder import workspace
from builder.standin import account, faults, sources
from builder.standin.kernels import ACTIVE, DRAFT, QUEUED, kernel_row
from builder.standin.wire import ApiError, Call, Methods


def save(call: Call, request: Any) -> api.ApiSaveKernelResponse:
    """SaveKernel: all of it in one transaction, so that two pushes at once see each other."""
    response = api.ApiSaveKernelResponse()
    with call.store.write() as db:
        kernel, slug, title, problem = _identify(call, request)
        machine, gpu = sources.machine_for(request)
        problem = problem or _refusal(call, request, gpu=gpu)
        if problem:
            response.error = problem
            return response
        if call.store.one("SELECT 1 FROM datasets WHERE slug = ?", slug):
            raise ApiError(409, f"The slug '{slug}' is already in use by one of your datasets")
        resolved = sources.resolve(call, request)
        if kernel is None:
            kernel = _new_kernel(call, db, slug, title, request.kernel_type)
        db.execute("UPDATE kernels SET slug = ?, title = ? WHERE id = ?", (slug, title, kernel["id"]))
        limit = sources.limit_of(call, resolved, machine, request.session_timeout_seconds)
        number = _new_version(call, db, kernel, request, (json.dumps(resolved.mounts), machine, int(gpu), limit))
    call.service.wake()
    response.ref, response.url = f"/{call.owner}/{slug}", call.service.page(f"code/{call.owner}/{slug}")
    response.version_number, response.kernel_id = number, kernel["id"]
    resolved.report(response)
    return response


def _new_kernel(call: Call, db: sqlite3.Connection, slug: str, title: str, kind: str) -> sqlite3.Row:
    """A kernel's row. Its folder keeps its first name when another title moves it to another slug."""
    taken = db.execute("SELECT 1 FROM kernels WHERE folder = ?", (slug,)).fetchone()
    now = call.service.now()
    sql = "INSERT INTO kernels (slug, title, kind, folder, created) VALUES (?, ?, ?, ?, ?) RETURNING *"
    row: sqlite3.Row = db.execute(sql, (slug, title, kind, f"{slug}-{now:.6f}" if taken else slug, now)).fetchone()
    return row


def _new_version(call: Call, db: sqlite3.Connection, kernel: sqlite3.Row, request: Any, facts: tuple[Any, ...]) -> int:
    """The next version's files and row, and its job unless it is only saved; returns its number."""
    drafted = request.kernel_execution_type is KernelExecutionType.QUICK_SAVE
    number = _next_number(db, kernel["id"])
    _write_notebook(call.home.kernel(kernel["folder"], number), request)
    fate = "" if drafted else faults.fate(db, "kernel")
    saved = json.dumps({**request.to_dict(), "text": "", "fate": fate})
    now = call.service.now()
    sql = (
        "INSERT INTO kernel_versions (kernel, number, request, sources, machine, gpu, limit_s, status, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    db.execute(sql, (kernel["id"], number, saved, *facts, DRAFT if drafted else QUEUED, now))
    if not drafted:
        db.execute("INSERT INTO jobs (lane, kernel, version, created) VALUES ('run', ?, ?, ?)", (kernel["id"], number, now))
    return number


def _identify(call: Call, request: Any) -> tuple[sqlite3.Row | None, str, str, str]:
    """(existing kernel, slug, title, problem). The title decides the slug: another title moves a kernel to another slug."""
    from slugify import slugify

    owner, _, asked = (request.slug or "").rpartition("/")
    if request.id:
        kernel = call.store.one("SELECT * FROM kernels WHERE id = ?", request.id)
    else:
        kernel = call.store.one("SELECT * FROM kernels WHERE slug = ?", asked.lower())
    if (request.id and kernel is None) or (not request.id and owner and owner.lower() != call.owner):
        return None, "", "", "Notebook not found"
    title = request.new_title or (kernel["title"] if kernel else "")
    if not title:
        return None, "", "", "A title is needed for a new notebook"
    slug = slugify(title)
    holder = call.store.one("SELECT * FROM kernels WHERE slug = ?", slug)
    if kernel is not None and holder is not None and holder["id"] != kernel["id"]:
        return None, "", "", f"The title '{title}' is already in use by another notebook"
    kernel = kernel or holder
    if kernel is not None and kernel["kind"] != request.kernel_type:
        return None, "", "", "The kernel type cannot be changed"
    return kernel, slug, title, ""


def _refusal(call: Call, request: Any, *, gpu: bool) -> str:
    """Why a version cannot be saved; empty when it can."""
    if not request.text:
        return "The notebook has no source"
    settings = call.service.settings
    sql = "SELECT count(*) AS n FROM kernel_versions WHERE gpu = ? AND status IN ('QUEUED', 'RUNNING')"
    row = call.store.one(sql, int(gpu))
    active = row["n"] if row else 0
    kind, limit = ("GPU", settings.gpu_sessions) if gpu else ("CPU", settings.cpu_sessions)
    if active >= limit:
        return f"Maximum batch {kind} session count of {limit} reached."
    if gpu and account.gpu_seconds(call) >= settings.gpu_hours * account.HOUR:
        return f"You have used your weekly GPU quota of {settings.gpu_hours:g} hours."
    return ""


def _next_number(db: sqlite3.Connection, kernel_id: int) -> int:
    row = db.execute("SELECT max(number) FROM kernel_versions WHERE kernel = ?", (kernel_id,)).fetchone()
    return int(row[0] or 0) + 1


def _write_notebook(folder: Path, request: Any) -> None:
    if folder.exists():
        shutil.rmtree(folder)  # left by a kill before the commit
    workspace.write_text(folder / "source", request.text)
    workspace.write_text(folder / "notebook.ipynb", sources.as_notebook(request))


def delete(call: Call, request: Any) -> api.ApiDeleteKernelResponse:
    """DeleteKernel: ends its runs and forgets it."""
    kernel = kernel_row(call, request.user_name, request.kernel_slug, "kernels.delete")
    versions = call.store.all("SELECT number FROM kernel_versions WHERE kernel = ?", kernel["id"])
    with call.store.write() as db:
        db.execute("DELETE FROM jobs WHERE kernel = ?", (kernel["id"],))
        db.execute("DELETE FROM kernels WHERE id = ?", (kernel["id"],))
    for version in versions:
        call.service.cancel(kernel["id"], version["number"])
    shutil.rmtree(call.home.kernel(kernel["folder"], 1).parent, ignore_errors=True)
    return api.ApiDeleteKernelResponse()


def cancel(call: Call, request: Any) -> api.ApiCancelKernelSessionResponse:
    """CancelKernelSession: our session id is the id of the version's row."""
    version = call.store.one("SELECT rowid, * FROM kernel_versions WHERE rowid = ?", request.kernel_session_id)
    if version is None or version["status"] not in ACTIVE:
        raise ApiError(404, "The session was not found or has ended")
    call.service.cancel(version["kernel"], version["number"])
    return api.ApiCancelKernelSessionResponse()


METHODS: Methods = {
    "CancelKernelSession": (api.ApiCancelKernelSessionRequest, cancel),
    "DeleteKernel": (api.ApiDeleteKernelRequest, delete),
    "SaveKernel": (api.ApiSaveKernelRequest, save),
}
