"""Datasets, reading: status, list, files, download, metadata.

A new version takes time to become ready. Until then its files are not listed, not downloaded and not mounted: whoever asks gets
the newest version that is ready.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kagglesdk.datasets.types import dataset_api_service as api
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from kagglesdk.datasets.types.dataset_types import DatasetCollaborator, DatasetInfo, DatasetSettingsFile, SettingsLicense

from builder.standin import storage
from builder.standin.home import files_below
from builder.standin.wire import ApiError, Call, Methods, Redirect, denied

STEPS = (
    DatabundleVersionStatus.NOT_YET_PERSISTED,
    DatabundleVersionStatus.BLOBS_RECEIVED,
    DatabundleVersionStatus.BLOBS_DECOMPRESSED,
    DatabundleVersionStatus.BLOBS_COPIED_TO_SDS,
    DatabundleVersionStatus.INDIVIDUAL_BLOBS_COMPRESSED,
)


@dataclass(frozen=True)
class Found:
    """A dataset and the version that a request is about."""

    dataset: sqlite3.Row
    version: sqlite3.Row

    def folder(self, call: Call) -> Path:
        return call.home.dataset(self.dataset["slug"], self.version["number"])


def utc(seconds: float) -> dt.datetime:
    """Naive UTC, as Kaggle sends times."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).replace(tzinfo=None)


def status_of(version: sqlite3.Row, now: float) -> DatabundleVersionStatus:
    """Where the processing of a version is: driven by time, so that a restart changes nothing."""
    if now >= version["ready"]:
        if version["fate"] == "failed":
            return DatabundleVersionStatus.FAILED
        if version["fate"] != "stuck":
            return DatabundleVersionStatus.READY
    whole = max(version["ready"] - version["created"], 1e-9)
    share = min(max((now - version["created"]) / whole, 0.0), 1.0)
    return STEPS[min(int(share * len(STEPS)), len(STEPS) - 1)]


def dataset_row(call: Call, owner: str | None, slug: str | None, permission: str = "datasets.get") -> sqlite3.Row:
    """The dataset. Raises ApiError 403 when it is missing or not ours."""
    row = call.store.one("SELECT * FROM datasets WHERE slug = ?", slug) if (owner or "").lower() == call.owner else None
    if row is None:
        raise denied(permission)
    return row


def versions_of(call: Call, dataset: sqlite3.Row) -> list[sqlite3.Row]:
    """All versions, newest first."""
    return call.store.all("SELECT * FROM dataset_versions WHERE dataset = ? ORDER BY number DESC", dataset["id"])


def newest_ready(call: Call, dataset: sqlite3.Row, number: int | None = None) -> sqlite3.Row | None:
    """The newest version that is ready, or that version; None when there is none."""
    now = call.service.now()
    for version in versions_of(call, dataset):
        if status_of(version, now) is DatabundleVersionStatus.READY and number in (None, version["number"]):
            return version
    return None


def find(call: Call, owner: str | None, slug: str | None, number: int | None = None) -> Found:
    """A ready version of a dataset. Raises ApiError 403 or 404."""
    dataset = dataset_row(call, owner, slug)
    version = newest_ready(call, dataset, number or None)
    if version is None:
        raise ApiError(404, f"Dataset version {number} was not found" if number else "The dataset is not ready yet")
    return Found(dataset, version)


def status(call: Call, request: Any) -> api.ApiGetDatasetStatusResponse:
    """GetDatasetStatus: of the newest version, ready or not."""
    dataset = dataset_row(call, request.owner_slug, request.dataset_slug)
    response = api.ApiGetDatasetStatusResponse()
    response.status = status_of(versions_of(call, dataset)[0], call.service.now())
    return response


def get(call: Call, request: Any) -> api.ApiDataset:
    """GetDataset."""
    return _describe(call, dataset_row(call, request.owner_slug, request.dataset_slug))


def _describe(call: Call, row: sqlite3.Row) -> api.ApiDataset:
    versions = versions_of(call, row)
    current = newest_ready(call, row) or versions[-1]
    dataset = api.ApiDataset()
    dataset.id, dataset.ref = row["id"], f"{call.owner}/{row['slug']}"
    dataset.title, dataset.subtitle, dataset.description = row["title"], row["subtitle"] or "", row["description"] or ""
    dataset.license_name, dataset.is_private = row["license"], bool(row["private"])
    dataset.owner_name = dataset.owner_ref = dataset.creator_name = call.owner
    dataset.url = call.service.page(f"datasets/{call.owner}/{row['slug']}")
    dataset.total_bytes, dataset.current_version_number = current["bytes"], current["number"]
    dataset.last_updated = utc(current["created"])
    dataset.versions = [_describe_version(call, version) for version in versions]
    return dataset


def _describe_version(call: Call, row: sqlite3.Row) -> api.ApiDatasetVersion:
    version = api.ApiDatasetVersion()
    version.version_number, version.version_notes = row["number"], row["notes"] or ""
    version.creation_date, version.creator_name, version.creator_ref = utc(row["created"]), call.owner, call.owner
    version.status = status_of(row, call.service.now()).name.lower()
    return version


def list_all(call: Call, request: Any) -> api.ApiListDatasetsResponse:
    """ListDatasets: ours, whatever the group."""
    rows = call.store.all("SELECT * FROM datasets ORDER BY id DESC")
    words = (request.search or "").lower()
    rows = [row for row in rows if words in row["title"].lower() or words in row["slug"]]
    if request.user and request.user.lower() != call.owner:
        rows = []
    size = request.page_size or 20
    skipped = (max(request.page or 1, 1) - 1) * size
    chosen, token = storage.page(rows[skipped:], size, request.page_token)
    response = api.ApiListDatasetsResponse()
    response.datasets, response.next_page_token = [_describe(call, row) for row in chosen], token
    return response


def list_files(call: Call, request: Any) -> api.ApiListDatasetFilesResponse:
    """ListDatasetFiles."""
    found = find(call, request.owner_slug, request.dataset_slug, request.dataset_version_number)
    folder = found.folder(call)
    chosen, token = storage.page(files_below(folder), request.page_size, request.page_token)
    response = api.ApiListDatasetFilesResponse()
    for path in chosen:
        file = api.ApiDatasetFile()
        file.name = file.ref = path.as_posix()
        file.total_bytes, file.creation_date = (folder / path).stat().st_size, utc(found.version["created"])
        response.dataset_files.append(file)
    response.next_page_token = token
    return response


def download(call: Call, request: Any) -> Redirect:
    """DownloadDataset: one file, or all of them as a zip."""
    found = find(call, request.owner_slug, request.dataset_slug, request.dataset_version_number)
    folder, slug = found.folder(call), found.dataset["slug"]
    if request.file_name:
        path = storage.inside(folder, request.file_name)
        if path is None:
            raise ApiError(404, f"File '{request.file_name}' was not found")
        return Redirect(storage.address(call, path))
    path = storage.archive(call, folder, f"dataset-{found.dataset['id']}-v{found.version['number']}")
    return Redirect(storage.address(call, path, f"{slug}.zip"))


def metadata(call: Call, request: Any) -> api.ApiGetDatasetMetadataResponse:
    """GetDatasetMetadata."""
    row = dataset_row(call, request.owner_slug, request.dataset_slug)
    info = DatasetInfo()
    info.dataset_id, info.dataset_slug, info.owner_user = row["id"], row["slug"], call.owner
    info.title, info.subtitle, info.description = row["title"], row["subtitle"] or "", row["description"] or ""
    info.is_private, info.keywords = bool(row["private"]), json.loads(row["keywords"])
    licence = SettingsLicense()
    licence.name = row["license"]
    info.licenses = [licence]
    info.collaborators = [DatasetCollaborator.from_dict(one) for one in json.loads(row["collaborators"])]
    version = newest_ready(call, row)
    if version is not None:
        folder = Found(row, version).folder(call)
        for path in files_below(folder):
            file = DatasetSettingsFile()
            file.name, file.total_bytes = path.as_posix(), (folder / path).stat().st_size
            info.data.append(file)
    response = api.ApiGetDatasetMetadataResponse()
    response.info = info
    return response


METHODS: Methods = {
    "DownloadDataset": (api.ApiDownloadDatasetRequest, download),
    "GetDataset": (api.ApiGetDatasetRequest, get),
    "GetDatasetMetadata": (api.ApiGetDatasetMetadataRequest, metadata),
    "GetDatasetStatus": (api.ApiGetDatasetStatusRequest, status),
    "ListDatasetFiles": (api.ApiListDatasetFilesRequest, list_files),
    "ListDatasets": (api.ApiListDatasetsRequest, list_all),
}
