"""Kernels, reading: status, output, logs, pull, list, files."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from kagglesdk.kernels.types import kernels_api_service as api
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus

from builder.standin import sources, storage
from builder.standin.datasets import utc
from builder.standin.home import files_below
from builder.standin.wire import ApiError, Call, Methods, Redirect, denied

QUEUED, RUNNING, COMPLETE, ERROR, CANCELLED, DRAFT = "QUEUED", "RUNNING", "COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED", "NEW_SCRIPT"
ACTIVE = (QUEUED, RUNNING)


def kernel_row(call: Call, owner: str | None, slug: str | None, permission: str = "kernels.get") -> sqlite3.Row:
    """The kernel. Raises ApiError 403 when it is missing or not ours."""
    row = call.store.one("SELECT * FROM kernels WHERE slug = ?", slug) if (owner or "").lower() == call.owner else None
    if row is None:
        raise denied(permission)
    return row


def find(call: Call, owner: str | None, slug: str | None, label: str | None = None) -> tuple[sqlite3.Row, sqlite3.Row]:
    """A kernel and one of its versions: the labelled one (`v3`), or the newest. Raises ApiError 403 or 404."""
    name, slash, suffix = (slug or "").partition("/")  # pull of older clients sends `slug/3`
    kernel = kernel_row(call, owner, name)
    text = f"v{suffix}" if slash else (label or "")
    if not text:
        sql = "SELECT * FROM kernel_versions WHERE kernel = ? ORDER BY number DESC LIMIT 1"
        version = call.store.one(sql, kernel["id"])
    else:
        number = int(text[1:]) if text.startswith("v") and text[1:].isdigit() else -1
        version = call.store.one("SELECT * FROM kernel_versions WHERE kernel = ? AND number = ?", kernel["id"], number)
    if version is None:
        raise ApiError(404, f"Kernel version '{text}' was not found")
    return kernel, version


def status(call: Call, request: Any) -> api.ApiGetKernelSessionStatusResponse:
    """GetKernelSessionStatus."""
    _, version = find(call, request.user_name, request.kernel_slug, request.version_label)
    response = api.ApiGetKernelSessionStatusResponse()
    response.status = KernelWorkerStatus[version["status"]]
    if version["failure"]:
        response.failure_message = version["failure"]
    return response


def output(call: Call, request: Any) -> api.ApiListKernelSessionOutputResponse:
    """ListKernelSessionOutput: a page of files with download addresses, and the log."""
    kernel, version = find(call, request.user_name, request.kernel_slug, request.version_label)
    folder = call.home.kernel(kernel["folder"], version["number"])
    response = api.ApiListKernelSessionOutputResponse()
    chosen, token = storage.page(files_below(folder / "output"), request.page_size, request.page_token)
    for path in chosen:
        file = api.ApiKernelSessionOutputFile()
        file.file_name, file.url = path.as_posix(), storage.address(call, folder / "output" / path)
        response.files.append(file)
    response.next_page_token = token
    response.log = log_text(folder)
    return response


def log_text(folder: Path) -> str:
    """The log of a run as Kaggle's JSON array: the finished one, else what there is so far."""
    finished, live = folder / "log.json", folder / "run" / "log.jsonl"
    if finished.is_file():
        return finished.read_text("utf-8")
    if not live.is_file():
        return ""
    lines = [line for line in live.read_text("utf-8").splitlines() if line.endswith("}")]
    return "[" + ",\n".join(lines) + "]" if lines else ""


def list_files(call: Call, request: Any) -> api.ApiListKernelFilesResponse:
    """ListKernelFiles."""
    kernel, version = find(call, request.user_name, request.kernel_slug, request.version_label)
    folder = call.home.kernel(kernel["folder"], version["number"]) / "output"
    chosen, token = storage.page(files_below(folder), request.page_size, request.page_token)
    response = api.ApiListKernelFilesResponse()
    for path in chosen:
        item = api.ApiListKernelFilesItem()
        item.name, item.size = path.as_posix(), (folder / path).stat().st_size
        item.creation_date = utc((folder / path).stat().st_mtime).isoformat(timespec="milliseconds") + "Z"
        response.files.append(item)
    response.next_page_token = token
    return response


def download_output(call: Call, request: Any) -> Redirect:
    """DownloadKernelOutput: one file of a version's output."""
    label = f"v{request.version_number}" if request.version_number else None
    kernel, version = find(call, request.owner_slug, request.kernel_slug, label)
    path = storage.inside(call.home.kernel(kernel["folder"], version["number"]) / "output", request.file_path)
    if path is None:
        raise ApiError(404, f"File '{request.file_path}' was not found")
    return Redirect(storage.address(call, path))


def get(call: Call, request: Any) -> api.ApiGetKernelResponse:
    """GetKernel."""
    kernel, version = find(call, request.user_name, request.kernel_slug, request.version_label)
    saved = json.loads(version["request"])
    response, blob = api.ApiGetKernelResponse(), api.ApiKernelBlob()
    blob.source = (call.home.kernel(kernel["folder"], version["number"]) / "source").read_text("utf-8")
    blob.language, blob.kernel_type, blob.slug = saved.get("language", "python"), kernel["kind"], kernel["slug"]
    response.blob, response.metadata = blob, _metadata(call, kernel, version)
    return response


def _metadata(call: Call, kernel: sqlite3.Row, version: sqlite3.Row) -> api.ApiKernelMetadata:
    saved = api.ApiSaveKernelRequest.from_dict(json.loads(version["request"]))
    mounts = json.loads(version["sources"])
    metadata = api.ApiKernelMetadata()
    metadata.id, metadata.ref, metadata.slug = kernel["id"], f"{call.owner}/{kernel['slug']}", kernel["slug"]
    metadata.title, metadata.author, metadata.kernel_type = kernel["title"], call.owner, kernel["kind"]
    metadata.language, metadata.is_private = saved.language or "python", bool(saved.is_private)
    metadata.enable_gpu, metadata.enable_tpu = bool(version["gpu"]), bool(saved.enable_tpu)
    metadata.enable_internet = bool(saved.enable_internet)
    metadata.category_ids = list(saved.category_ids or [])
    for kind, field in sources.METADATA_FIELDS.items():
        setattr(metadata, field, [mount["ref"] for mount in mounts if mount["kind"] == kind])
    newest = call.store.one("SELECT max(number) AS n FROM kernel_versions WHERE kernel = ?", kernel["id"])
    metadata.current_version_number = newest["n"] if newest else version["number"]
    metadata.docker_image, metadata.machine_shape = saved.docker_image or "", sources.shape_of(saved)
    metadata.last_run_time = utc(version["started"] or version["created"])
    return metadata


def list_all(call: Call, request: Any) -> api.ApiListKernelsResponse:
    """ListKernels: ours, newest first."""
    rows = call.store.all("SELECT * FROM kernels ORDER BY id DESC")
    words = (request.search or "").lower()
    rows = [row for row in rows if words in row["title"].lower() or words in row["slug"]]
    if request.user and request.user.lower() != call.owner:
        rows = []
    size = request.page_size or 20
    chosen, token = storage.page(rows[(max(request.page or 1, 1) - 1) * size :], size, request.page_token)
    response = api.ApiListKernelsResponse()
    for row in chosen:
        _, version = find(call, call.owner, row["slug"])
        response.kernels.append(_metadata(call, row, version))
    response.next_page_token = token
    return response


METHODS: Methods = {
    "DownloadKernelOutput": (api.ApiDownloadKernelOutputRequest, download_output),
    "GetKernel": (api.ApiGetKernelRequest, get),
    "GetKernelSessionStatus": (api.ApiGetKernelSessionStatusRequest, status),
    "ListKernelFiles": (api.ApiListKernelFilesRequest, list_files),
    "ListKernelSessionOutput": (api.ApiListKernelSessionOutputRequest, output),
    "ListKernels": (api.ApiListKernelsRequest, list_all),
}
