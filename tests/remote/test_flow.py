"""The whole way, with the real client and the real stand-in: data, dataset, kernel, output, submission, score."""

import json

import pytest

from builder.errors import CredentialError, GateError, RunError, UserError, WaitError
from builder.remote import account, competitions, datasets, kernels, submissions
from builder.remote.client import Client
from builder.remote.retry import Polling
from tests.remote.folders import COMPETITION, OWNER, bundle, kernel

POLLING = Polling(shortest_s=0.05, longest_s=0.3)
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def flow(client, tmp_path_factory):
    """One kernel version that ran with one dataset, and what was seen on the way."""
    root = tmp_path_factory.mktemp("flow")
    progress, log = [], []
    folder = bundle(root / "weights", {"model.onnx": b"x" * 300_000, "notes.txt": b"n"})
    uploaded = datasets.ensure(client, folder, on_progress=lambda *seen: progress.append(seen), polling=POLLING)
    source = kernel(root / "kernel", "whole-flow", digest=DIGEST, dataset_sources=[uploaded.slug])
    pushed = kernels.push(client, source, digest=DIGEST)
    status = kernels.wait(client, pushed.kernel, pushed.version, limit_s=120, on_log=log.extend, polling=POLLING)
    return {"uploaded": uploaded, "pushed": pushed, "status": status, "progress": progress, "log": log, "root": root}


def test_a_dataset_is_uploaded_once(client, flow):
    uploaded = flow["uploaded"]
    assert uploaded.created
    assert uploaded.uploaded_bytes > 300_000
    again = datasets.ensure(client, flow["root"] / "weights", polling=POLLING)
    assert (again.slug, again.uploaded_bytes, again.created) == (uploaded.slug, 0, False)
    assert not list(flow["root"].glob(".*.upload-*"))


def test_an_upload_tells_its_bytes_and_speed(flow):
    done = [(done, total) for done, total, text in flow["progress"] if "/s" in text]
    assert done[-1][0] == done[-1][1] == flow["uploaded"].uploaded_bytes


def test_a_push_is_a_version_that_completes(flow):
    assert flow["pushed"].record()["kernel"] == f"{OWNER}/whole-flow"
    assert (flow["pushed"].version, flow["pushed"].created, flow["status"].ok) == (1, True, True), flow["status"]
    assert "predicted 3" in "".join(entry["data"] for entry in flow["log"])


def test_the_same_notebook_is_found_and_not_pushed_again(client, flow):
    assert kernels.find(client, flow["pushed"].kernel, DIGEST) == 1
    assert kernels.find(client, flow["pushed"].kernel, "cd" * 32) is None
    again = kernels.push(client, flow["root"] / "kernel", digest=DIGEST)
    assert (again.version, again.created) == (1, False)


def test_the_output_comes_whole_with_its_log(client, flow, tmp_path):
    into = tmp_path / "out"
    into.mkdir()
    (into / "old.txt").write_text("from an earlier run")
    found = kernels.output(client, flow["pushed"].kernel, 1, into)
    assert found.files == ("deep/run.json", "submission.csv")
    assert (into / "submission.csv").read_text().splitlines()[0] == "id,label"
    assert json.loads((into / "whole-flow.log").read_text()) == list(found.log) == kernels.logs(client, flow["pushed"].kernel, 1)
    assert not (into / "old.txt").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_submission_is_made_once_and_scored(client, flow):
    request = {
        "competition": COMPETITION,
        "kernel": flow["pushed"].kernel,
        "version": 1,
        "file": "submission.csv",
        "message": "whole flow",
        "digest": DIGEST,
    }
    before = competitions.limits(client, COMPETITION)
    made = submissions.submit(client, **request)
    scored = submissions.wait(client, COMPETITION, made.ref, limit_s=120, polling=POLLING)
    assert (scored.status, scored.public, scored.error) == ("COMPLETE", 1.0, ""), scored
    assert scored.description == f"whole flow {DIGEST[:12]}"
    again = submissions.submit(client, **request)
    assert (again.ref, again.created, again.status) == (made.ref, False, "COMPLETE")
    assert competitions.limits(client, COMPETITION).left == before.left - 1
    assert made.ref in [one.ref for one in submissions.listing(client, COMPETITION)]


def test_a_version_that_never_was_is_named(client, flow):
    with pytest.raises(UserError, match="version 99"):
        kernels.status(client, flow["pushed"].kernel, 99)
    with pytest.raises(UserError, match="no kernel 'local/never-was'"):
        kernels.status(client, "local/never-was", None)


def test_a_missing_output_file_costs_no_submission(client, flow):
    before = competitions.limits(client, COMPETITION).left
    with pytest.raises(RunError, match=r"predictions\.csv"):
        submissions.submit(
            client,
            competition=COMPETITION,
            kernel=flow["pushed"].kernel,
            version=1,
            file="predictions.csv",
            message="m",
            digest="11" * 32,
        )
    assert competitions.limits(client, COMPETITION).left == before


def test_a_failed_run_is_not_submitted_and_its_log_says_why(client, tmp_path):
    folder = kernel(tmp_path / "k", "crashes-here", program="print('before')\nraise ValueError('the reason')")
    pushed = kernels.push(client, folder)
    end = kernels.wait(client, pushed.kernel, pushed.version, limit_s=120, polling=POLLING)
    assert end.state == "ERROR"
    assert "the reason" in "".join(entry["data"] for entry in kernels.logs(client, pushed.kernel, pushed.version))
    with pytest.raises(RunError, match="did not complete"):
        submissions.submit(
            client,
            competition=COMPETITION,
            kernel=pushed.kernel,
            version=pushed.version,
            file="submission.csv",
            message="m",
            digest="22" * 32,
        )


def test_competition_data_is_fetched_whole_and_only_once(client, tmp_path):
    into = tmp_path / "data"
    seen = []
    first = competitions.fetch(client, COMPETITION, into, on_progress=lambda *progress: seen.append(progress))
    assert first.changed
    assert first.downloaded_bytes > 0
    assert seen
    assert first.files == ("sample_submission.csv", "test.csv", "train.csv", "train/a.txt")
    assert (into / "train/a.txt").read_text() == "a"
    assert not competitions.fetch(client, COMPETITION, into).changed
    (into / "train.csv").write_text("somebody edited this")
    assert competitions.fetch(client, COMPETITION, into).changed
    assert (into / "train.csv").read_text().startswith("id,x,label")


def test_a_competition_describes_itself(client):
    found = competitions.describe(client, COMPETITION)
    assert found.daily == 1000
    assert found.entered
    with pytest.raises(UserError, match="no competition 'nothing-like-it'"):
        competitions.describe(client, "nothing-like-it")


def test_the_quota_keeps_its_days(client):
    assert account.quota(client).gpu_total_s == 30 * 3600
    assert account.username(client) == OWNER


def test_a_name_that_other_content_has_is_a_gate(client, tmp_path, unique):
    datasets.ensure(client, bundle(tmp_path / "a", {"a.bin": b"one"}, slug=f"taken-{unique}"), polling=POLLING)
    with pytest.raises(GateError, match="taken by other content"):
        datasets.ensure(client, bundle(tmp_path / "b", {"a.bin": b"more"}, slug=f"taken-{unique}"), polling=POLLING)


def test_somebody_elses_names_are_refused_before_anything_is_sent(client, tmp_path):
    with pytest.raises(UserError, match="somebody else"):
        datasets.ensure(client, bundle(tmp_path / "a", {"a.bin": b"one"}, owner="mallory"))
    with pytest.raises(UserError, match="somebody else"):
        kernels.push(client, kernel(tmp_path / "k", "not-mine", owner="mallory"))


def test_a_dataset_that_is_missing_stops_the_push(client, tmp_path):
    with pytest.raises(GateError, match="local/never-made"):
        kernels.push(client, kernel(tmp_path / "k", "misses-data", dataset_sources=["local/never-made"]))
    assert kernels.latest(client, "local/misses-data") is None


def test_sources_that_kaggle_drops_are_named(client, tmp_path):
    folder = kernel(tmp_path / "k", "drops-sources", kernel_sources=["local/no-such-kernel"])
    with pytest.raises(UserError, match="kernel local/no-such-kernel"):
        kernels.push(client, folder)


def test_a_wait_is_bounded_and_the_run_goes_on(client, tmp_path, faults):
    faults("kernel", "stuck")
    pushed = kernels.push(client, kernel(tmp_path / "k", "stays-running"))
    with pytest.raises(WaitError, match="RUNNING") as caught:
        kernels.wait(client, pushed.kernel, pushed.version, limit_s=3600, run_limit_s=0.5, polling=POLLING)
    assert "goes on" in caught.value.remedy
    with pytest.raises(WaitError):
        kernels.wait(client, pushed.kernel, pushed.version, limit_s=0.5, polling=POLLING)


@pytest.mark.parametrize(
    "change",
    [
        {"KAGGLE_API_TOKEN": None, "KAGGLE_KEY": "f" * 32},
        {"KAGGLE_API_TOKEN": "standin_wrong-token-wrong-token"},
        {"KAGGLE_API_TOKEN": None, "KAGGLE_KEY": None},
    ],
    ids=["wrong-key", "wrong-token-beside-a-key", "none"],
)
def test_wrong_or_missing_credentials_are_exit_code_2(client, change, tmp_path):
    environment = {**client.environment, "HOME": str(tmp_path), "KAGGLE_CONFIG_DIR": str(tmp_path), **change}
    environment = {name: value for name, value in environment.items() if value is not None}
    with Client(environment) as stranger, pytest.raises(CredentialError) as caught:
        competitions.limits(stranger, COMPETITION)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert not [value for value in change.values() if value and value in str(caught.value)]
