"""Every fault strikes where, when and as often as asked, and does to the work exactly what its name says."""

import pytest
import requests

from builder.errors import UserError
from builder.standin import control, faults
from tests.standin.conftest import COMPETITIONS, COPY_X, DATASETS, KERNELS, NO_PROXIES

LIST = (DATASETS, "ListDatasets", {})


@pytest.fixture
def faulty(shared):
    yield shared
    control.clear_faults(shared.home)


@pytest.mark.parametrize(
    ("kind", "code"), [("429", 429), ("500", 500), ("503", 503), ("html", 502), ("error", 418), ("refusal", 200)]
)
def test_an_answer_instead_of_the_work(faulty, kind, code):
    control.set_fault(faulty.home, "CreateModel", kind, code=418, message="as you wished", retry_after=7)
    fields = {"ownerSlug": "local", "slug": f"model-{kind}", "title": "t", "isPrivate": True, "description": ""}
    reply = faulty.raw("models.ModelApiService", "CreateModel", fields)
    assert reply.status_code == code
    if kind == "429":
        assert reply.headers["Retry-After"] == "7"
    if kind == "html":
        assert reply.headers["content-type"].startswith("text/html")
    elif kind == "refusal":
        assert reply.json()["error"] == "as you wished"
    else:
        assert reply.json()["code"] == code
    assert faulty.call("models.ModelApiService", "ListModels", search=f"model-{kind}") == {}
    assert faulty.raw("models.ModelApiService", "CreateModel", fields).json()["id"]  # once only


def test_it_strikes_when_and_as_often_as_asked(faulty):
    control.set_fault(faulty.home, "ListDatasets", "500", skip=1, times=2)
    control.set_fault(faulty.home, "ListKernels", "503", times=-1)
    assert [faulty.raw(*LIST).status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    assert [faulty.raw(KERNELS, "ListKernels", {}).status_code for _ in range(3)] == [503] * 3
    assert [fault["target"] for fault in control.status(faulty.home)["faults"]] == ["ListKernels"]
    assert control.clear_faults(faulty.home) == 1
    assert faulty.raw(KERNELS, "ListKernels", {}).status_code == 200


def test_a_star_strikes_whatever_comes(faulty):
    control.set_fault(faulty.home, "*", "500", times=2)
    assert [faulty.raw(*LIST).status_code, faulty.raw(KERNELS, "ListKernels", {}).status_code] == [500, 500]


def test_requests_without_a_credential_use_no_fault_up(faulty):
    url = faulty.call("blobs.BlobApiService", "StartBlobUpload", type="DATASET", name="w.bin", contentLength=1)["createUrl"]
    control.set_fault(faulty.home, "*", "500")
    assert requests.put(f"{url}x", data=b"1", timeout=60, proxies=NO_PROXIES).status_code == 404
    storage = url.replace("/upload/", "/storage/none/")
    assert requests.get(f"{storage}/x", timeout=60, proxies=NO_PROXIES).status_code == 403
    assert faulty.raw(*LIST, auth=("local", "wrong")).status_code == 401
    token = "security.OAuthService", "IntrospectToken"
    assert faulty.raw(*token, {"token": "nobody's"}, auth=lambda request: request).status_code == 200
    assert len(control.status(faulty.home)["faults"]) == 1
    right = {"token": faulty.environment()["KAGGLE_API_TOKEN"]}
    assert faulty.raw(*token, right, auth=lambda request: request).status_code == 500
    control.set_fault(faulty.home, "upload", "500")
    assert [requests.put(url, data=b"1", timeout=60, proxies=NO_PROXIES).status_code for _ in range(2)] == [500, 200]


@pytest.mark.parametrize(("kind", "exists"), [("drop-before", False), ("drop-after", True)])
def test_a_dropped_connection_tells_nothing_about_the_work(faulty, kind, exists):
    token = faulty.upload("a.txt", b"1")
    control.set_fault(faulty.home, "CreateDataset", kind)
    fields = {"ownerSlug": "local", "slug": kind, "title": f"data {kind}", "files": [{"token": token}]}
    with pytest.raises(requests.ConnectionError):
        faulty.raw(DATASETS, "CreateDataset", fields)
    assert (faulty.raw(DATASETS, "GetDatasetStatus", {"ownerSlug": "local", "datasetSlug": kind}).status_code == 200) is exists


def test_a_slow_answer_is_slow(faulty):
    control.set_fault(faulty.home, "ListDatasets", "slow", seconds=5)
    with pytest.raises(requests.Timeout):
        faulty_raw_with_timeout(faulty, 0.5)


def faulty_raw_with_timeout(stand, timeout):
    from builder.standin.home import Home, read_record

    record = read_record(Home(stand.home))
    url = f"{record.url}/api/v1/{DATASETS}/ListDatasets"
    return requests.post(url, json={}, auth=("local", record.key), timeout=timeout, proxies=NO_PROXIES)


def test_a_broken_upload_keeps_what_arrived_and_resumes(faulty):
    content = bytes(1000)
    url = faulty.call("blobs.BlobApiService", "StartBlobUpload", type="DATASET", name="w.bin", contentLength=1000)["createUrl"]
    control.set_fault(faulty.home, "upload", "cut", bytes=300)
    with pytest.raises(requests.ConnectionError):
        requests.put(url, data=content, timeout=60, proxies=NO_PROXIES)
    probe = requests.put(url, headers={"Content-Range": "bytes */1000"}, timeout=60, proxies=NO_PROXIES)
    assert (probe.status_code, probe.headers["Range"]) == (308, "bytes=0-299")
    rest = requests.put(url, data=content[300:], headers={"Content-Range": "bytes 300-999/1000"}, timeout=60, proxies=NO_PROXIES)
    assert rest.status_code == 200


def test_a_broken_download_has_the_whole_length_and_half_the_bytes(faulty):
    reply = faulty.raw(
        COMPETITIONS, "DownloadDataFile", {"competitionName": "tiny-comp", "fileName": "train.csv"}, allow_redirects=False
    )
    control.set_fault(faulty.home, "download", "cut", bytes=10)
    with requests.get(reply.headers["location"], timeout=60, stream=True, proxies=NO_PROXIES) as download:
        assert int(download.headers["Content-Length"]) > 10
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            download.content  # noqa: B018 - reading it is the test
    assert len(requests.get(reply.headers["location"], timeout=60, proxies=NO_PROXIES).content) > 10


@pytest.mark.parametrize(("fate", "status"), [("failed", "FAILED"), ("stuck", "INDIVIDUAL_BLOBS_COMPRESSED")])
def test_a_dataset_ends_as_asked(faulty, fate, status):
    control.set_fault(faulty.home, "dataset", fate)
    fields = {"ownerSlug": "local", "slug": f"data-{fate}", "title": f"data {fate}"}
    faulty.call(DATASETS, "CreateDataset", **fields, files=[{"token": faulty.upload("a", b"1")}])

    def asked():
        return faulty.call(DATASETS, "GetDatasetStatus", ownerSlug="local", datasetSlug=f"data-{fate}").get("status")

    faulty.until(lambda: asked() == status)
    assert asked() == status


@pytest.mark.parametrize(("fate", "status"), [pytest.param("stuck", "RUNNING", marks=pytest.mark.slow), ("error", "ERROR")])
def test_a_kernel_ends_as_asked_and_the_next_runs(faulty, fate, status):
    control.set_fault(faulty.home, "kernel", fate)
    faulty.push(f"kernel-{fate}", COPY_X)
    faulty.until(lambda: faulty.status(f"kernel-{fate}").get("status") == status)
    faulty.push(f"after-{fate}", COPY_X)
    faulty.until(lambda: faulty.status(f"after-{fate}").get("status") == "COMPLETE")
    assert faulty.status(f"kernel-{fate}")["status"] == status


def test_a_submission_ends_as_asked(faulty):
    faulty.push("good-kernel", COPY_X)
    faulty.until(lambda: faulty.status("good-kernel").get("status") == "COMPLETE")
    control.set_fault(faulty.home, "submission", "error")
    faulty.submit("good-kernel", message="fails")
    control.set_fault(faulty.home, "submission", "stuck")
    faulty.submit("good-kernel", message="hangs")
    hangs, fails = faulty.submissions()
    assert (fails["status"], fails["errorDescription"]) == ("ERROR", "Kaggle Error")
    assert "status" not in hangs  # PENDING is the default and left out


def test_the_client_retries_what_it_retries(faulty):
    control.set_fault(faulty.home, "GetAcceleratorQuotaStatistics", "drop-before")
    assert faulty.kaggle("quota", check=False).returncode == 1


@pytest.mark.parametrize(
    ("target", "kind", "options", "word"),
    [
        ("CreateDataset", "stuk", {}, "slow"),
        ("kernel", "429", {}, "stuck"),
        ("upload", "500", {"times": 0}, "times"),
        ("upload", "500", {"second": 3}, "seconds"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(faulty, target, kind, options, word):
    with pytest.raises(UserError) as caught:
        control.set_fault(faulty.home, target, kind, **options)
    assert word in str(caught.value)


def test_a_target_like_no_other_gets_the_kinds_of_targets_not_all_of_them(faulty):
    with pytest.raises(UserError) as caught:
        control.set_fault(faulty.home, "zzz", "500")
    assert caught.value.remedy == "kkb standin fault --help"
    for word in ("SaveKernel", "upload", "download", "logs", "dataset", "kernel", "submission"):
        assert word in caught.value.expected
    assert max(map(len, str(caught.value).splitlines())) < 160


def test_every_kind_has_words():
    assert all(faults.REQUEST_KINDS.values())


def test_faults_come_from_a_file_too_and_a_wrong_target_is_named(faulty, tmp_path):
    file = tmp_path / "faults.json"
    file.write_text('[{"target": "ListDatasets", "kind": "500", "times": 2}, {"target": "kernel", "kind": "stuck"}]')
    assert len(control.load_faults(faulty.home, file)) == 2
    assert [fault["kind"] for fault in control.status(faulty.home)["faults"]] == ["500", "stuck"]
    with pytest.raises(UserError, match="ListDatasets"):
        control.set_fault(faulty.home, "ListDatsets", "500")
    file.write_text('{"kind": "500"}')
    with pytest.raises(UserError, match="not a list of faults"):
        control.load_faults(faulty.home, file)
