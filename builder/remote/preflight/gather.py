"""Collects what the checks look at: the folders at home, and what Kaggle says. Reads only, and never raises for what it finds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.bundle.record import member_of
from builder.errors import CredentialError, UserError
from builder.machines import Machine
from builder.remote import account, competitions, datasets, environment, runs, staging
from builder.remote.answers import RefusedError, UnavailableError
from builder.remote.kernel_folder import METADATA
from builder.remote.preflight.record import LocalBundle, Online, Subject
from builder.runtime.contract import Plan
from builder.runtime.reading import ContractError

if TYPE_CHECKING:
    from builder.remote.client import Client


def gather(  # noqa: PLR0913 - every one is named at the call
    folder: Path,
    *,
    competition: str,
    file: str,
    machine: Machine,
    limit_s: float,
    bundles: Sequence[Path],
    keys: Sequence[str] = (),
    client: Client | None,
    now: datetime,
    rows: int | None = None,
    licences: Mapping[str, str] | None = None,
) -> Subject:
    """Everything about the kernel in `folder`; without a `client`, only what is at home.

    Args:
        keys: What this kernel calls each of `bundles`; left out, their manifests tell, which another kernel may have written.

    Raises:
        RemoteError: Kaggle does not answer.
    """
    metadata = _object(folder / METADATA)
    notebook = _object(folder / str((metadata or {}).get("code_file") or "notebook.ipynb"))
    plan, problem = _plan(folder / "plan.json")
    local = tuple(_bundle(path, key) for path, key in zip(bundles, keys or [""] * len(bundles), strict=True))
    return Subject(
        folder=folder,
        metadata=metadata,
        notebook=notebook if notebook is not None and isinstance(notebook.get("cells"), list) else None,
        plan=plan,
        plan_problem=problem,
        competition=competition,
        file=file,
        machine=machine,
        limit_s=limit_s,
        bundles=local,
        rows=rows,
        licences=licences or {},
        secrets=environment.secrets(client.environment) if client else (),
        online=_online(client, metadata or {}, competition, local) if client else None,
        now=now,
    )


def _object(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _plan(path: Path) -> tuple[Plan | None, str]:
    raw = _object(path)
    if raw is None:
        return None, "plan.json is missing or no JSON"
    try:
        return Plan.from_json(raw), ""
    except ContractError as error:
        return None, str(error)


def _bundle(folder: Path, key: str) -> LocalBundle:
    """A dataset's folder or, by its metadata, that of a Kaggle Model."""
    is_model = (folder / staging.MODEL_METADATA).exists() and not (folder / staging.METADATA).exists()
    kept = (staging.MODEL_METADATA, staging.VARIATION_METADATA) if is_model else (staging.METADATA,)
    read = {name: _object(folder / name) for name in (*kept, staging.MANIFEST)}
    missing = [name for name, found in read.items() if found is None]
    if missing:
        return LocalBundle(folder, problem=f"{missing[0]} is missing or no JSON")
    manifest, *metadata = (read[name] or {} for name in (staging.MANIFEST, *kept))
    try:
        listed = {entry["name"]: int(entry["bytes"]) for entry in manifest["files"]}
        name = _model_name(*metadata) if is_model else str(metadata[0]["id"])
        title = str(metadata[0]["title"])
    except (KeyError, TypeError, ValueError) as error:
        return LocalBundle(folder, problem=f"a key is missing or wrong: {error!r}")
    paths = [path for path in sorted(folder.iterdir()) if path.name not in read]
    files = {path.name: path.stat().st_size if path.is_file() else -1 for path in paths}
    return LocalBundle(folder, name, title, member_of(key or str(manifest.get("key") or "")), files, listed)


def _model_name(model: Mapping[str, Any], variation: Mapping[str, Any]) -> str:
    return f"{model['ownerSlug']}/{model['slug']}/{variation['framework']}/{variation['instanceSlug']}"


def _online(client: Client, metadata: Mapping[str, Any], competition: str, bundles: Sequence[LocalBundle]) -> Online:
    try:
        me = account.username(client)
    except CredentialError as error:
        return Online(credentials=error.found or error.what)
    try:
        found, limits, refused = competitions.describe(client, competition), competitions.limits(client, competition), ""
    except CredentialError as error:
        if "not let you" not in error.what:
            return Online(username=me, credentials=error.found or error.what)
        found, limits, refused = None, None, error.found or error.what
    except UserError as error:
        found, limits, refused = None, None, error.found or error.what
    states, different = _datasets(client, metadata, bundles)
    return Online(
        username=me,
        datasets=states,
        different=different,
        competition=found,
        refused=refused,
        limits=limits,
        quota=_optional(lambda: account.quota(client)),
        stored=_optional(lambda: datasets.stored(client)),
        **_kernel(client, str(metadata.get("id") or "")),
    )


def _datasets(
    client: Client, metadata: Mapping[str, Any], bundles: Sequence[LocalBundle]
) -> tuple[dict[str, str | None], dict[str, str]]:
    states: dict[str, str | None] = {}
    different: dict[str, str] = {}
    for source in metadata.get("dataset_sources") or []:
        parts = str(source).split("/")
        if len(parts) >= 2:
            states[f"{parts[0]}/{parts[1]}"] = datasets.status(client, parts[0], parts[1])
    for bundle in bundles:
        if states.get(bundle.name) == datasets.READY:
            size = (bundle.folder / staging.MANIFEST).stat().st_size
            owner, slug = bundle.name.split("/")
            found = datasets.files(client, owner, slug)
            different[bundle.name] = staging.unlike(found, {**bundle.manifest, staging.MANIFEST: size})
    return states, different


def _kernel(client: Client, name: str) -> dict[str, Any]:
    """What is there under the kernel's own name."""
    if name.count("/") != 1 or not all(name.split("/")):
        return {}
    owner, slug = name.split("/")
    newest = runs.latest(client, name)
    taken = datasets.status(client, owner, slug) not in (None, datasets.DELETED)
    if newest is None:
        return {"name_taken": taken}
    state = runs.status(client, name, newest.version).state
    return {"name_taken": taken, "latest": newest, "latest_state": state, "kernel_type": newest.kind}


def _optional(ask: Any) -> Any:
    """What a server may not know at all."""
    try:
        return ask()
    except (RefusedError, UnavailableError):
        return None
