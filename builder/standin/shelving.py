"""Models, writing: create models, variations and versions, delete them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import Any

from kagglesdk.models.types import model_api_service as api

from builder.standin import parcels, uploads
from builder.standin.models import framework_slug, key_of, model_row, variation_row
from builder.standin.wire import ApiError, Call, Methods, denied


def create(call: Call, request: Any) -> api.ApiCreateModelResponse:
    """CreateModel."""
    if (request.owner_slug or "").lower() != call.owner:
        raise denied("models.create")
    response = api.ApiCreateModelResponse()
    sql = "INSERT INTO models (slug, title, subtitle, description, private, created) VALUES (?, ?, ?, ?, ?, ?)"
    values = (request.slug, request.title, request.subtitle or "", request.description or "", int(bool(request.is_private)))
    try:
        with call.store.write() as db:
            response.id = int(db.execute(sql, (*values, call.service.now())).lastrowid or 0)
    except sqlite3.IntegrityError:
        response.error, response.error_code = f"A model with the slug '{request.slug}' already exists", 409
        return response
    response.ref = f"{call.owner}/{request.slug}"
    response.url = call.service.page(f"models/{response.ref}")
    return response


def create_variation(call: Call, request: Any) -> api.ApiCreateModelResponse:
    """CreateModelInstance: a variation and its version 1."""
    model, body = model_row(call, request, "models.update"), request.body
    response = api.ApiCreateModelResponse()
    problem = parcels.refusal(body)
    framework = framework_slug(body.framework)
    sql = "SELECT 1 FROM variations WHERE model = ? AND framework = ? AND slug = ?"
    if call.store.one(sql, model["id"], framework, body.instance_slug):
        problem = f"The variation '{framework}/{body.instance_slug}' already exists"
    if problem:
        response.error = problem
        return response
    with parcels.unpacked(call, body) as parcel:
        with call.store.write() as db:
            sql = "INSERT INTO variations (model, framework, slug, body, created) VALUES (?, ?, ?, ?, ?)"
            saved = json.dumps({**body.to_dict(), "files": [], "directories": []})
            values = (model["id"], framework, body.instance_slug, saved, call.service.now())
            response.id = int(db.execute(sql, values).lastrowid or 0)
            sql = "INSERT INTO variation_versions (variation, number, notes, bytes, created) VALUES (?, 1, '', ?, ?)"
            db.execute(sql, (response.id, parcel.bytes, call.service.now()))
            parcel.move(call.home.model(f"{model['slug']}/{framework}/{body.instance_slug}", 1))
        uploads.forget(call.store, call.home, parcel.tokens)
    return _made(call, response, f"{model['slug']}/{framework}/{body.instance_slug}", 1)


def create_version(call: Call, request: Any) -> api.ApiCreateModelResponse:
    """CreateModelInstanceVersion."""
    model, variation = variation_row(call, request, "models.update")
    response = api.ApiCreateModelResponse()
    problem = parcels.refusal(request.body)
    if problem:
        response.error = problem
        return response
    with parcels.unpacked(call, request.body) as parcel:
        with call.store.write() as db:
            sql = "SELECT max(number) FROM variation_versions WHERE variation = ?"
            number = int(db.execute(sql, (variation["id"],)).fetchone()[0] or 0) + 1
            sql = "INSERT INTO variation_versions (variation, number, notes, bytes, created) VALUES (?, ?, ?, ?, ?)"
            notes = request.body.version_notes or ""
            response.id = int(db.execute(sql, (variation["id"], number, notes, parcel.bytes, call.service.now())).lastrowid or 0)
            parcel.move(call.home.model(key_of(model, variation), number))
        uploads.forget(call.store, call.home, parcel.tokens)
    return _made(call, response, key_of(model, variation), number)


def _made(call: Call, response: api.ApiCreateModelResponse, key: str, number: int) -> api.ApiCreateModelResponse:
    response.ref = f"{call.owner}/{key}/{number}"
    response.url = call.service.page(f"models/{call.owner}/{key}/{number}")
    return response


def delete(call: Call, request: Any) -> api.ApiDeleteModelResponse:
    """DeleteModel."""
    model = model_row(call, request, "models.delete")
    call.store.run("DELETE FROM models WHERE id = ?", model["id"])
    shutil.rmtree(call.home.root / "models" / model["slug"], ignore_errors=True)
    return api.ApiDeleteModelResponse()


def delete_variation(call: Call, request: Any) -> api.ApiDeleteModelResponse:
    """DeleteModelInstance."""
    model, variation = variation_row(call, request, "models.delete")
    call.store.run("DELETE FROM variations WHERE id = ?", variation["id"])
    shutil.rmtree(call.home.model(key_of(model, variation), 1).parent, ignore_errors=True)
    return api.ApiDeleteModelResponse()


def delete_version(call: Call, request: Any) -> api.ApiDeleteModelResponse:
    """DeleteModelInstanceVersion."""
    model, variation = variation_row(call, request, "models.delete")
    sql = "DELETE FROM variation_versions WHERE variation = ? AND number = ?"
    if not call.store.run(sql, variation["id"], request.version_number):
        raise ApiError(404, f"Model version {request.version_number} was not found")
    shutil.rmtree(call.home.model(key_of(model, variation), request.version_number), ignore_errors=True)
    return api.ApiDeleteModelResponse()


METHODS: Methods = {
    "CreateModel": (api.ApiCreateModelRequest, create),
    "CreateModelInstance": (api.ApiCreateModelInstanceRequest, create_variation),
    "CreateModelInstanceVersion": (api.ApiCreateModelInstanceVersionRequest, create_version),
    "DeleteModel": (api.ApiDeleteModelRequest, delete),
    "DeleteModelInstance": (api.ApiDeleteModelInstanceRequest, delete_variation),
    "DeleteModelInstanceVersion": (api.ApiDeleteModelInstanceVersionRequest, delete_version),
}
