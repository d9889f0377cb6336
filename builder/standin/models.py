"""Models, reading: a model has variations (framework and slug), a variation has numbered versions that a kernel can pin.

A new version can be attached at once: there is no status to wait for.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from kagglesdk.models.types import model_api_service as api
from kagglesdk.models.types.model_enums import ModelInstanceType
from kagglesdk.models.types.model_types import ModelInstance, ModelInstanceVersion, ModelInstanceVersionList

from builder.standin import storage
from builder.standin.datasets import utc
from builder.standin.home import files_below
from builder.standin.wire import ApiError, Call, Methods, Redirect, denied


def framework_slug(framework: Any) -> str:
    """How a framework is written in names and mounts: MODEL_FRAMEWORK_PY_TORCH is `pytorch`."""
    return str(framework.name).removeprefix("MODEL_FRAMEWORK_").replace("_", "").lower()


def attachable(call: Call, ref: str) -> dict[str, Any] | None:
    """What `owner/model/framework/variation[/version]` mounts; None when it does not exist."""
    parts = ref.split("/")
    if len(parts) not in (4, 5) or parts[0].lower() != call.owner or (len(parts) == 5 and not parts[4].isdigit()):
        return None
    _, model, framework, variation, *rest = parts
    sql = (
        "SELECT max(n.number) AS number FROM models m JOIN variations v ON v.model = m.id"
        " JOIN variation_versions n ON n.variation = v.id"
        " WHERE m.slug = ? AND v.framework = ? AND v.slug = ? AND (? = 0 OR n.number = ?)"
    )
    number = int(rest[0]) if rest else 0
    row = call.store.one(sql, model, framework.lower(), variation, number, number)
    if row is None or row["number"] is None:
        return None
    return {"slug": f"{model}/{framework.lower()}/{variation}", "version": row["number"]}


def model_row(call: Call, request: Any, permission: str = "models.get") -> sqlite3.Row:
    """The model of a request. Raises ApiError 403."""
    ours = (request.owner_slug or "").lower() == call.owner
    row = call.store.one("SELECT * FROM models WHERE slug = ?", request.model_slug) if ours else None
    if row is None:
        raise denied(permission)
    return row


def variation_row(call: Call, request: Any, permission: str = "models.get") -> tuple[sqlite3.Row, sqlite3.Row]:
    """The model and the variation of a request. Raises ApiError 403."""
    model = model_row(call, request, permission)
    framework, slug = framework_slug(request.framework), request.instance_slug
    sql = "SELECT * FROM variations WHERE model = ? AND slug = ? AND (framework = ? OR ? = 'unspecified')"
    row = call.store.one(sql, model["id"], slug, framework, framework)
    if row is None:
        raise denied(permission)
    return model, row


def key_of(model: sqlite3.Row, variation: sqlite3.Row) -> str:
    return f"{model['slug']}/{variation['framework']}/{variation['slug']}"


def versions_of(call: Call, variation: sqlite3.Row) -> list[sqlite3.Row]:
    return call.store.all("SELECT * FROM variation_versions WHERE variation = ? ORDER BY number DESC", variation["id"])


def get(call: Call, request: Any) -> api.ApiModel:
    """GetModel."""
    return _describe(call, model_row(call, request))


def _describe(call: Call, row: sqlite3.Row) -> api.ApiModel:
    model = api.ApiModel()
    model.id, model.ref, model.slug = row["id"], f"{call.owner}/{row['slug']}", row["slug"]
    model.title, model.subtitle, model.description = row["title"], row["subtitle"] or "", row["description"] or ""
    model.author, model.is_private, model.update_time = call.owner, bool(row["private"]), utc(row["created"])
    model.url = call.service.page(f"models/{model.ref}")
    rows = call.store.all("SELECT * FROM variations WHERE model = ? ORDER BY id", row["id"])
    model.instances = [_describe_variation(call, row, variation) for variation in rows]
    return model


def _describe_variation(call: Call, model: sqlite3.Row, row: sqlite3.Row) -> api.ApiModelInstance:
    saved = api.ApiCreateModelInstanceRequestBody.from_dict(json.loads(row["body"]))
    instance = api.ApiModelInstance()
    instance.id, instance.slug, instance.framework = row["id"], row["slug"], saved.framework
    instance.overview, instance.usage, instance.license_name = saved.overview or "", saved.usage or "", saved.license_name or ""
    instance.fine_tunable, instance.training_data = bool(saved.fine_tunable), list(saved.training_data or [])
    instance.model_instance_type = saved.model_instance_type or ModelInstanceType.MODEL_INSTANCE_TYPE_UNSPECIFIED
    instance.url = call.service.page(f"models/{call.owner}/{key_of(model, row)}")
    newest = next(iter(versions_of(call, row)), None)
    if newest is not None:
        instance.version_number, instance.total_uncompressed_bytes = newest["number"], newest["bytes"]
    return instance


def list_all(call: Call, request: Any) -> api.ApiListModelsResponse:
    """ListModels: ours."""
    words = (request.search or "").lower()
    rows = call.store.all("SELECT * FROM models ORDER BY id DESC")
    rows = [row for row in rows if words in row["title"].lower() or words in row["slug"]]
    if request.owner and request.owner.lower() != call.owner:
        rows = []
    chosen, token = storage.page(rows, request.page_size, request.page_token)
    response = api.ApiListModelsResponse()
    response.models, response.next_page_token = [_describe(call, row) for row in chosen], token
    response.total_results = len(rows)
    return response


def get_variation(call: Call, request: Any) -> api.ApiModelInstance:
    """GetModelInstance."""
    return _describe_variation(call, *variation_row(call, request))


def list_variations(call: Call, request: Any) -> api.ApiListModelInstancesResponse:
    """ListModelInstances."""
    model = model_row(call, request)
    rows = call.store.all("SELECT * FROM variations WHERE model = ? ORDER BY id", model["id"])
    chosen, token = storage.page(rows, request.page_size, request.page_token)
    response = api.ApiListModelInstancesResponse()
    response.next_page_token = token
    for row in chosen:
        instance = ModelInstance()
        instance.id, instance.slug, instance.owner_slug, instance.model_slug = row["id"], row["slug"], call.owner, model["slug"]
        instance.framework = _describe_variation(call, model, row).framework
        newest = next(iter(versions_of(call, row)), None)
        if newest is not None:
            instance.version_number, instance.version_notes = newest["number"], newest["notes"] or ""
        response.instances.append(instance)
    return response


def list_versions(call: Call, request: Any) -> api.ApiListModelInstanceVersionsResponse:
    """ListModelInstanceVersions."""
    model, variation = variation_row(call, request)
    chosen, token = storage.page(versions_of(call, variation), request.page_size, request.page_token)
    response = api.ApiListModelInstanceVersionsResponse()
    response.version_list, response.next_page_token = ModelInstanceVersionList(), token
    for row in chosen:
        version = ModelInstanceVersion()
        version.version_number, version.variation_slug = row["number"], variation["slug"]
        version.model_title, version.is_private = model["title"], bool(model["private"])
        version.owner_slug, version.model_slug, version.model_id = call.owner, model["slug"], model["id"]
        version.model_instance_id = variation["id"]
        version.framework = _describe_variation(call, model, variation).framework
        response.version_list.versions.append(version)
    return response


def _version_folder(call: Call, request: Any) -> tuple[Path, str]:
    """(folder, name for its archive) of the version that a request names, or the newest."""
    model, variation = variation_row(call, request)
    versions = versions_of(call, variation)
    chosen = [row for row in versions if request.version_number in (None, 0, row["number"])]
    if not chosen:
        raise ApiError(404, f"Model version {request.version_number} was not found")
    number = chosen[0]["number"]
    return call.home.model(key_of(model, variation), number), f"model-{variation['id']}-v{number}"


def list_files(call: Call, request: Any) -> api.ApiListModelInstanceVersionFilesResponse:
    """ListModelInstanceVersionFiles."""
    folder, _ = _version_folder(call, request)
    chosen, token = storage.page(files_below(folder), request.page_size, request.page_token)
    response = api.ApiListModelInstanceVersionFilesResponse()
    response.next_page_token = token
    for path in chosen:
        file = api.ApiModelFile()
        file.name, file.size = path.as_posix(), (folder / path).stat().st_size
        file.creation_date = utc((folder / path).stat().st_mtime)
        response.files.append(file)
    return response


def download(call: Call, request: Any) -> Redirect:
    """DownloadModelInstanceVersion: one file, or all of them as a .tar.gz."""
    folder, key = _version_folder(call, request)
    if request.path:
        path = storage.inside(folder, request.path)
        if path is None:
            raise ApiError(404, f"File '{request.path}' was not found")
        return Redirect(storage.address(call, path))
    return Redirect(storage.address(call, storage.tarball(call, folder, key), f"{request.model_slug}.tar.gz"))


METHODS: Methods = {
    "DownloadModelInstanceVersion": (api.ApiDownloadModelInstanceVersionRequest, download),
    "GetModel": (api.ApiGetModelRequest, get),
    "GetModelInstance": (api.ApiGetModelInstanceRequest, get_variation),
    "ListModelInstanceVersionFiles": (api.ApiListModelInstanceVersionFilesRequest, list_files),
    "ListModelInstanceVersions": (api.ApiListModelInstanceVersionsRequest, list_versions),
    "ListModelInstances": (api.ApiListModelInstancesRequest, list_variations),
    "ListModels": (api.ApiListModelsRequest, list_all),
}
