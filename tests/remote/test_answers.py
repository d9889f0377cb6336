"""What the official client hides or only prints, said by a scripted server and read by us."""

import io
import json
import zipfile

import pytest

from builder.errors import CredentialError, GateError, RemoteError, RunError, UserError, WaitError
from builder.remote import competitions, datasets, depositing, kernels, submissions
from tests.remote.folders import bundle, kernel
from tests.remote.scripted import HANG, html, ok, refuse

ABSENT = refuse(403, "Permission 'kernels.get' was denied")
PUSHED = ok(ref="/code/tester/good-name", url="https://www.kaggle.com/code/tester/good-name", versionNumber=1)


@pytest.fixture
def folder(tmp_path):
    return kernel(tmp_path / "kernel", "good-name", owner="tester", competition_sources=[])


def script(**answers):
    return {"GetKernel": [ABSENT], "GetDatasetStatus": [ABSENT], **{name: list(steps) for name, steps in answers.items()}}


def existing(version, source):
    return ok(metadata={"currentVersionNumber": version}, blob={"source": source})


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ("Maximum batch GPU session count of 2 reached.", RemoteError, 4),
        ("Notebook not found", UserError, 2),
        ("The kernel is too large", RunError, 5),
    ],
)
def test_an_error_in_an_answer_of_200_is_an_error(talk, folder, text, error, code):
    client, server, _ = talk(script(SaveKernel=[ok(error=text)]))
    with pytest.raises(error) as caught:
        kernels.push(client, folder)
    assert (caught.value.found, caught.value.exit_code) == (text, code)
    assert server.count["SaveKernel"] == 1


@pytest.mark.parametrize("kind", ["Dataset", "Competition", "Kernel", "Model"])
def test_every_list_of_invalid_sources_is_read(talk, folder, kind):
    dropped = ok(ref="/code/tester/good-name", versionNumber=3, **{f"invalid{kind}Sources": ["a/one", "a/two"]})
    client, _, _ = talk(script(SaveKernel=[dropped]))
    with pytest.raises(UserError, match=f"{kind.lower()} a/one, {kind.lower()} a/two") as caught:
        kernels.push(client, folder)
    assert "version 3" in caught.value.what


def test_tags_that_kaggle_does_not_know_are_only_a_note(talk, folder):
    client, _, _ = talk(script(SaveKernel=[ok(**{**json.loads(PUSHED[2]), "invalidTags": ["tag"]})]))
    pushed = kernels.push(client, folder)
    assert (pushed.kernel, pushed.version) == ("tester/good-name", 1)
    assert "'tag'" in pushed.notes[0]


def test_a_push_whose_answer_is_lost_is_found_by_its_source(talk, folder):
    saved = []

    def save(_, body):
        saved.append(json.loads(body)["text"])
        return html(502)

    def get(*_):
        return existing(1, saved[0]) if saved else ABSENT

    client, server, _ = talk(script(SaveKernel=[save], GetKernel=[get]))
    assert kernels.push(client, folder).version == 1
    assert server.count["SaveKernel"] == 1


@pytest.mark.parametrize("failure", [html(502), refuse(500), HANG], ids=["html", "500", "silence"])
def test_a_push_that_may_have_happened_is_never_repeated(talk, folder, failure, monkeypatch):
    monkeypatch.setattr("builder.remote.pushing.SILENCE_S", 2.0)
    client, server, ticks = talk(script(SaveKernel=[failure, PUSHED]))
    with pytest.raises(RemoteError, match="no new version is there") as caught:
        kernels.push(client, folder)
    assert "looks whether the version has appeared" in caught.value.remedy
    assert server.count["SaveKernel"] == 1
    assert len(ticks.sleeps) >= 3


def test_a_push_that_was_refused_for_its_rate_is_repeated_after_the_wait(talk, folder):
    client, server, ticks = talk(script(SaveKernel=[refuse(429, **{"Retry-After": "9"}), PUSHED]))
    assert kernels.push(client, folder).version == 1
    assert (server.count["SaveKernel"], ticks.sleeps[0] >= 9) == (2, True)


def test_another_version_of_another_source_is_not_taken_for_ours(talk, folder):
    other = [ABSENT, existing(1, json.dumps({"cells": []}))]
    client, _, _ = talk(script(SaveKernel=[html(502)], GetKernel=other))
    with pytest.raises(RemoteError):
        kernels.push(client, folder)


def test_a_dataset_with_the_name_of_the_kernel_is_refused(talk, folder):
    client, server, _ = talk(script(GetDatasetStatus=[ok(status="READY")], SaveKernel=[PUSHED]))
    with pytest.raises(UserError, match="has the name of this kernel"):
        kernels.push(client, folder)
    assert server.count["SaveKernel"] == 0


def test_a_status_is_that_of_the_version(talk):
    client, server, _ = talk({"GetKernelSessionStatus": [ok(status="ERROR", failureMessage="boom")]})
    found = kernels.status(client, "tester/good-name", 7)
    assert (found.state, found.failure, found.over, found.ok) == ("ERROR", "boom", True, False)
    assert json.loads(server.bodies[0])["versionLabel"] == "v7"


def test_an_empty_status_is_queued(talk):
    client, _, _ = talk({"GetKernelSessionStatus": [ok()]})
    assert kernels.status(client, "tester/good-name", 1).state == "QUEUED"


def test_polling_slows_down_and_stops_at_its_limit(talk):
    client, _, ticks = talk({"GetKernelSessionStatus": [ok(status="RUNNING")]})
    with pytest.raises(WaitError):
        kernels.wait(client, "tester/good-name", 1, limit_s=7200)
    assert (ticks.sleeps[0], max(ticks.sleeps)) == (1.0, 60.0)
    assert ticks.now == pytest.approx(7200)
    assert ticks.sleeps[:-1] == sorted(ticks.sleeps[:-1])


def test_a_new_version_may_take_a_while_to_appear(talk):
    client, _, _ = talk({"GetKernelSessionStatus": [refuse(404), refuse(403), ok(status="COMPLETE")]})
    assert kernels.wait(client, "tester/good-name", 1, limit_s=60).ok


def test_a_deleted_kernel_names_itself(talk):
    client, _, _ = talk({"GetKernelSessionStatus": [ABSENT]})
    with pytest.raises(UserError, match="version 1 of kernel 'tester/good-name'"):
        kernels.wait(client, "tester/good-name", 1, limit_s=600)


def test_an_output_name_that_leads_out_of_its_folder_is_refused(talk, tmp_path):
    evil = ok(files=[{"fileName": "../../evil", "url": "http://localhost/api/file"}])
    client, _, _ = talk({"ListKernelSessionOutput": [evil]})
    with pytest.raises(RemoteError, match="leads out"):
        kernels.output(client, "tester/good-name", 1, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil*"))
    assert not (tmp_path / "deep" / "out").exists()


def test_a_missing_output_address_leaves_nothing_and_the_old_output_alone(talk, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    client, _, _ = talk(
        {
            "ListKernelSessionOutput": [ok(files=[{"fileName": "a.txt", "url": "http://localhost/api/file"}])],
            "file": [refuse(404, "expired")],
        }
    )
    with pytest.raises(UserError):
        kernels.output(client, "tester/good-name", 1, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["out"]
    assert (tmp_path / "out" / "old.txt").read_text() == "old"


def test_a_log_without_a_live_stream_is_read_from_what_is_kept(talk):
    entry = {"stream_name": "stdout", "time": 0.1, "data": "x"}
    log = [ok(log=json.dumps([entry, {**entry, "data": "y"}]))]
    client, _, _ = talk({"GetKernelSessionStatus": [ok(status="RUNNING"), ok(status="COMPLETE")], "ListKernelSessionOutput": log})
    told = []
    kernels.wait(client, "tester/good-name", 1, limit_s=600, on_log=told.extend)
    assert [entry["data"] for entry in told] == ["x", "y"]


@pytest.mark.parametrize("status", ["ok", "OK"])
def test_a_dataset_is_compared_by_name_and_size(talk, tmp_path, status):
    folder = bundle(tmp_path / "d", {"a.bin": b"abc"}, owner="tester")
    size = (folder / "manifest.json").stat().st_size
    right = ok(datasetFiles=[{"name": "a.bin", "totalBytes": 3}, {"name": "manifest.json", "totalBytes": size}])
    wrong = ok(datasetFiles=[{"name": "a.bin", "totalBytes": 3}])
    steps = {
        "GetDatasetStatus": [ABSENT, ABSENT, ok(), ok(status="BLOBS_RECEIVED"), ok(status="READY")],
        "StartBlobUpload": [ok(token="t", createUrl="http://localhost/api/put")],
        "put": [ok()],
        "CreateDataset": [ok(status=status, ref="/tester/x")],
    }
    client, server, _ = talk({**steps, "ListDatasetFiles": [wrong, right]})
    assert datasets.ensure(client, folder).created
    assert server.count["put"] == 2
    sent = json.loads(server.bodies[server.requests.index("CreateDataset")])
    # A default is left out, and the default of the server is private.
    assert sent.get("isPrivate", True)


def test_a_dataset_that_stays_different_is_exit_code_4(talk, tmp_path):
    folder = bundle(tmp_path / "d", {"a.bin": b"abc"}, owner="tester")
    steps = {
        "GetDatasetStatus": [ABSENT, ABSENT, ok(status="READY")],
        "StartBlobUpload": [ok(token="t", createUrl="http://localhost/api/put")],
        "put": [ok()],
        "CreateDataset": [ok(status="ok")],
        "ListDatasetFiles": [ok(datasetFiles=[{"name": "a.bin", "totalBytes": 3}, {"name": "data.pkl", "totalBytes": 9}])],
    }
    client, _, ticks = talk(steps)
    with pytest.raises(RemoteError, match=r"manifest\.json missing; data\.pkl unexpected"):
        datasets.ensure(client, folder)
    assert ticks.now <= datasets.SETTLE_S


def test_a_file_that_cannot_be_uploaded_stops_before_anything_is_created(talk, tmp_path):
    folder = bundle(tmp_path / "d", {"a.bin": b"abc"}, owner="tester")
    steps = {
        "GetDatasetStatus": [ABSENT],
        "StartBlobUpload": [ok(token="t", createUrl="http://localhost/api/put")],
        "put": [refuse(403, "expired")],
        "CreateDataset": [ok(status="ok")],
    }
    client, server, _ = talk(steps)
    with pytest.raises(RemoteError, match="nothing was created"):
        datasets.ensure(client, folder)
    assert server.count["CreateDataset"] == 0
    # Every try asked for a new address: one that the server has forgotten fails for ever.
    assert server.count["StartBlobUpload"] == server.count["put"] >= depositing.ATTEMPTS


def test_a_name_that_is_in_use_is_read_back(talk, tmp_path):
    folder = bundle(tmp_path / "d", {"a.bin": b"abc"}, owner="tester")
    size = (folder / "manifest.json").stat().st_size
    steps = {
        "GetDatasetStatus": [ABSENT, ABSENT, ok(status="READY")],
        "StartBlobUpload": [ok(token="t", createUrl="http://localhost/api/put")],
        "put": [ok()],
        "CreateDataset": [ok(status="error", error="The requested title is already in use by a dataset.")],
        "ListDatasetFiles": [
            ok(datasetFiles=[{"name": "a.bin", "totalBytes": 3}, {"name": "manifest.json", "totalBytes": size}])
        ],
    }
    client, _, _ = talk(steps)
    assert datasets.ensure(client, folder).slug == json.loads((folder / "dataset-metadata.json").read_text())["id"]


SUBMIT = {"competition": "tiny", "kernel": "tester/good-name", "version": 1, "file": "submission.csv", "message": "m"}
DIGEST = "0123456789ab" + "c" * 52


def submitting(**answers):
    return {
        "ListSubmissions": [ok(submissions=[])],
        "GetSubmissionLimits": [ok(numToday=1, numTotal=1, numAllowedNow=4)],
        "GetKernelSessionStatus": [ok(status="COMPLETE")],
        "ListKernelSessionOutput": [ok(files=[{"fileName": "submission.csv", "url": "http://localhost/api/file"}])],
        **{name: list(steps) for name, steps in answers.items()},
    }


def test_no_submission_left_is_refused_before_anything_is_sent(talk):
    client, server, _ = talk(submitting(GetSubmissionLimits=[ok(numToday=5, numTotal=9)]))
    with pytest.raises(GateError, match="00:00 UTC"):
        submissions.submit(client, **SUBMIT, digest=DIGEST)
    assert server.count["CreateCodeSubmission"] == 0


def test_limits_of_zero_mean_that_one_has_not_joined(talk):
    client, _, _ = talk(submitting(GetSubmissionLimits=[ok()]))
    with pytest.raises(CredentialError, match="have not joined"):
        submissions.submit(client, **SUBMIT, digest=DIGEST)


@pytest.mark.parametrize("status", ["QUEUED", "RUNNING"])
def test_a_run_that_is_not_over_is_not_submitted(talk, status):
    client, server, _ = talk(submitting(GetKernelSessionStatus=[ok(status=status)]))
    with pytest.raises(GateError, match="still at work"):
        submissions.submit(client, **SUBMIT, digest=DIGEST)
    assert server.count["CreateCodeSubmission"] == 0


def test_a_lost_submission_is_found_by_its_digits_and_made_once(talk):
    found = ok(submissions=[{"ref": 41, "description": "m 0123456789ab", "status": "PENDING"}])
    client, server, _ = talk(submitting(CreateCodeSubmission=[html(502)], ListSubmissions=[ok(submissions=[]), found]))
    made = submissions.submit(client, **SUBMIT, digest=DIGEST)
    assert (made.ref, made.created, server.count["CreateCodeSubmission"]) == (41, True, 1)


def test_a_lost_submission_that_is_nowhere_is_not_repeated(talk):
    client, server, _ = talk(submitting(CreateCodeSubmission=[html(502), ok(ref=1)]))
    with pytest.raises(RemoteError, match="not in the list"):
        submissions.submit(client, **SUBMIT, digest=DIGEST)
    assert server.count["CreateCodeSubmission"] == 1


def test_again_tells_the_new_submission_from_the_old_one(talk):
    old = {"ref": 1, "description": "m 0123456789ab", "status": "COMPLETE"}
    new = {**old, "ref": 2, "status": "PENDING"}
    lists = [ok(submissions=[old]), ok(submissions=[old]), ok(submissions=[new, old])]
    client, _, _ = talk(submitting(CreateCodeSubmission=[html(502)], ListSubmissions=lists))
    assert submissions.submit(client, **SUBMIT, digest=DIGEST, again=True).ref == 2


def test_a_file_that_does_not_fit_the_sample_costs_no_submission(talk, tmp_path):
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("id,label\n1,0\n2,0\n")
    client, server, _ = talk(submitting(file=[(200, {"Content-Type": "text/csv"}, "id,label\n1,0\n")]))
    with pytest.raises(RunError, match="number of rows"):
        submissions.submit(client, **SUBMIT, digest=DIGEST, sample=sample)
    assert server.count["CreateCodeSubmission"] == 0


def test_a_score_is_text_and_may_be_empty(talk):
    body = {"ref": 7, "status": "COMPLETE", "publicScore": "0.75", "privateScore": ""}
    client, _, _ = talk({"GetSubmission": [refuse(404), ok(**body)], "ListSubmissions": [ok(submissions=[])]})
    scored = submissions.wait(client, "tiny", 7, limit_s=600)
    assert (scored.public, scored.private) == (0.75, None)


def test_a_server_without_single_submissions_is_asked_for_the_list(talk):
    listed = ok(submissions=[{"ref": 7, "status": "ERROR", "errorDescription": "Notebook Timeout"}])
    client, _, _ = talk({"ListSubmissions": [listed]})
    assert submissions.wait(client, "tiny", 7, limit_s=60).error == "Notebook Timeout"


def test_a_refused_download_names_the_rules(talk, tmp_path):
    client, _, _ = talk({"ListDataFiles": [ok(files=[])], "DownloadDataFiles": [refuse(403)]})
    with pytest.raises(CredentialError, match="/rules"):
        competitions.fetch(client, "tiny", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_data_whose_address_has_no_suffix_are_unpacked_all_the_same(talk, tmp_path):
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as out:
        out.writestr("train.csv", "id")
    answer = (200, {"Content-Type": "application/octet-stream"}, zipped.getvalue())
    redirect = (302, {"Location": "http://localhost/api/v1.5/data"}, "")
    client, _, _ = talk({"ListDataFiles": [ok(files=[])], "DownloadDataFiles": [redirect], "data": [answer]})
    assert competitions.fetch(client, "tiny", tmp_path / "data").files == ("train.csv",)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train.csv"]


def test_a_download_that_is_no_archive_is_not_taken_for_data(talk, tmp_path):
    page = (200, {"Content-Type": "text/html"}, "<html>maintenance</html>")
    client, _, _ = talk({"ListDataFiles": [ok(files=[])], "DownloadDataFiles": [page]})
    with pytest.raises(RemoteError, match="no archive"):
        competitions.fetch(client, "tiny", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_competition_is_described_from_the_list_where_it_has_no_page_of_its_own(talk):
    listed = ok(competitions=[{"ref": "https://www.kaggle.com/competitions/tiny", "title": "Tiny", "maxDailySubmissions": 3}])
    client, _, _ = talk({"ListCompetitions": [listed]})
    assert (competitions.describe(client, "tiny").title, competitions.describe(client, "tiny").daily) == ("Tiny", 3)


def test_a_competition_that_is_nowhere_but_has_data_is_one(talk):
    client, _, _ = talk({"ListDataFiles": [ok(files=[])]})
    assert competitions.describe(client, "tiny").entered
    client, _, _ = talk({})
    with pytest.raises(UserError, match="no competition"):
        competitions.describe(client, "tiny")
