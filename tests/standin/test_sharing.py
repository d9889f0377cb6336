"""Who may see a dataset, as the wire tells it: all settings at once, and the plain client speaks the same."""

import json

import pytest

from tests.standin.conftest import DATASETS, write_dataset

MATES = [{"username": "alice", "role": "READER"}, {"username": "bob", "role": "WRITER"}]


def settings(stand, slug, **changes):
    return stand.call(DATASETS, "UpdateDatasetMetadata", ownerSlug="local", datasetSlug=slug, settings=changes)


def info(stand, slug):
    return stand.call(DATASETS, "GetDatasetMetadata", ownerSlug="local", datasetSlug=slug)["info"]


def test_collaborators_are_kept_until_other_settings_come(shared):
    shared.create_dataset("shared-data", {"a.txt": b"a"})
    assert "collaborators" not in info(shared, "shared-data")
    assert settings(shared, "shared-data", title="Shared data", isPrivate=True, collaborators=MATES) == {}
    found = info(shared, "shared-data")
    assert (found["collaborators"], found["isPrivate"]) == (MATES, True)
    assert settings(shared, "shared-data", title="Shared data") == {}
    found = info(shared, "shared-data")
    assert ("collaborators" in found, found.get("isPrivate", False)) == (False, False), "what is not sent again is lost"


def test_a_name_that_is_no_users_changes_nothing(shared):
    shared.create_dataset("closed-data", {"a.txt": b"a"})
    wrong = [*MATES, {"username": "no one/", "role": "READER"}]
    assert settings(shared, "closed-data", collaborators=wrong) == {"errors": ["User 'no one/' was not found"]}
    assert "collaborators" not in info(shared, "closed-data")
    fields = {"ownerSlug": "local", "datasetSlug": "never-made", "settings": {"collaborators": MATES}}
    assert shared.raw(DATASETS, "UpdateDatasetMetadata", fields).status_code == 403


@pytest.mark.slow
def test_the_plain_client_shares_from_the_same_folder(stand):
    folder = write_dataset(stand.scratch / "data", "plain-data", {"a.txt": b"a"})
    stand.kaggle("datasets", "create", "-p", folder)
    path = folder / "dataset-metadata.json"
    mates = [{"username": "alice", "role": "reader"}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "isPrivate": True, "collaborators": mates}))
    stand.kaggle("datasets", "metadata", "local/plain-data", "--update", "-p", folder)
    found = info(stand, "plain-data")
    assert (found["collaborators"], found["isPrivate"]) == ([{"username": "alice", "role": "READER"}], True)
