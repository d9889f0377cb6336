"""Datasets, writing: create, version, delete, change the metadata."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from typing import Any

from kagglesdk.datasets.types import dataset_api_service as api

from builder.standin import faults, parcels, uploads
from builder.standin.datasets import dataset_row, newest_ready
from builder.standin.parcels import Parcel
from builder.standin.wire import Call, Methods, denied

SLUG = re.compile(r"[a-z0-9-]{3,50}")
USER = re.compile(r"[a-z0-9]{3,50}", re.IGNORECASE)


def create(call: Call, request: Any) -> api.ApiCreateDatasetResponse:
    """CreateDataset."""
    if (request.owner_slug or call.owner).lower() != call.owner:
        raise denied("datasets.create")
    problem = _refusal(call, request)
    if problem:
        return _answer(call, request.slug, error=problem)
    now = call.service.now()
    with parcels.unpacked(call, request) as parcel:
        try:
            with call.store.write() as db:
                values = (request.slug, request.title, request.subtitle, request.description, request.license_name or "unknown")
                keywords = json.dumps(list(request.category_ids or []))
                sql = (
                    "INSERT INTO datasets (slug, title, subtitle, description, license, private, keywords, created)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                )
                dataset = db.execute(sql, (*values, int(bool(request.is_private)), keywords, now)).lastrowid
                _insert_version(call, db, dataset, 1, "Initial release", parcel)
                parcel.move(call.home.dataset(request.slug, 1))
        except sqlite3.IntegrityError:
            return _answer(call, request.slug, error=_taken(request.title))
    uploads.forget(call.store, call.home, parcel.tokens)
    return _answer(call, request.slug)


def _refusal(call: Call, request: Any) -> str:
    """Why a dataset cannot be created; empty when it can."""
    if not request.title or not 6 <= len(request.title) <= 50:
        return "The dataset title must be between 6 and 50 characters"
    if not SLUG.fullmatch(request.slug or ""):
        return f"The dataset slug '{request.slug}' may only have lower-case letters, digits and dashes (3 to 50)"
    taken = call.store.one("SELECT 1 FROM datasets WHERE slug = ? OR title = ?", request.slug, request.title)
    if taken:
        return _taken(request.title)
    if call.store.one("SELECT 1 FROM kernels WHERE slug = ?", request.slug):
        return f"The slug '{request.slug}' is already in use by a notebook"
    return parcels.refusal(request)


def _taken(title: str) -> str:
    return f'The requested title "{title}" is already in use by a dataset. Please choose another title.'


def create_version(call: Call, request: Any) -> api.ApiCreateDatasetResponse:
    """CreateDatasetVersion."""
    dataset = dataset_row(call, request.owner_slug, request.dataset_slug, "datasets.update")
    return _new_version(call, dataset, request.body)


def create_version_by_id(call: Call, request: Any) -> api.ApiCreateDatasetResponse:
    """CreateDatasetVersionById."""
    dataset = call.store.one("SELECT * FROM datasets WHERE id = ?", request.id)
    if dataset is None:
        raise denied("datasets.update")
    return _new_version(call, dataset, request.body)


def _new_version(call: Call, dataset: sqlite3.Row, body: Any) -> api.ApiCreateDatasetResponse:
    slug = dataset["slug"]
    if newest_ready(call, dataset) is None:
        raise denied("datasets.update")  # as while the first version is still being processed
    problem = parcels.refusal(body)
    if problem:
        return _answer(call, slug, error=problem)
    with parcels.unpacked(call, body) as parcel, call.store.write() as db:
        sql = "SELECT max(number) FROM dataset_versions WHERE dataset = ?"
        number = int(db.execute(sql, (dataset["id"],)).fetchone()[0]) + 1
        _insert_version(call, db, dataset["id"], number, body.version_notes or "", parcel)
        if body.subtitle or body.description:
            sql = "UPDATE datasets SET subtitle = coalesce(?, subtitle), description = coalesce(?, description) WHERE id = ?"
            db.execute(sql, (body.subtitle or None, body.description or None, dataset["id"]))
        if body.delete_old_versions:
            db.execute("DELETE FROM dataset_versions WHERE dataset = ? AND number < ?", (dataset["id"], number))
        parcel.move(call.home.dataset(slug, number))
    uploads.forget(call.store, call.home, parcel.tokens)
    return _answer(call, slug)


def _insert_version(call: Call, db: sqlite3.Connection, dataset: int | None, number: int, notes: str, parcel: Parcel) -> None:
    now = call.service.now()
    fate = faults.fate(db, "dataset")
    values = (dataset, number, notes, parcel.bytes, parcel.files, now, now + call.service.settings.processing_s, fate)
    sql = (
        "INSERT INTO dataset_versions (dataset, number, notes, bytes, files, created, ready, fate)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    db.execute(sql, values)


def _answer(call: Call, slug: str, error: str = "") -> api.ApiCreateDatasetResponse:
    response = api.ApiCreateDatasetResponse()
    response.status = "error" if error else "ok"
    if error:
        response.error = error
        return response
    response.ref = f"{call.owner}/{slug}"
    response.url = call.service.page(f"datasets/{call.owner}/{slug}")
    return response


def delete(call: Call, request: Any) -> api.ApiDeleteDatasetResponse:
    """DeleteDataset."""
    dataset = dataset_row(call, request.owner_slug, request.dataset_slug, "datasets.delete")
    call.store.run("DELETE FROM datasets WHERE id = ?", dataset["id"])
    shutil.rmtree(call.home.dataset(dataset["slug"], 1).parent, ignore_errors=True)
    return api.ApiDeleteDatasetResponse()


def update_metadata(call: Call, request: Any) -> api.ApiUpdateDatasetMetadataResponse:
    """UpdateDatasetMetadata: replaces all settings. Any name that could be a user's is one, as there are no other users here."""
    dataset = dataset_row(call, request.owner_slug, request.dataset_slug, "datasets.update")
    settings, response = request.settings, api.ApiUpdateDatasetMetadataResponse()
    if settings.title and not 6 <= len(settings.title) <= 50:
        response.errors = ["The dataset title must be between 6 and 50 characters"]
        return response
    unknown = [one.username for one in settings.collaborators or [] if not USER.fullmatch(one.username or "")]
    if unknown:
        response.errors = [f"User '{name}' was not found" for name in unknown]
        return response
    licenses = [entry.name for entry in settings.licenses or []]
    values = (
        settings.title or dataset["title"],
        settings.subtitle or "",
        settings.description or "",
        licenses[0] if licenses else dataset["license"],
        int(bool(settings.is_private)),
        json.dumps(list(settings.keywords or [])),
        json.dumps([one.to_dict() for one in settings.collaborators or []]),
    )
    names = ("title", "subtitle", "description", "license", "private", "keywords", "collaborators")
    sql = f"UPDATE datasets SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608 - our own names
    call.store.run(sql, *values, dataset["id"])
    return response


METHODS: Methods = {
    "CreateDataset": (api.ApiCreateDatasetRequest, create),
    "CreateDatasetVersion": (api.ApiCreateDatasetVersionRequest, create_version),
    "CreateDatasetVersionById": (api.ApiCreateDatasetVersionByIdRequest, create_version_by_id),
    "DeleteDataset": (api.ApiDeleteDatasetRequest, delete),
    "UpdateDatasetMetadata": (api.ApiUpdateDatasetMetadataRequest, update_metadata),
}
