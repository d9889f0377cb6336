"""What differs between versions of the official client, and what its methods drop (child side). One function per case.

    case                                                    in 2.2.4                      in 2.2.5
    the version of a kernel (status, output, log, source)   accepted, never sent          sent
    the version of a kernel (log stream)                    put into the path, a 404      sent
    a file whose upload failed                              left out, dataset created     the call fails
    one submission                                          no method                     a method
    one competition, the number of a kernel's version       no method                     no method
    a write that failed                                     repeated blindly, for long    the same
    an access token that was refused                        still sent, instead of a key  the same
    days in a duration                                      lost in JSON                  the same
    the metadata of a dataset (update)                      prints the errors, exits      the same
    why a dataset was not deleted                           ignored                       the same

Where a method drops something, the same message goes through the same client's SDK, in every version: one way to test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from builder.remote.faults import NoCredentialsError, UploadError

STREAM_TIMEOUT_S = (30, 600)


def version_label(version: int | None) -> str | None:
    """How the server wants a kernel version: `v3`; a bare number is a 404 there."""
    return None if version is None else f"v{version}"


def kernel(api: Any, owner: str, slug: str, version: int | None) -> Any:
    """Metadata with the current version number, and the source."""
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

    request = _about_kernel(ApiGetKernelRequest(), owner, slug, version)
    with api.build_kaggle_client() as client:
        return client.kernels.kernels_api_client.get_kernel(request)


def kernel_status(api: Any, owner: str, slug: str, version: int | None) -> Any:
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

    request = _about_kernel(ApiGetKernelSessionStatusRequest(), owner, slug, version)
    with api.build_kaggle_client() as client:
        return client.kernels.kernels_api_client.get_kernel_session_status(request)


def kernel_output(api: Any, owner: str, slug: str, version: int | None, page_token: str | None, page_size: int) -> Any:
    """One page of output files with their addresses, and the log."""
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    request = _about_kernel(ApiListKernelSessionOutputRequest(), owner, slug, version)
    request.page_size = page_size
    request.page_token = page_token or ""
    with api.build_kaggle_client() as client:
        return client.kernels.kernels_api_client.list_kernel_session_output(request)


def _about_kernel(request: Any, owner: str, slug: str, version: int | None) -> Any:
    request.user_name = owner
    request.kernel_slug = slug
    if version is not None:
        request.version_label = version_label(version)
    return request


def open_log_stream(api: Any, owner: str, slug: str, version: int) -> Any:
    """The open answer of a version's log stream. The version goes as a parameter; in the path it is a 404."""
    from kagglesdk.kaggle_env import KaggleEnv, get_endpoint

    local = "--local" in api.args
    base = f"{get_endpoint(KaggleEnv.LOCAL)}/api" if local else get_endpoint(KaggleEnv.PROD)
    http = api.build_kaggle_client().http_client().__enter__()  # not in a block: the answer is read after we return
    return http._session.get(  # noqa: SLF001 - as the client's own stream method does
        f"{base}/v1/kernels/logs/stream/{owner}/{slug}",
        params={"versionLabel": version_label(version)},
        headers={"Accept": "text/event-stream, */*"},
        stream=True,
        timeout=STREAM_TIMEOUT_S,
    )


def competition(api: Any, slug: str) -> Any:
    from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

    request = ApiGetCompetitionRequest()
    request.competition_name = slug
    with api.build_kaggle_client() as client:
        return client.competitions.competition_api_client.get_competition(request)


def submission(api: Any, ref: int) -> Any:
    from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest

    request = ApiGetSubmissionRequest()
    request.ref = ref
    with api.build_kaggle_client() as client:
        return client.competitions.competition_api_client.get_submission(request)


def dataset_metadata(api: Any, owner: str, slug: str) -> Any:
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetMetadataRequest

    request = ApiGetDatasetMetadataRequest()
    request.owner_slug, request.dataset_slug = owner, slug
    with api.build_kaggle_client() as client:
        return client.datasets.dataset_api_client.get_dataset_metadata(request)


def dataset_settings(api: Any, owner: str, slug: str, settings: Mapping[str, Any]) -> Any:
    """Replace all settings of a dataset; its answer has a list of errors."""
    from kagglesdk.datasets.types.dataset_api_service import ApiUpdateDatasetMetadataRequest
    from kagglesdk.datasets.types.dataset_types import DatasetSettings

    request = ApiUpdateDatasetMetadataRequest()
    request.owner_slug, request.dataset_slug = owner, slug
    request.settings = DatasetSettings.from_dict(dict(settings))
    with api.build_kaggle_client() as client:
        return client.datasets.dataset_api_client.update_dataset_metadata(request)


def dataset_delete(api: Any, owner: str, slug: str) -> Any:
    from kagglesdk.datasets.types.dataset_api_service import ApiDeleteDatasetRequest

    request = ApiDeleteDatasetRequest()
    request.owner_slug, request.dataset_slug = owner, slug
    with api.build_kaggle_client() as client:
        return client.datasets.dataset_api_client.delete_dataset(request)


def quota(api: Any) -> dict[str, Any]:
    """Accelerator quota in seconds: {"refresh", "gpu": {"used_s", "total_s"} | None, "tpu": ...}.

    The SDK's own JSON loses the days of a duration, and a week's quota is more than a day.
    """
    answer = api.quota_view()

    def seconds(part: Any) -> dict[str, float] | None:
        if part is None:
            return None
        return {"used_s": part.time_used.total_seconds(), "total_s": part.total_time_allowed.total_seconds()}

    refresh = answer.quota_refresh_time
    return {
        "refresh": refresh.isoformat() if refresh else None,
        "gpu": seconds(answer.gpu_quota),
        "tpu": seconds(answer.tpu_quota),
    }


def ahead_s(api: Any) -> float | None:
    """Seconds that our clock is ahead of the `Date` of the server's answers, right to a second; None without such a header."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    from kagglesdk.kaggle_env import KaggleEnv, get_endpoint

    http = api.build_kaggle_client().http_client().__enter__()
    endpoint = get_endpoint(KaggleEnv.LOCAL if "--local" in api.args else KaggleEnv.PROD)
    answer = http._session.head(endpoint, timeout=(10, 10), allow_redirects=False)  # noqa: SLF001 - as open_log_stream does
    date = answer.headers.get("Date")
    return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds() if date else None


def check_token(api: Any, method: str | None) -> list[str]:
    """Notes on the credentials in use.

    Raises:
        NoCredentialsError: There is an access token that the server refused. The client would fall back to username and key,
            and then send the token all the same.
    """
    from kagglesdk import get_access_token_from_env

    token, source = get_access_token_from_env()
    if token and method != "ACCESS_TOKEN":
        raise NoCredentialsError(f"the access token in {source} was refused; unset it to use other credentials")
    if token and api.get_config_value(api.CONFIG_NAME_KEY):
        return [f"an access token ({source}) and a username with key are both set; the token is used"]
    return []


def harden(api: Any, report: Callable[[int], None]) -> None:
    """Make the client fail fast and tell its progress.

    Its own retries repeat writes, and wait as long as any Retry-After says; ours are on the caller's side. Its progress bars
    become `report(bytes)`.
    """
    from kaggle.api import kaggle_api_extended

    def once(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        return function

    class Bar:
        """As much of tqdm's bar as the client uses."""

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, size: int = 1) -> None:
            report(size)

    api.with_retry = once
    kaggle_api_extended.tqdm = Bar


@contextlib.contextmanager
def whole_uploads(api: Any, names: Sequence[str]) -> Iterator[None]:
    """Within the block an upload of only some of the files `names` raises UploadError before anything is created from it."""
    original = api.upload_files

    def checked(request: Any, *arguments: Any, **options: Any) -> None:
        try:
            original(request, *arguments, **options)
        except ValueError as error:
            raise UploadError(f"{error}; nothing was created") from error
        if len(request.files) != len(names):
            raise UploadError(f"{len(request.files)} of {len(names)} files were uploaded; nothing was created")

    api.upload_files = checked
    try:
        yield
    finally:
        api.upload_files = original
