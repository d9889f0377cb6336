"""The rules that hurt on the real site: slugs, sources, sessions, limits, labels."""

import json

import pytest
import requests

from builder.standin import control, sources
from builder.standin.home import Home
from builder.standin.store import Store
from tests.standin.conftest import COMPETITION, COMPETITIONS, COPY_X, DATASETS, HIDDEN_ROWS, KERNELS, NO_PROXIES

WAIT = "import time\ntime.sleep(60)\n"


def submit_file(stand, rows):
    """Submit a file; returns the HTTP answer."""
    content = ("id,label\n" + "".join(f"{100 + n},1\n" for n in range(rows))).encode()
    fields = {"competitionName": COMPETITION, "fileName": "submission.csv", "contentLength": len(content)}
    started = stand.call(COMPETITIONS, "StartSubmissionUpload", **fields)
    requests.put(started["createUrl"], data=content, timeout=60, proxies=NO_PROXIES)
    fields = {"competitionName": COMPETITION, "blobFileTokens": started["token"], "submissionDescription": "m"}
    return stand.raw(COMPETITIONS, "CreateSubmission", fields)


def limits(stand):
    answer = stand.call(COMPETITIONS, "GetSubmissionLimits", competitionName=COMPETITION)
    return tuple(answer.get(name, 0) for name in ("numToday", "numTotal", "numAllowedNow"))


@pytest.fixture
def slowly(shared):
    """From the call on, datasets of the shared stand-in take a minute; afterwards as before."""
    yield lambda: control.configure(shared.home, processing_s=60)
    control.configure(shared.home, processing_s=0.3)


# -- kernels ------------------------------------------------------------------------------------------------------------


def test_the_title_decides_the_slug(shared):
    answer = shared.push("asked-for", COPY_X, newTitle="What It  Got!", kernelExecutionType="QUICK_SAVE")
    assert answer["url"].endswith("/code/local/what-it-got")
    assert shared.raw(KERNELS, "GetKernelSessionStatus", {"userName": "local", "kernelSlug": "asked-for"}).status_code == 403
    assert shared.status("what-it-got") == {"status": "NEW_SCRIPT"}


def test_another_title_moves_the_kernel_and_a_taken_one_is_refused(shared):
    draft = {"kernelExecutionType": "QUICK_SAVE"}
    first = shared.push("old-name", COPY_X, **draft)
    moved = shared.push("ignored", COPY_X, slug="local/old-name", newTitle="new name", **draft)
    assert (moved["kernelId"], moved["versionNumber"]) == (first["kernelId"], 2)
    assert shared.raw(KERNELS, "GetKernel", {"userName": "local", "kernelSlug": "old-name"}).status_code == 403
    assert shared.call(KERNELS, "GetKernel", userName="local", kernelSlug="new-name", versionLabel="v1")["blob"]["source"]
    other = shared.push("old-name", COPY_X, **draft)
    assert (other["kernelId"] != first["kernelId"], other["versionNumber"]) == (True, 1)
    assert "already in use" in shared.push("ignored", COPY_X, id=other["kernelId"], newTitle="new name", **draft)["error"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"slug": "somebody/their-kernel"}, "Notebook not found"),
        ({"id": 99}, "Notebook not found"),
        ({"newTitle": ""}, "title"),
        ({"text": ""}, "source"),
    ],
)
def test_refused_pushes_answer_200_with_an_error_and_save_nothing(shared, fields, word):
    reply = shared.push("good-kernel", COPY_X, **fields)
    assert word in reply["error"]
    assert "versionNumber" not in reply
    assert shared.call(KERNELS, "ListKernels", search="good-kernel") == {}


def test_a_notebook_cannot_have_the_slug_of_a_dataset(shared):
    shared.create_dataset("same-name", {"a.txt": b"1"})
    assert shared.push("same-name", COPY_X)["code"] == 409


def test_sources_that_do_not_exist_are_dropped_and_named(shared, slowly):
    slowly()
    shared.call(
        DATASETS,
        "CreateDataset",
        ownerSlug="local",
        slug="not-ready",
        title="not ready",
        files=[{"token": shared.upload("a", b"1")}],
    )
    answer = shared.push(
        "drops-sources",
        COPY_X,
        kernelExecutionType="QUICK_SAVE",
        datasetDataSources=["local/not-ready", "other/thing"],
        competitionDataSources=[COMPETITION, "no-such-competition"],
        kernelDataSources=["local/no-kernel"],
        modelDataSources=["local/net/onnx/small/1"],
    )
    assert answer["versionNumber"] == 1
    assert answer["invalidDatasetSources"] == ["local/not-ready", "other/thing"]
    assert answer["invalidCompetitionSources"] == ["no-such-competition"]
    assert answer["invalidKernelSources"] == ["local/no-kernel"]
    assert answer["invalidModelSources"] == ["local/net/onnx/small/1"]
    kept = shared.call(KERNELS, "GetKernel", userName="local", kernelSlug="drops-sources")["metadata"]
    assert kept["competitionDataSources"] == [COMPETITION]
    assert "datasetDataSources" not in kept


def test_a_kernel_gets_the_version_that_was_ready_when_it_was_saved(shared, slowly):
    shared.create_dataset("two-versions", {"v.txt": b"one"})
    slowly()
    body = {"versionNotes": "two", "files": [{"token": shared.upload("v.txt", b"two")}]}
    assert (
        shared.call(DATASETS, "CreateDatasetVersion", ownerSlug="local", datasetSlug="two-versions", body=body)["status"] == "ok"
    )
    name = {"ownerSlug": "local", "datasetSlug": "two-versions"}
    assert shared.call(DATASETS, "GetDatasetStatus", **name).get("status", "NOT_YET_PERSISTED") != "READY"
    assert shared.call(DATASETS, "GetDataset", **name)["currentVersionNumber"] == 1
    assert shared.raw(DATASETS, "DownloadDataset", {**name, "fileName": "v.txt"}).content == b"one"
    shared.push("reads-version", COPY_X, kernelExecutionType="QUICK_SAVE", datasetDataSources=["local/two-versions"])
    row = Store(Home(shared.home).database).one("SELECT sources FROM kernel_versions ORDER BY rowid DESC")
    assert [mount["version"] for mount in json.loads(row["sources"]) if mount["kind"] == "dataset"] == [1]


def test_no_version_is_made_while_the_first_is_processed(shared, slowly):
    slowly()
    shared.call(
        DATASETS,
        "CreateDataset",
        ownerSlug="local",
        slug="still-busy",
        title="still busy",
        files=[{"token": shared.upload("a", b"1")}],
    )
    fields = {"ownerSlug": "local", "datasetSlug": "still-busy", "body": {"files": [{"token": shared.upload("a", b"2")}]}}
    assert shared.raw(DATASETS, "CreateDatasetVersion", fields).status_code == 403


def test_two_gpu_sessions_at_most(stand):
    for number in (1, 2):
        assert stand.push(f"gpu-kernel-{number}", WAIT, machineShape="NvidiaTeslaT4")["versionNumber"] == 1
    refused = stand.push("gpu-kernel-3", WAIT, enableGpu=True)
    assert refused["error"] == "Maximum batch GPU session count of 2 reached."
    assert stand.raw(KERNELS, "GetKernelSessionStatus", {"userName": "local", "kernelSlug": "gpu-kernel-3"}).status_code == 403
    assert stand.push("cpu-kernel", WAIT)["versionNumber"] == 1
    stand.call(KERNELS, "DeleteKernel", userName="local", kernelSlug="gpu-kernel-2")
    control.configure(stand.home, gpu_hours=0)
    assert "weekly GPU quota" in stand.push("gpu-kernel-3", WAIT, enableGpu=True)["error"]
    control.configure(stand.home, gpu_hours=30)
    assert stand.push("gpu-kernel-3", WAIT, enableGpu=True)["versionNumber"] == 1


def test_retired_shapes_are_replaced_silently(shared):
    for shape, got in (("NvidiaTeslaP100", "NvidiaTeslaT4"), ("TpuV38", "TpuV5E8"), ("TpuV2256", "")):
        shared.push("old-shape", COPY_X, machineShape=shape, kernelExecutionType="QUICK_SAVE")
        metadata = shared.call(KERNELS, "GetKernel", userName="local", kernelSlug="old-shape")["metadata"]
        assert metadata.get("machineShape", "") == got


def test_a_failed_run_keeps_its_log_and_each_version_its_status(shared):
    shared.push("fails-first", "print('before')\nraise ValueError('on purpose')")
    shared.finished()
    shared.push("fails-first", COPY_X)
    shared.finished()
    first, second = shared.status("fails-first", 1), shared.status("fails-first", 2)
    assert first["status"] == "ERROR"
    assert first["failureMessage"]
    assert second == shared.status("fails-first") == {"status": "COMPLETE"}
    output = shared.call(KERNELS, "ListKernelSessionOutput", userName="local", kernelSlug="fails-first", versionLabel="v1")
    assert "before" in output["log"]
    assert "on purpose" in output["log"]
    for label in ("1", "v3"):
        fields = {"userName": "local", "kernelSlug": "fails-first", "versionLabel": label}
        assert shared.raw(KERNELS, "GetKernelSessionStatus", fields).status_code == 404
    assert shared.submit("fails-first", 1).status_code == 400


def test_output_comes_in_pages_and_a_link_out_of_it_does_not(shared):
    source = "import os\nfor n in range(7):\n    open(f'f{n}.txt', 'w').write(str(n))\nos.symlink('/etc/passwd', 'link.txt')\n"
    shared.push("many-files", source)
    shared.finished()
    names, token, pages = [], None, 0
    while pages == 0 or token:
        fields = {"userName": "local", "kernelSlug": "many-files", "pageSize": 3, **({"pageToken": token} if token else {})}
        answer = shared.call(KERNELS, "ListKernelSessionOutput", **fields)
        names += [file["fileName"] for file in answer["files"]]
        token, pages = answer.get("nextPageToken"), pages + 1
    assert (names, pages) == ([f"f{n}.txt" for n in range(7)], 3)
    fields = {"ownerSlug": "local", "kernelSlug": "many-files", "filePath": "link.txt"}
    assert shared.raw(KERNELS, "DownloadKernelOutput", fields).status_code == 404


@pytest.mark.parametrize("layout", ["typed", "classic"])
def test_sources_lie_where_the_layout_says(tmp_path, layout):
    home = Home(tmp_path)
    mounts = [
        {"kind": "dataset", "ref": "local/net", "slug": "net", "version": 2},
        {"kind": "competition", "ref": "comp", "slug": "comp", "version": 1},
        {"kind": "kernel", "ref": "local/comp", "slug": "comp", "folder": "comp", "version": 3},
        {"kind": "model", "ref": "", "slug": "m/onnx/small", "version": 4},
    ]
    folders = [home.dataset("net", 2), home.hidden("comp"), home.kernel("comp", 3) / "output", home.model("m/onnx/small", 4)]
    typed = ["datasets/local/net", "competitions/comp", "notebooks/local/comp", "models/local/m/onnx/small/4"]
    classic = ["net", "comp", "d/local/comp", "m/onnx/small/4"]
    names = typed if layout == "typed" else classic
    assert sources.inputs(home, "local", mounts, layout, rerun=True) == dict(zip(names, folders, strict=True))
    assert sources.inputs(home, "local", mounts, layout, rerun=False)[names[1]] == home.visible("comp")


# -- submissions --------------------------------------------------------------------------------------------------------


def test_errored_submissions_count_and_the_limit_holds(stand):
    assert limits(stand) == (0, 0, 5)
    for rows in (HIDDEN_ROWS, 3, 3, 3, HIDDEN_ROWS):
        assert submit_file(stand, rows).status_code == 200
    assert limits(stand) == (5, 5, 0)
    assert stand.scored() == {"COMPLETE": 2, "ERROR": 3}
    refused = submit_file(stand, HIDDEN_ROWS)
    assert (refused.status_code, "all 5 submissions" in refused.json()["message"]) == (400, True)
    assert limits(stand) == (5, 5, 0)
    errors = {submission.get("errorDescription") for submission in stand.submissions()}
    assert errors == {None, "Submission Format Error"}


@pytest.mark.parametrize(
    ("fields", "options", "word"),
    [
        ({"enableInternet": True}, {}, "internet"),
        ({"competitionDataSources": []}, {}, "attached"),
        ({}, {"file": "other.csv"}, "submission.csv"),
        ({"kernelExecutionType": "QUICK_SAVE"}, {}, "NEW_SCRIPT"),
    ],
)
@pytest.mark.slow
def test_versions_that_cannot_be_submitted_burn_nothing(stand, fields, options, word):
    source = COPY_X if "competitionDataSources" not in fields else "open('submission.csv', 'w').write('id,label')"
    stand.push("not-this-one", source, **fields)
    stand.finished()
    refused = stand.submit("not-this-one", **options)
    assert (refused.status_code, word in refused.json()["message"]) == (400, True)
    assert limits(stand) == (0, 0, 5)


RERUN = "import os\nrerun = os.environ.get('KAGGLE_IS_COMPETITION_RERUN')\n"
ENDINGS = {
    "Notebook Timeout": "import time\ntime.sleep(60 if rerun else 0)\n",
    "Notebook Threw Exception": "assert not rerun\n",
    "Submission CSV Not Found": "if rerun:\n    os.remove('submission.csv')\n",
    "Submission Format Error": "if rerun:\n    open('submission.csv', 'w').write('id,label\\n100,1\\n')\n",
}


@pytest.mark.slow
def test_a_rerun_that_fails_gets_the_site_s_label_and_no_log(stand, competition_files):
    for number, ending in enumerate(ENDINGS.values()):
        stand.push(f"bad-rerun-{number}", RERUN + COPY_X + ending)
        stand.finished()
    data, hidden = competition_files
    control.add_competition(stand.home, COMPETITION, data=data, hidden=hidden, metric="accuracy", limit_s=6, kind="any")
    for number in range(len(ENDINGS)):
        assert stand.submit(f"bad-rerun-{number}").status_code == 200
        stand.scored()
    labels = [submission["errorDescription"] for submission in reversed(stand.submissions())]
    assert labels == list(ENDINGS)
    for number in range(1, len(ENDINGS) + 1):
        left = {path.name for path in Home(stand.home).submission(number).iterdir()}
        assert not {name for name in left if "log" in name or "executed" in name or name == "run"}


@pytest.mark.slow
def test_an_exception_in_the_rerun_is_all_that_is_told(stand):
    stand.push("bad-rerun", RERUN + COPY_X + "print('secret', len(rows))\nassert not rerun\n")
    stand.finished()
    stand.submit("bad-rerun")
    stand.scored()
    [submission] = stand.submissions()
    assert (submission["status"], submission["errorDescription"]) == ("ERROR", "Notebook Threw Exception")
    log = stand.call(KERNELS, "ListKernelSessionOutput", userName="local", kernelSlug="bad-rerun")["log"]
    assert "secret 3" in log  # of the commit run
    assert "secret 10" not in log


@pytest.mark.parametrize(
    ("kind", "refused"), [("notebook", "only accepts Submissions from Notebooks"), ("csv", "from Notebooks")]
)
def test_a_competition_takes_what_its_kind_says(shared, competition_files, kind, refused):
    data, hidden = competition_files
    control.add_competition(shared.home, f"kind-{kind}", data=data, hidden=hidden, metric="accuracy", kind=kind)
    upload = {"competitionName": f"kind-{kind}", "fileName": "submission.csv", "contentLength": 1}
    if kind == "notebook":
        reply = shared.raw(COMPETITIONS, "StartSubmissionUpload", upload)
    else:
        assert shared.raw(COMPETITIONS, "StartSubmissionUpload", upload).status_code == 200
        shared.push("any-kernel", COPY_X)
        shared.until(lambda: shared.status("any-kernel").get("status") == "COMPLETE")
        fields = {"competitionName": f"kind-{kind}", "kernelOwner": "local", "kernelSlug": "any-kernel", "kernelVersion": 1}
        reply = shared.raw(COMPETITIONS, "CreateCodeSubmission", {**fields, "fileName": "submission.csv"})
    assert (reply.status_code, refused in reply.json()["message"]) == (400, True)


def test_one_submission_and_one_that_is_missing(shared):
    ref = submit_file(shared, HIDDEN_ROWS).json()["ref"]
    assert shared.call(COMPETITIONS, "GetSubmission", ref=ref)["fileName"] == "submission.csv"
    assert shared.raw(COMPETITIONS, "GetSubmission", {"ref": 99}).status_code == 404
    assert shared.raw(COMPETITIONS, "ListSubmissions", {"competitionName": "none"}).status_code == 404
