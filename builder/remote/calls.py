"""What can be asked of the official client: one function per call, plain values in, plain JSON out (child side).

Every function is `(api, report, **arguments)`, where `api` is the official client's KaggleApi and `report(n)` counts n more
bytes moved. They use its methods without `_cli`; where one drops what we need, versions.py sends the same message through the
client's own SDK. Nothing here repeats, waits or decides: that is the caller's side.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from builder.remote import versions
from builder.remote.faults import NoCredentialsError, ServerError, UploadError
from builder.remote.streams import LogStreams

Report = Callable[[int], None]
PAGE = 200
STREAMS = LogStreams()
# Calls that change something; all others may be repeated.
WRITES = frozenset(
    {
        *("dataset_create", "dataset_settings", "dataset_delete", "model_create", "variation_create"),
        *("kernel_push", "submit_code"),
    }
)


class Session:
    """The official client, imported and authenticated at the first call."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._api: Any = None
        self._notes: list[str] = []

    def run(self, call: str, arguments: Mapping[str, Any]) -> Any:
        """Make one call. An access token that expired since the last one is renewed once; 401 means that nothing was done."""
        function = CALLS[call]
        fresh = self._api is None
        if fresh:
            self._api = self._open()
        try:
            return function(self._api, self._report, **arguments)
        except Exception as error:
            if fresh or getattr(getattr(error, "response", None), "status_code", None) != 401:
                raise
            self._api = None
            self._api = self._open(again=True)
            return function(self._api, self._report, **arguments)

    def secrets(self) -> tuple[str, ...]:
        """Everything that must not be shown: from the environment, and from the files that the client has read."""
        names = ("KAGGLE_API_TOKEN", "KAGGLE_KEY")
        values = [os.environ.get(name) for name in names]
        if self._api is not None:
            values += [self._api.get_config_value(name) for name in ("key", "token")]
        return tuple(value for value in values if value)

    def take_notes(self) -> list[str]:
        """What a person should know since the last time."""
        notes, self._notes = self._notes, []
        return notes

    def _open(self, *, again: bool = False) -> Any:
        _make_config_folder()
        import kaggle

        api = kaggle.api
        method = api.get_config_value(api.CONFIG_NAME_AUTH_METHOD)
        if method is None or again:
            # Importing swallowed the reason; this says it, or exits when there is nothing to authenticate with.
            api.authenticate()
            method = api.get_config_value(api.CONFIG_NAME_AUTH_METHOD)
        self._notes += versions.check_token(api, method)
        versions.harden(api, self._report)
        return api


def _make_config_folder() -> None:
    """Importing the client makes its configuration folder; give it a private one when HOME cannot be written."""
    if os.environ.get("KAGGLE_CONFIG_DIR"):
        return
    home = Path("~").expanduser()
    folder = home / ".kaggle"
    if not folder.exists():
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ["KAGGLE_CONFIG_DIR"] = tempfile.mkdtemp(prefix="kkb-kaggle-")


def _plain(response: Any) -> Any:
    return response.to_dict(ignore_defaults=False)


def whoami(api: Any, _report: Report) -> dict[str, Any]:
    """The user that the credentials name. No request with a legacy key; one, made at the first call, with a token."""
    name = api.get_config_value(api.CONFIG_NAME_USER)
    if not name:
        raise NoCredentialsError("the credentials name no user")
    return {"username": name, "method": api.get_config_value(api.CONFIG_NAME_AUTH_METHOD)}


def competition(api: Any, _report: Report, *, slug: str) -> Any:
    return _plain(versions.competition(api, slug))


def competition_search(api: Any, _report: Report, *, slug: str) -> Any:
    """What a search finds; the server's own list, on its first page."""
    return [_plain(one) for one in api.competitions_list(search=slug).competitions or []]


def competition_files(api: Any, _report: Report, *, slug: str, page_token: str | None) -> Any:
    return _plain(api.competition_list_files(slug, page_token=page_token, page_size=PAGE))


def competition_download(api: Any, _report: Report, *, slug: str, folder: str) -> list[str]:
    """Download the whole data of a competition into `folder`, which may hold the first part of it from an earlier try.

    Returns the paths of the files that arrived: one, usually a zip. The client takes what follows the last dot of the address for
    a suffix, slashes included, so it may lie in a folder of its own.
    """
    api.competition_download_files(slug, path=folder, force=False, quiet=True)
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".kaggle-partial")


def limits(api: Any, _report: Report, *, slug: str) -> Any:
    return _plain(api.competition_get_submission_limits(slug))


def dataset_status(api: Any, _report: Report, *, dataset: str) -> str:
    return str(api.dataset_status(dataset)).upper()


def dataset_files(api: Any, _report: Report, *, dataset: str, page_token: str | None) -> Any:
    page = _plain(api.dataset_list_files(dataset, page_token=page_token, page_size=PAGE))
    if page.get("errorMessage"):
        raise ServerError(page["errorMessage"])
    return page


def dataset_create(api: Any, _report: Report, *, folder: str, state: str, names: list[str], public: bool) -> Any:
    """Upload the files `names` of `folder` and create the dataset that its metadata describes.

    The client's upload state goes to the folder `state`, which the caller owns. A file that cannot be uploaded stops the call
    before anything is created.
    """
    with _uploading(api, state, names):
        return _plain(api.dataset_create_new(folder, public=public, quiet=True, convert_to_csv=False, dir_mode="skip"))


@contextlib.contextmanager
def _uploading(api: Any, state: str, names: list[str]) -> Iterator[None]:
    """The client keeps its upload state in `state`, and creates nothing of some of the files `names`."""
    before = tempfile.tempdir
    tempfile.tempdir = state
    try:
        with versions.whole_uploads(api, names):
            yield
    except UploadError:
        _forget_unfinished(Path(state))
        raise
    finally:
        tempfile.tempdir = before


def _forget_unfinished(state: Path) -> None:
    """Drop what cannot be continued: an upload address that the server no longer knows fails every time."""
    for record in state.rglob("*.json"):
        if not json.loads(record.read_text("utf-8")).get("upload_complete"):
            record.unlink()


def datasets_mine(api: Any, _report: Report, *, page: int) -> Any:
    """One page of our own datasets."""
    return [_plain(one) for one in api.dataset_list(mine=True, page=page) or []]


def dataset_metadata(api: Any, _report: Report, *, owner: str, slug: str) -> Any:
    answer = _plain(versions.dataset_metadata(api, owner, slug))
    if answer.get("errorMessage"):
        raise ServerError(answer["errorMessage"])
    return answer["info"]


def dataset_settings(api: Any, _report: Report, *, owner: str, slug: str, settings: dict[str, Any]) -> list[str]:
    """Replace all settings of a dataset; what the server has against them."""
    return list(_plain(versions.dataset_settings(api, owner, slug, settings)).get("errors") or [])


def dataset_delete(api: Any, _report: Report, *, owner: str, slug: str) -> str:
    """Why it was not deleted; empty when it was."""
    return str(_plain(versions.dataset_delete(api, owner, slug)).get("error") or "")


def model_create(api: Any, _report: Report, *, folder: str) -> Any:
    """Create the empty model that the metadata in `folder` describe."""
    return _plain(api.model_create_new(folder))


def variation_create(api: Any, _report: Report, *, folder: str, state: str, names: list[str]) -> Any:
    """Upload the files `names` of `folder` and make version 1 of the variation that its metadata describe."""
    with _uploading(api, state, names):
        return _plain(api.model_instance_create(folder, quiet=True, dir_mode="skip"))


def variation_files(api: Any, _report: Report, *, variation: str, version: int, page_token: str | None) -> Any:
    """One page of the files of `owner/model/framework/variation` in that version."""
    return _plain(api.model_instance_version_files(f"{variation}/{version}", page_token=page_token, page_size=PAGE))


def variation(api: Any, _report: Report, *, variation: str) -> Any:
    return _plain(api.model_instance_get(variation))


def kernels_mine(api: Any, _report: Report, *, page: int) -> Any:
    """One page of our own kernels."""
    return [_plain(one) for one in api.kernels_list(mine=True, page=page, page_size=100) or []]


def kernel_push(api: Any, _report: Report, *, folder: str, timeout: int | None) -> Any:
    return _plain(api.kernels_push(folder, timeout=None if timeout is None else str(timeout)))


def kernel(api: Any, _report: Report, *, owner: str, slug: str, version: int | None) -> Any:
    return _plain(versions.kernel(api, owner, slug, version))


def kernel_status(api: Any, _report: Report, *, owner: str, slug: str, version: int | None) -> Any:
    return _plain(versions.kernel_status(api, owner, slug, version))


def kernel_output(api: Any, _report: Report, *, owner: str, slug: str, version: int | None, page_token: str | None) -> Any:
    return _plain(versions.kernel_output(api, owner, slug, version, page_token, PAGE))


def kernel_log(api: Any, _report: Report, *, owner: str, slug: str, version: int, seen: int) -> Any:
    """What the live log says after its first `seen` entries, at once: {"entries", "ended", "refused"}."""
    return STREAMS.after(api, owner, slug, version, seen)


def download(api: Any, _report: Report, *, url: str, path: str) -> int:
    """Download one address that the server gave us to the file `path`; its size in bytes."""
    import requests

    response = requests.get(url, stream=True, timeout=(30, 300))
    response.raise_for_status()
    api.download_file(response, path, None, quiet=True, resume=False)
    return Path(path).stat().st_size


def quota(api: Any, _report: Report) -> Any:
    return versions.quota(api)


def server_time(api: Any, _report: Report) -> dict[str, float | None]:
    """How many seconds our clock is ahead of the server's; None when its answers have no date."""
    return {"ahead_s": versions.ahead_s(api)}


def submit_code(api: Any, _report: Report, *, competition: str, kernel: str, version: int, file: str, message: str) -> Any:
    return _plain(api.competition_submit_code(file, message, competition, kernel, version, quiet=True))


def submission(api: Any, _report: Report, *, ref: int) -> Any:
    return _plain(versions.submission(api, ref))


def submissions(api: Any, _report: Report, *, slug: str, page: int) -> Any:
    """One page of submissions, the newest first."""
    return [_plain(one) for one in api.competition_submissions(slug, page_number=page, page_size=PAGE) or []]


CALLS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        whoami,
        competition,
        competition_search,
        competition_files,
        competition_download,
        limits,
        dataset_status,
        dataset_files,
        dataset_create,
        datasets_mine,
        dataset_metadata,
        dataset_settings,
        dataset_delete,
        model_create,
        variation_create,
        variation_files,
        variation,
        kernels_mine,
        kernel_push,
        kernel,
        kernel_status,
        kernel_output,
        kernel_log,
        download,
        quota,
        server_time,
        submit_code,
        submission,
        submissions,
    )
}
