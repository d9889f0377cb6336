"""The process: who may talk to it, that it never is a proxy, that a kill loses nothing."""

import http.client
import os
import signal
import socket

import pytest
import requests

from builder.errors import RemoteError, UserError
from builder.standin import control
from builder.standin.home import Home, read_record
from builder.standin.wire import MAX_BODY, MAX_OPEN_BODY
from tests.standin.conftest import COMPETITIONS, COPY_X, DATASETS, KERNELS, NO_PROXIES

OAUTH = "security.OAuthService"


def record_of(stand):
    return read_record(Home(stand.home))


def request(stand, method, target, headers=None):
    """One request with a target of one's own choice."""
    connection = http.client.HTTPConnection("127.0.0.1", record_of(stand).port, timeout=60)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in (headers or {"Host": "localhost"}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("auth", [None, ("local", "wrong"), ("somebody", "KEY")])
def test_without_the_right_key_nothing_is_answered(shared, auth):
    record = record_of(shared)
    auth = tuple(record.key if part == "KEY" else part for part in auth) if auth else None
    options = {"auth": auth} if auth else {"auth": lambda request: request}
    reply = shared.raw(DATASETS, "ListDatasets", {}, **options)
    assert (reply.status_code, reply.json()["code"]) == (401, 401)


def test_the_token_works_as_bearer_and_introspects(shared):
    token = record_of(shared).token
    headers = {"Authorization": f"Bearer {token}"}
    assert shared.raw(DATASETS, "ListDatasets", {}, auth=lambda r: r, headers=headers).status_code == 200
    assert shared.raw(DATASETS, "ListDatasets", {}, auth=lambda r: r, headers={"Authorization": "Bearer no"}).status_code == 401
    answer = shared.call(OAUTH, "IntrospectToken", token=token)
    assert (answer["active"], answer["username"]) == (True, "local")
    assert shared.call(OAUTH, "IntrospectToken", token="other") == {}


def test_the_client_says_that_a_wrong_key_is_refused(shared):
    done = shared.using(KAGGLE_API_TOKEN="", KAGGLE_KEY="wrong").kaggle("quota", check=False)
    assert done.returncode == 1
    assert "Authentication required" in done.stdout + done.stderr


@pytest.mark.parametrize("credentials", [{"KAGGLE_API_TOKEN": ""}, {"KAGGLE_KEY": "", "KAGGLE_USERNAME": ""}])
def test_key_alone_and_token_alone_are_enough(shared, credentials):
    assert "30.00h" in shared.using(**credentials).kaggle("quota").stdout


def test_credentials_of_the_caller_do_not_get_through(shared, tmp_path):
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle/access_token").write_text("a real token")
    assert "30.00h" in shared.using(HOME=str(tmp_path)).kaggle("quota").stdout


def test_secrets_are_private_and_not_printed(shared):
    record = record_of(shared)
    assert Home(shared.home).record.stat().st_mode & 0o077 == 0
    assert Home(shared.home).root.stat().st_mode & 0o777 == 0o700
    text = repr(control.running(shared.home)) + repr(record) + str(control.status(shared.home))
    assert not any(secret in text for secret in (record.key, record.token, record.secret))


@pytest.mark.parametrize(
    ("method", "target", "host"),
    [
        ("GET", "http://example.com/", "example.com"),
        ("POST", "http://example.com/api/v1/datasets.DatasetApiService/ListDatasets", "localhost"),
        ("GET", "/", "example.com"),
        ("GET", "https://localhost/", "localhost"),
        ("CONNECT", "example.com:443", "example.com:443"),
        ("CONNECT", "localhost:443", "localhost"),
    ],
)
def test_it_is_never_a_proxy(shared, method, target, host):
    status, body = request(shared, method, target, {"Host": host})
    assert status == 403
    assert "not a proxy" in body


def test_it_listens_on_loopback_only(shared):
    port = record_of(shared).port
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        if address.startswith("127."):
            continue
        with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
            socket.create_connection((address, port), timeout=2)


@pytest.mark.parametrize(("service", "method"), [("no.Service", "ListDatasets"), (DATASETS, "NoMethod")])
def test_what_it_does_not_have_is_named(shared, service, method):
    reply = shared.raw(service, method, {})
    assert (reply.status_code, reply.json()["code"]) == (404, 404)
    assert method in reply.json()["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"files": 3}', b'{"pageSize": {}, "group": "NO_SUCH_GROUP"}'])
def test_a_body_that_is_no_message_is_a_400(shared, body):
    record = record_of(shared)
    url = f"{record.url}/api/v1/{DATASETS}/{'CreateDataset' if b'files' in body else 'ListDatasets'}"
    reply = requests.post(url, data=body, auth=("local", record.key), timeout=60, proxies=NO_PROXIES)
    assert (reply.status_code, reply.json()["code"]) == (400, 400)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_without_a_credential_is_small_and_any_other_has_an_end(shared, chunked):
    record = record_of(shared)

    def send(service, method, size, auth):
        pieces = (b'{"search": "', b"x" * (size - 14), b'"}')
        body = iter(pieces) if chunked else b"".join(pieces)
        url = f"{record.url}/api/v1/{service}/{method}"
        return requests.post(url, data=body, auth=auth, timeout=60, proxies=NO_PROXIES).status_code

    nobody, owner = (lambda request: request), ("local", record.key)
    sizes = (MAX_OPEN_BODY, MAX_OPEN_BODY + 1)
    assert [send(OAUTH, "IntrospectToken", size, nobody) for size in sizes] == [200, 413]
    assert send(DATASETS, "ListDatasets", 4 * MAX_OPEN_BODY, owner) == 200
    assert send(DATASETS, "ListDatasets", MAX_BODY + 1, owner) == 413
    assert control.running(shared.home) is not None


def test_a_download_address_works_without_a_key_resumes_and_cannot_be_changed(shared):
    reply = shared.raw(
        COMPETITIONS, "DownloadDataFile", {"competitionName": "tiny-comp", "fileName": "train.csv"}, allow_redirects=False
    )
    url = reply.headers["location"]
    whole = requests.get(url, timeout=60, proxies=NO_PROXIES)
    assert whole.content.startswith(b"id,x,label")
    assert {"etag", "last-modified", "content-length"} <= {name.lower() for name in whole.headers}
    part = requests.get(url, headers={"Range": "bytes=5-", "If-Range": whole.headers["etag"]}, timeout=60, proxies=NO_PROXIES)
    assert (part.status_code, part.content) == (206, whole.content[5:])
    signature, text, name = url.split("/storage/")[1].split("/")
    for changed in (f"{'0' * 64}/{text}/{name}", f"{signature}/{text[:-2]}AA/{name}"):
        assert requests.get(f"{shared_url(shared)}/storage/{changed}", timeout=60, proxies=NO_PROXIES).status_code == 403


def shared_url(stand):
    return record_of(stand).url


# -- uploads ------------------------------------------------------------------------------------------------------------


def start_upload(stand, size):
    return stand.call("blobs.BlobApiService", "StartBlobUpload", type="DATASET", name="w.bin", contentLength=size)


def put(url, data=b"", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.put(url, data=data, headers=named, timeout=60, proxies=NO_PROXIES)


def test_an_upload_resumes_where_it_broke_even_after_a_kill(stand):
    content = bytes(range(250)) * 4
    url = start_upload(stand, 1000)["createUrl"]
    assert "Range" not in put(url, Content_Range="bytes */1000").headers
    connection = socket.create_connection(("127.0.0.1", record_of(stand).port), timeout=60)
    head = f"PUT {url.partition(str(record_of(stand).port))[2]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    connection.sendall(head.encode() + content[:400])
    stand.until(lambda: put(url, Content_Range="bytes */1000").headers.get("Range") == "bytes=0-399")
    connection.close()
    os.kill(record_of(stand).pid, signal.SIGKILL)
    port = record_of(stand).port
    assert control.up(stand.home).port == port
    probe = put(url, Content_Range="bytes */1000")
    assert (probe.status_code, probe.headers["Range"]) == (308, "bytes=0-399")
    assert put(url, content[400:], Content_Range="bytes 400-999/1000").status_code == 200
    assert put(url, Content_Range="bytes */1000").status_code == 200
    stored = next(path for path in Home(stand.home).uploads.iterdir())
    assert stored.read_bytes() == content


def test_uploads_refuse_what_does_not_fit(shared):
    url = start_upload(shared, 10)["createUrl"]
    assert put(url, b"x" * 11).status_code == 400
    assert put(url, b"x" * 5, Content_Range="bytes 5-9/10").status_code == 308  # a hole before it
    assert put(url, b"", Content_Range="bytes */11").status_code == 400
    assert put(url, b"", Content_Range="pages 1-2/3").status_code == 400
    assert put(url + "x", b"").status_code == 404
    assert put(url, b"0123456789").status_code == 200
    assert put(url, b"9876543210").status_code == 200  # repeated after a lost answer: what is there stays


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_names_that_lead_elsewhere_are_refused(shared, name):
    assert (
        shared.raw("blobs.BlobApiService", "StartBlobUpload", {"type": "DATASET", "name": name, "contentLength": 1}).status_code
        == 400
    )


def test_a_dataset_needs_complete_uploads(shared):
    token = start_upload(shared, 10)["token"]
    fields = {"ownerSlug": "local", "slug": "half-upload", "title": "half upload", "licenseName": "CC0-1.0"}
    reply = shared.raw(DATASETS, "CreateDataset", {**fields, "files": [{"token": token}]})
    assert (reply.status_code, "not complete" in reply.text) == (400, True)
    assert shared.raw(DATASETS, "GetDatasetStatus", {"ownerSlug": "local", "datasetSlug": "half-upload"}).status_code == 403


# -- start and stop -----------------------------------------------------------------------------------------------------


def test_up_twice_is_up_once_and_down_twice_is_down_once(stand):
    first = control.running(stand.home)
    assert control.up(stand.home) == first
    with pytest.raises(UserError, match="another port"):
        control.up(stand.home, first.port + 1)
    assert control.down(stand.home)
    assert control.running(stand.home) is None
    assert not control.down(stand.home)
    with pytest.raises(UserError, match="kkb standin up"):
        control.environment(stand.home)
    stand.home.chmod(0o755)
    assert control.up(stand.home).port == first.port
    assert stand.home.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_a_server_that_hangs_is_not_joined_by_a_second_one(stand):
    pid = record_of(stand).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(RemoteError, match="lock"):
            control.up(stand.home)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert control.running(stand.home).pid == pid


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=str(port)) as caught:
            control.up(tmp_path / "home", port)
        assert "free port" in str(caught.value)
    assert control.running(tmp_path / "home") is None


def test_a_record_of_a_dead_server_counts_as_none(stand):
    os.kill(record_of(stand).pid, signal.SIGKILL)
    stand.until(lambda: control.running(stand.home) is None)
    assert control.status(stand.home)["running"] is False


def test_a_kill_in_the_middle_of_a_run_loses_nothing_and_repeats_nothing(stand):
    stand.create_dataset("tiny-weights", {"w.bin": b"weights"})
    slow = "import time\nprint('started', flush=True)\ntime.sleep(1)\n" + COPY_X
    stand.push("slow-kernel", slow)
    stand.push("next-kernel", COPY_X)
    stand.until(lambda: stand.status("slow-kernel").get("status") == "RUNNING")
    os.kill(record_of(stand).pid, signal.SIGKILL)
    control.up(stand.home)
    stand.finished()
    assert control.status(stand.home)["kernels"] == {"COMPLETE": 2}
    kernels = stand.call(KERNELS, "ListKernels")["kernels"]
    assert {kernel["ref"]: kernel["currentVersionNumber"] for kernel in kernels} == {
        "local/slow-kernel": 1,
        "local/next-kernel": 1,
    }
    log = stand.call(KERNELS, "ListKernelSessionOutput", userName="local", kernelSlug="slow-kernel")["log"]
    assert log.count("started") == 1
    assert stand.call(DATASETS, "GetDatasetStatus", ownerSlug="local", datasetSlug="tiny-weights") == {"status": "READY"}


@pytest.mark.slow
def test_a_kill_while_a_submission_is_scored_leaves_one_submission_with_a_score(stand):
    slow = "import time, os\ntime.sleep(1 if os.environ.get('KAGGLE_IS_COMPETITION_RERUN') else 0)\n" + COPY_X
    stand.push("slow-rerun", slow)
    stand.finished()
    assert stand.submit("slow-rerun").status_code == 200
    stand.until((Home(stand.home).submission(1) / "run").is_dir)
    os.kill(record_of(stand).pid, signal.SIGKILL)
    control.up(stand.home)
    stand.scored()
    [submission] = stand.submissions()
    assert (submission["status"], submission["publicScore"]) == ("COMPLETE", "1.00000")


@pytest.mark.slow
def test_stopping_the_server_ends_its_runs_and_starting_it_goes_on(stand):
    stand.push("slow-kernel", "import time\ntime.sleep(600)\n")
    stand.until(lambda: stand.status("slow-kernel").get("status") == "RUNNING")
    assert control.down(stand.home)
    assert control.status(stand.home)["kernels"] == {"QUEUED": 1}
    assert record_of(stand).pid == 0
    control.up(stand.home)
    stand.until(lambda: stand.status("slow-kernel").get("status") == "RUNNING")
