"""The ledger: brought up to date, told twice without harm, read by the version that wrote it, and useful when it is damaged."""

import multiprocessing
import sqlite3

import pytest

from builder.errors import UserError
from builder.ledger import store
from builder.ledger.store import Ledger

SERVER, KERNEL = "localhost", "me/digits"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "ledger.sqlite"


def test_it_is_made_when_it_is_missing(path):
    with Ledger(path) as ledger:
        assert ledger.runs("digits") == []
    base = sqlite3.connect(path)
    assert base.execute("PRAGMA user_version").fetchone() == (len(store.MIGRATIONS),)
    base.close()


def test_runs_are_read_back_newest_first(path):
    with Ledger(path) as ledger:
        for stage in ("train", "export"):
            ledger.add_run("digits", stage, f"digest of {stage}", 1.5, {"rows": 3})
        ledger.add_run("other", "train", "x", 1.0, {})
    with Ledger(path) as ledger:
        rows = ledger.runs("digits")
    assert [(row["stage"], row["digest"], row["seconds"], row["record"]) for row in rows] == [
        ("export", "digest of export", 1.5, '{"rows": 3}'),
        ("train", "digest of train", 1.5, '{"rows": 3}'),
    ]


def test_a_push_that_is_told_twice_is_there_once_as_the_server_has_it_now(path):
    with Ledger(path) as ledger:
        ledger.add_push(SERVER, KERNEL, 1, "old", [], None)
        ledger.add_push(SERVER, KERNEL, 1, "aaa", ["w-1"], 0.97)  # a server that was made anew counts from 1 again
        ledger.add_push(SERVER, KERNEL, 1, "aaa", [], None)
        ledger.add_push(SERVER, KERNEL, 2, "ccc", ["w-1"], None)
        ledger.add_push("kaggle.com", KERNEL, 1, "ddd", [], None)
        rows = ledger.pushes(SERVER, KERNEL)
    assert [(row["version"], row["digest"], row["cv"]) for row in rows] == [(2, "ccc", None), (1, "aaa", 0.97)]


def test_a_submission_is_there_once_and_keeps_its_score(path):
    with Ledger(path) as ledger:
        ledger.add_submission(SERVER, "digits", 7, KERNEL, 1, "aaa", 0.97)
        assert ledger.submissions(SERVER, "digits")[0]["status"] == "PENDING"
        ledger.set_score(SERVER, "digits", 7, "COMPLETE", public=0.96, private=0.95, error="")
        ledger.add_submission(SERVER, "digits", 7, KERNEL, 1, "aaa", 0.97)
        (row,) = ledger.submissions(SERVER, "digits")
    assert (row["status"], row["public"], row["private"], row["cv"]) == ("COMPLETE", 0.96, 0.95, 0.97)


def test_servers_and_competitions_do_not_mix(path):
    with Ledger(path) as ledger:
        for server in ("localhost", "kaggle.com"):
            ledger.add_submission(server, "digits", 7, KERNEL, 1, "aaa", None)
        ledger.set_score("localhost", "digits", 7, "ERROR", public=None, private=None, error="Notebook Timeout")
        assert ledger.submissions("kaggle.com", "digits")[0]["status"] == "PENDING"
        assert ledger.submissions("localhost", "other") == []


def test_opening_it_again_migrates_nothing_and_loses_nothing(path):
    with Ledger(path) as ledger:
        ledger.add_push(SERVER, KERNEL, 1, "aaa", [], None)
    for _ in range(2):
        with Ledger(path) as ledger:
            assert len(ledger.pushes(SERVER, KERNEL)) == 1


@pytest.mark.parametrize("since", range(len(store.MIGRATIONS)))
def test_every_older_schema_is_brought_up_to_date(path, since, monkeypatch):
    current = store.MIGRATIONS
    monkeypatch.setattr(store, "MIGRATIONS", current[:since])
    Ledger(path).__exit__()
    monkeypatch.setattr(store, "MIGRATIONS", current)
    with Ledger(path) as ledger:
        ledger.add_push(SERVER, KERNEL, 1, "aaa", [], None)
        assert len(ledger.pushes(SERVER, KERNEL)) == 1


def test_a_migration_that_fails_leaves_the_old_schema(path, monkeypatch):
    with Ledger(path) as ledger:
        ledger.add_push(SERVER, KERNEL, 1, "aaa", [], None)
    monkeypatch.setattr(
        store, "MIGRATIONS", (*store.MIGRATIONS, "CREATE TABLE more (id INTEGER); CREATE TABLE pushes (id INTEGER)")
    )
    with pytest.raises(UserError):
        Ledger(path)
    monkeypatch.undo()
    with Ledger(path) as ledger:
        assert len(ledger.pushes(SERVER, KERNEL)) == 1
    base = sqlite3.connect(path)
    assert base.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    base.close()


def test_a_ledger_of_a_newer_kkb_is_not_touched(path):
    Ledger(path).__exit__()
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(UserError, match="newer kkb") as caught:
        Ledger(path)
    assert (caught.value.file, caught.value.found) == (str(path), "schema 99")
    assert "upgrade" in caught.value.remedy


@pytest.mark.parametrize(
    "content", [b"this is no database, but it is long enough to look like one" * 20, b"SQLite format 3\0" + b"\1" * 500]
)
def test_a_file_that_is_no_ledger_says_so_and_stays(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match="the ledger cannot be opened") as caught:
        Ledger(path)
    assert caught.value.file == str(path)
    assert "move ledger.sqlite away" in caught.value.remedy
    assert path.read_bytes() == content


def test_a_folder_in_its_place_says_so(path):
    path.mkdir(parents=True)
    with pytest.raises(UserError, match="the ledger cannot be opened"):
        Ledger(path)


def push_many(path, first):
    for version in range(first, first + 20):
        with Ledger(path) as ledger:
            ledger.add_push(SERVER, KERNEL, version, "aaa", [], None)


def test_two_commands_at_once_lose_nothing(path):
    """Two processes that open, migrate and write at the same time."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=push_many, args=(path, first)) for first in (1, 101)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with Ledger(path) as ledger:
        assert len(ledger.pushes(SERVER, KERNEL)) == 40


def test_a_submission_of_another_notebook_takes_the_place_of_one_on_a_server_that_is_gone(path):
    with Ledger(path) as ledger:
        ledger.add_submission(SERVER, "digits", 1, KERNEL, 1, "old", 0.9)
        ledger.set_score(SERVER, "digits", 1, "COMPLETE", public=0.9, private=None, error="")
        ledger.add_submission(SERVER, "digits", 1, KERNEL, 1, "new", 0.8)
        (row,) = ledger.submissions(SERVER, "digits")
    assert (row["digest"], row["status"], row["public"], row["cv"]) == ("new", "PENDING", None, 0.8)
