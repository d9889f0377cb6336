"""Each call of the way x each fault: success, or exit code 4 and the same command continues; never anything twice."""

import pytest

from builder.errors import GateError, RemoteError, UserError, WaitError
from builder.remote import competitions, datasets, environment, kernels, submissions
from builder.remote.retry import Polling
from builder.standin import control
from builder.standin.home import Home
from builder.standin.store import Store
from tests.remote.folders import COMPETITION, bundle, kernel

POLLING = Polling(shortest_s=0.05, longest_s=0.3)
KINDS = ("429", "500", "503", "html", "drop-before", "drop-after")
QUICK = {  # one of each kind; all others are slow
    *(("StartBlobUpload", "429"), ("upload", "503"), ("CreateDataset", "drop-after"), ("CreateDataset", "html")),
    *(("SaveKernel", "drop-after"), ("SaveKernel", "drop-before"), ("SaveKernel", "429"), ("GetKernel", "500")),
    *(("CreateCodeSubmission", "drop-after"), ("CreateCodeSubmission", "drop-before"), ("GetSubmissionLimits", "429")),
    *(("download", "drop-before"), ("DownloadDataFiles", "html"), ("ListKernelSessionOutput", "500")),
}


def case_list(*targets):
    for target in targets:
        for kind in KINDS:
            marks = () if (target, kind) in QUICK else (pytest.mark.slow,)
            yield pytest.param(target, kind, id=f"{target}-{kind}", marks=marks)


def cases(*targets):
    return list(case_list(*targets))


def until_done(client, action):
    """What a person does: run it, and when it says exit code 4, run it again. No message shows a secret."""
    try:
        return action()
    except RemoteError as error:
        found, text = (error.exit_code, bool(error.remedy)), str(error.record())
    assert found == (4, True)
    assert not [secret for secret in environment.secrets(client.environment) if secret in text]
    return action()


@pytest.fixture
def count(kaggle):
    store = Store(Home(kaggle).database)

    def count(table, **where):
        condition = " AND ".join(f"{name} = ?" for name in where)
        row = store.one(f"SELECT count(*) AS n FROM {table} WHERE {condition}", *where.values())  # noqa: S608 - our own names
        return row["n"]

    count.store = store
    return count


@pytest.fixture(scope="module")
def finished(client, tmp_path_factory):
    """A version that completed."""
    pushed = kernels.push(client, kernel(tmp_path_factory.mktemp("finished"), "finished-run"))
    assert kernels.wait(client, pushed.kernel, pushed.version, limit_s=120, polling=POLLING).ok
    return pushed


@pytest.mark.parametrize(
    ("target", "kind"), cases("StartBlobUpload", "upload", "CreateDataset", "GetDatasetStatus", "ListDatasetFiles")
)
def test_a_dataset_through_faults_is_one_dataset(client, faults, count, tmp_path, unique, target, kind):
    folder = bundle(tmp_path / "data", {"a.bin": b"a" * 2000, "b.bin": unique.encode()}, slug=f"faulty-{unique}")
    faults(target, kind, retry_after=1)
    done = until_done(client, lambda: datasets.ensure(client, folder, polling=POLLING))
    row = count.store.one("SELECT id FROM datasets WHERE slug = ?", f"faulty-{unique}")
    assert count("dataset_versions", dataset=row["id"]) == 1
    assert datasets.files(client, *done.slug.split("/")) == {
        "a.bin": 2000,
        "b.bin": len(unique),
        "manifest.json": (folder / "manifest.json").stat().st_size,
    }


@pytest.mark.parametrize(("target", "kind"), cases("SaveKernel", "GetKernel", "ListDataFiles"))
def test_a_push_through_faults_is_one_run(client, faults, count, tmp_path, unique, target, kind):
    faults("kernel", "stuck")  # nobody needs the run itself
    folder = kernel(tmp_path / "kernel", f"faulty-{unique}", digest=unique * 12)
    faults(target, kind, retry_after=1)
    pushed = until_done(client, lambda: kernels.push(client, folder, digest=unique * 12))
    row = count.store.one("SELECT id FROM kernels WHERE slug = ?", f"faulty-{unique}")
    assert (pushed.version, count("kernel_versions", kernel=row["id"])) == (1, 1)


@pytest.mark.parametrize("target_kind", [("SaveKernel", "drop-after"), ("SaveKernel", "html")], ids="-".join)
def test_a_second_version_is_told_from_the_first(client, faults, tmp_path, unique, target_kind):
    faults("kernel", "stuck", times=2)
    first = kernels.push(client, kernel(tmp_path / "one", f"twice-{unique}", digest="one", program="print(1)"))
    faults(*target_kind)
    folder = kernel(tmp_path / "two", f"twice-{unique}", digest="two", program="print(2)")
    second = until_done(client, lambda: kernels.push(client, folder, digest="two"))
    assert (first.version, second.version) == (1, 2)


@pytest.mark.parametrize(
    ("target", "kind"), cases("CreateCodeSubmission", "GetSubmissionLimits", "ListSubmissions", "GetKernelSessionStatus")
)
def test_a_submission_through_faults_is_one_submission(client, faults, count, finished, unique, target, kind):
    faults("submission", "stuck")
    digest = (unique * 12)[:12]
    faults(target, kind, retry_after=1)
    made = until_done(
        client,
        lambda: submissions.submit(
            client,
            competition=COMPETITION,
            kernel=finished.kernel,
            version=finished.version,
            file="submission.csv",
            message="through faults",
            digest=digest,
        ),
    )
    assert made.ref
    assert count("submissions", description=f"through faults {digest}") == 1


@pytest.mark.parametrize(("target", "kind"), cases("ListKernelSessionOutput", "download"))
def test_an_output_through_faults_is_whole(client, faults, finished, tmp_path, target, kind):
    faults(target, kind, retry_after=1)
    found = until_done(client, lambda: kernels.output(client, finished.kernel, finished.version, tmp_path / "out"))
    assert found.files == ("deep/run.json", "submission.csv")
    assert (tmp_path / "out/submission.csv").read_text().startswith("id,label\n100,0")


@pytest.mark.parametrize(("target", "kind"), cases("ListDataFiles", "DownloadDataFiles", "download"))
def test_a_fetch_through_faults_is_whole(client, faults, tmp_path, target, kind):
    faults(target, kind, retry_after=1)
    found = until_done(client, lambda: competitions.fetch(client, COMPETITION, tmp_path / "data"))
    assert "train.csv" in found.files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.fetched.json"]


def test_a_dataset_that_kaggle_cannot_process_is_exit_code_4(client, faults, tmp_path, unique):
    faults("dataset", "failed")
    with pytest.raises(RemoteError, match="could not process") as caught:
        datasets.ensure(client, bundle(tmp_path / "d", {"a.bin": unique.encode()}, slug=f"fails-{unique}"), polling=POLLING)
    assert "kaggle datasets delete" in caught.value.remedy


def test_a_dataset_that_is_never_ready_is_exit_code_6(client, faults, tmp_path, unique):
    faults("dataset", "stuck")
    folder = bundle(tmp_path / "d", {"a.bin": unique.encode()}, slug=f"stuck-{unique}")
    with pytest.raises(WaitError, match="not ready"):
        datasets.ensure(client, folder, polling=POLLING, ready_s=0.5)


def test_an_interrupted_upload_continues_with_the_files_that_are_missing(client, faults, kaggle, tmp_path, unique):
    content = {f"{name}.bin": name.encode() * 2_000_000 for name in "abc"}
    folder = bundle(tmp_path / "d", content, slug=f"breaks-{unique}")
    faults("upload", "slow", skip=2, seconds=3)

    def interrupt(done, total, text):
        if done > 4_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.ensure(client, folder, on_progress=interrupt, polling=POLLING)
    control.clear_faults(kaggle)
    assert datasets.status(client, "local", f"breaks-{unique}") is None
    done = datasets.ensure(client, folder, polling=POLLING)
    assert 0 < done.uploaded_bytes < 3_000_000
    for name, data in content.items():
        assert (Home(kaggle).dataset(f"breaks-{unique}", 1) / name).read_bytes() == data


def test_an_upload_that_breaks_off_is_repeated_by_the_client(client, faults, kaggle, tmp_path, unique):
    folder = bundle(tmp_path / "d", {"a.bin": b"a" * 3_000_000}, slug=f"breaks-{unique}")
    faults("upload", "cut", bytes=1_000_000)
    done = datasets.ensure(client, folder, polling=POLLING)
    assert done.uploaded_bytes >= 3_000_000
    assert (Home(kaggle).dataset(f"breaks-{unique}", 1) / "a.bin").stat().st_size == 3_000_000


def test_a_failed_create_does_not_make_the_next_one_send_old_bytes(client, faults, kaggle, tmp_path, unique):
    """Same path, same size, same time, other content: the official client alone would send the old bytes."""
    import os

    slug = f"stale-{unique}"
    folder = bundle(tmp_path / "d", {"a.bin": b"old " * 500}, slug=slug)
    os.utime(folder / "a.bin", (1_000_000_000, 1_000_000_000))
    faults("CreateDataset", "error", code=400, message="not today")
    with pytest.raises(UserError, match="not today"):
        datasets.ensure(client, folder, polling=POLLING)
    bundle(folder, {"a.bin": b"new " * 500}, slug=slug)
    os.utime(folder / "a.bin", (1_000_000_000, 1_000_000_000))
    datasets.ensure(client, folder, polling=POLLING)
    assert (Home(kaggle).dataset(slug, 1) / "a.bin").read_bytes() == b"new " * 500


def test_a_submission_that_kaggle_refuses_says_why(client, faults, finished, unique):
    faults("CreateCodeSubmission", "error", code=400, message="You have used all 5 submissions of today. The limit resets later.")
    request = {"competition": COMPETITION, "kernel": finished.kernel, "version": finished.version, "file": "submission.csv"}
    with pytest.raises(GateError, match="all 5 submissions"):
        submissions.submit(client, **request, message="m", digest=(unique * 12)[:12])


def test_a_submission_that_fails_has_its_label(client, faults, finished, unique):
    faults("submission", "error")
    request = {"competition": COMPETITION, "kernel": finished.kernel, "version": finished.version, "file": "submission.csv"}
    made = submissions.submit(client, **request, message="m", digest=(unique * 12)[:12])
    scored = submissions.wait(client, COMPETITION, made.ref, limit_s=30, polling=POLLING)
    assert (scored.status, scored.public) == ("ERROR", None)
    assert scored.error == "Kaggle Error"


def test_a_submission_that_hangs_is_exit_code_6(client, faults, finished, unique):
    faults("submission", "stuck")
    request = {"competition": COMPETITION, "kernel": finished.kernel, "version": finished.version, "file": "submission.csv"}
    made = submissions.submit(client, **request, message="m", digest=(unique * 12)[:12])
    with pytest.raises(WaitError, match="not scored"):
        submissions.wait(client, COMPETITION, made.ref, limit_s=0.5, polling=POLLING)


def test_the_daily_limit_and_the_reserve_are_gates(client, finished, unique):
    left = competitions.limits(client, COMPETITION).left
    with pytest.raises(GateError, match="reserve") as caught:
        submissions.check_limits(client, COMPETITION, reserve=left)
    assert caught.value.exit_code == 3
    assert "00:00 UTC" in caught.value.remedy
