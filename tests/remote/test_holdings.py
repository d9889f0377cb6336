"""What we have at Kaggle: shared, listed, used by whom, deleted; models as carriers. The real client, the real stand-in."""

import datetime as dt

import pytest

from builder.errors import GateError, UserError
from builder.remote import competitions, datasets, kernels, models, sharing, uses
from builder.remote.answers import RefusedError
from builder.remote.retry import Polling
from builder.standin.home import Home
from builder.standin.store import Store
from tests.remote.folders import COMPETITION, OWNER, bundle, kernel, model
from tests.remote.test_faults import until_done

POLLING = Polling(shortest_s=0.05, longest_s=0.3)
KINDS = ("429", "500", "drop-before", "drop-after", "html")
QUICK = {("UpdateDatasetMetadata", "drop-after"), ("DeleteDataset", "drop-after"), ("CreateModelInstance", "drop-after")}


def cases(*targets):
    return [
        pytest.param(target, kind, id=f"{target}-{kind}", marks=() if (target, kind) in QUICK else (pytest.mark.slow,))
        for target in targets
        for kind in KINDS
    ]


def mates(*names):
    return [{"username": name, "role": "reader"} for name in names]


def upload(client, folder, unique, **metadata):
    path = bundle(folder / unique, {"a.bin": unique.encode()}, slug=f"held-{unique}", **metadata)
    return datasets.ensure(client, path, polling=POLLING), path


def test_a_new_dataset_is_shared_and_stays_what_it_was(client, tmp_path, unique):
    settings = {"collaborators": mates("alice", "bob"), "licenses": [{"name": "apache-2.0"}], "isPrivate": True}
    _, path = upload(client, tmp_path, unique, **settings)
    slug = f"held-{unique}"
    assert sharing.collaborators(client, OWNER, slug) == ("alice", "bob")
    info = client.call("dataset_metadata", owner=OWNER, slug=slug)
    assert (info["isPrivate"], info["title"], info["licenses"]) == (True, slug, [{"name": "apache-2.0"}])
    assert {one["role"] for one in info["collaborators"]} == {"READER"}
    assert sharing.share(client, OWNER, slug, ["Bob", "carol", OWNER, "carol"]) == ("carol",)
    assert sharing.collaborators(client, OWNER, slug) == ("alice", "bob", "carol")
    assert not datasets.ensure(client, path, polling=POLLING).created
    assert sharing.collaborators(client, OWNER, slug) == ("alice", "bob", "carol")


def test_nothing_is_asked_when_nobody_shares(client, talk):
    client, server, _ = talk({})
    assert sharing.share(client, OWNER, "held-data", []) == ()
    assert server.requests == []


def test_an_unknown_user_is_named_and_the_dataset_is_there(client, tmp_path, unique):
    with pytest.raises(UserError, match=r"share dataset .* with no such user") as caught:
        upload(client, tmp_path, unique, collaborators=mates("no such user"))
    assert "User 'no such user' was not found" in caught.value.found
    assert "[bundle] collaborators" in caught.value.remedy
    assert datasets.status(client, OWNER, f"held-{unique}") == datasets.READY


@pytest.mark.parametrize(("target", "kind"), cases("UpdateDatasetMetadata", "GetDatasetMetadata"))
def test_sharing_through_faults(client, faults, tmp_path, unique, target, kind):
    upload(client, tmp_path, unique)
    faults(target, kind, retry_after=1)
    until_done(client, lambda: sharing.share(client, OWNER, f"held-{unique}", ["alice"]))
    assert sharing.collaborators(client, OWNER, f"held-{unique}") == ("alice",)


def test_our_datasets_are_listed_with_their_sizes(client, tmp_path, unique):
    upload(client, tmp_path, unique)
    found = {one.slug: one for one in datasets.list_own(client)}
    assert found[f"held-{unique}"].title == f"held-{unique}"
    assert found[f"held-{unique}"].bytes == sum(datasets.files(client, OWNER, f"held-{unique}").values())
    assert datasets.stored(client) == sum(one.bytes for one in found.values())


def test_what_others_share_with_us_is_not_ours(talk):
    from tests.remote.scripted import ok

    rows = [{"ref": "tester/mine-1", "title": "Mine", "totalBytes": "5"}, {"ref": "mate/theirs", "title": "T", "totalBytes": "7"}]
    client, _, _ = talk({"ListDatasets": [ok(datasets=rows), ok(datasets=[])]})
    assert [one.record() for one in datasets.list_own(client)] == [{"slug": "mine-1", "title": "Mine", "bytes": 5}]


@pytest.mark.parametrize(("target", "kind"), cases("DeleteDataset"))
def test_deleting_through_faults(client, faults, tmp_path, unique, target, kind):
    upload(client, tmp_path, unique)
    faults(target, kind, retry_after=1)
    until_done(client, lambda: datasets.delete(client, OWNER, f"held-{unique}"))
    assert datasets.status(client, OWNER, f"held-{unique}") is None
    assert f"held-{unique}" not in {one.slug for one in datasets.list_own(client)}


def test_deleting_what_is_not_there_is_said(client):
    with pytest.raises(RefusedError):
        datasets.delete(client, OWNER, "never-was-there")


def test_a_refusal_that_comes_with_status_200_is_not_taken_for_success(client, faults, tmp_path, unique):
    from builder.errors import RemoteError

    upload(client, tmp_path, unique)
    faults("DeleteDataset", "refusal", message="it is in use")
    with pytest.raises(RemoteError, match="did not delete") as caught:
        datasets.delete(client, OWNER, f"held-{unique}")
    assert caught.value.found == "it is in use"


def test_every_version_of_every_kernel_tells_what_it_mounts(client, faults, tmp_path, unique):
    faults("kernel", "stuck", times=2)  # nobody needs the runs
    upload(client, tmp_path, unique)
    handle, name = f"{OWNER}/held-{unique}", f"uses-{unique}"
    kernels.push(client, kernel(tmp_path / "one", name, dataset_sources=[handle]))
    kernels.push(client, kernel(tmp_path / "two", name, program="print(2)"))
    assert uses.versions(client)[f"{OWNER}/{name}"] == 2
    assert [uses.mounted(client, f"{OWNER}/{name}", number) for number in (1, 2, 3)] == [[handle], [], []]


def test_the_number_of_versions_is_asked_for_where_a_list_leaves_it_out(talk):
    from tests.remote.scripted import ok

    newest = ok(metadata={"currentVersionNumber": 4}, blob={})
    listed = [ok(kernels=[{"ref": "tester/one"}, {"ref": "tester/two", "currentVersionNumber": 7}]), ok(kernels=[])]
    client, _, _ = talk({"ListKernels": listed, "GetKernel": [newest]})
    assert uses.versions(client) == {"tester/one": 4, "tester/two": 7}


def test_a_competition_is_over_after_its_deadline(talk):
    from tests.remote.scripted import ok

    client, _, _ = talk({"GetCompetition": [ok(deadline="2026-05-01T23:59:00Z")]})
    assert competitions.over(client, COMPETITION, dt.datetime.fromisoformat("2026-05-02"))
    assert not competitions.over(client, COMPETITION, dt.datetime.fromisoformat("2026-05-01"))
    client, _, _ = talk({"GetCompetition": [ok(title="no deadline told")]})
    assert not competitions.over(client, COMPETITION)


READ = """
import pathlib
for place in ("/kaggle/input/models/local", "/kaggle/input"):
    found = pathlib.Path(place, "{slug}", "onnx", "weights", "1", "m.onnx")
    if found.is_file():
        print("read", found.read_text())
"""


@pytest.mark.slow
def test_a_model_is_made_once_pinned_and_mounted(client, tmp_path, unique):
    slug = f"net-{unique}"
    folder = model(tmp_path / "model", {"m.onnx": unique.encode()}, slug=slug)
    made = models.ensure(client, folder, polling=POLLING)
    assert (made.slug, made.created) == (f"{OWNER}/{slug}/onnx/weights/1", True)
    assert made.uploaded_bytes >= len(unique)
    again = models.ensure(client, folder, polling=POLLING)
    assert (again.slug, again.created, again.uploaded_bytes) == (made.slug, False, 0)
    assert set(models.files(client, f"{OWNER}/{slug}/onnx/weights")) == {"m.onnx", "manifest.json"}
    pushed = kernels.push(
        client, kernel(tmp_path / "k", f"reads-{unique}", program=READ.format(slug=slug), model_sources=[made.slug])
    )
    kernels.wait(client, pushed.kernel, pushed.version, limit_s=120, polling=POLLING)
    assert f"read {unique}" in "".join(entry["data"] for entry in kernels.logs(client, pushed.kernel, pushed.version))
    assert uses.mounted(client, pushed.kernel, pushed.version) == [made.slug]


@pytest.mark.parametrize("attached", [True, False])
def test_preflight_knows_models(tmp_path, attached):
    from builder import machines
    from builder.remote import preflight

    folder = model(tmp_path / "model", {"m.onnx": b"m"}, slug="tiny-net-1a2b")
    sources = ["local/tiny-net-1a2b/onnx/weights/1"] if attached else []
    subject = preflight.gather(
        kernel(tmp_path / "kernel", "with-a-model", model_sources=sources),
        competition=COMPETITION,
        file="submission.csv",
        machine=machines.load("cpu"),
        limit_s=600,
        bundles=[folder],
        client=None,
        now=dt.datetime.fromisoformat("2026-11-21"),
    )
    found = {finding.code for finding in preflight.run(subject) if finding.code.startswith(("bundle", "source"))}
    assert found == (set() if attached else {"bundle-unattached"})


@pytest.mark.parametrize("source", ["local/none/onnx/weights/1", "local/none/onnx/weights"])
def test_a_model_that_is_missing_stops_the_push(client, tmp_path, unique, source):
    with pytest.raises(GateError, match="is not there"):
        kernels.push(client, kernel(tmp_path / "k", f"misses-{unique}", model_sources=[source]))
    assert kernels.latest(client, f"local/misses-{unique}") is None


def test_a_model_of_other_content_is_a_gate(client, tmp_path, unique):
    models.ensure(client, model(tmp_path / "a", {"m.onnx": b"one"}, slug=f"net-{unique}"), polling=POLLING)
    with pytest.raises(GateError, match="taken by other content"):
        models.ensure(client, model(tmp_path / "b", {"m.onnx": b"other"}, slug=f"net-{unique}"), polling=POLLING)


def test_a_model_folder_is_checked_before_anything_is_sent(client, tmp_path, unique):
    with pytest.raises(UserError, match="somebody else"):
        models.ensure(client, model(tmp_path / "a", {"m.onnx": b"one"}, slug=f"net-{unique}", owner="mallory"))
    folder = model(tmp_path / "b", {"m.onnx": b"one"}, slug=f"net-{unique}")
    (folder / "m.onnx").write_bytes(b"two")
    with pytest.raises(UserError, match="not the one in the manifest"):
        models.ensure(client, folder)
    (folder / "model-instance-metadata.json").write_text('{"ownerSlug": "local", "modelSlug": "x", "framework": "onnx"}')
    with pytest.raises(UserError, match="not a model folder"):
        models.ensure(client, folder)
    assert not models.exists(client, f"{OWNER}/net-{unique}/onnx/weights")


@pytest.mark.parametrize(
    ("target", "kind"),
    cases("CreateModel", "StartBlobUpload", "CreateModelInstance", "GetModelInstance", "ListModelInstanceVersionFiles"),
)
def test_a_model_through_faults_is_one_model(client, kaggle, faults, tmp_path, unique, target, kind):
    folder = model(tmp_path / "model", {"m.onnx": unique.encode(), "n.onnx": b"n" * 3000}, slug=f"net-{unique}")
    faults(target, kind, retry_after=1)
    made = until_done(client, lambda: models.ensure(client, folder, polling=POLLING))
    assert made.slug == f"{OWNER}/net-{unique}/onnx/weights/1"
    store = Store(Home(kaggle).database)
    sql = "SELECT count(*) AS n FROM {} WHERE {}"
    model_id = store.one("SELECT id FROM models WHERE slug = ?", f"net-{unique}")["id"]
    variation = store.one("SELECT id FROM variations WHERE model = ?", model_id)["id"]
    assert store.one(sql.format("variations", "model = ?"), model_id)["n"] == 1
    assert store.one(sql.format("variation_versions", "variation = ?"), variation)["n"] == 1
