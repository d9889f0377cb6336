"""State of an older version goes on being used; that of a newer one is refused."""

import sqlite3

import pytest

from builder.errors import UserError
from builder.standin.store import VERSION, Store

FIRST = """
CREATE TABLE kernels (id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, kind TEXT NOT NULL,
    created REAL NOT NULL);
CREATE TABLE competitions (slug TEXT PRIMARY KEY, id INTEGER NOT NULL, title TEXT NOT NULL, metric TEXT NOT NULL,
    limit_s REAL NOT NULL, daily INTEGER NOT NULL, machine TEXT NOT NULL, submission_file TEXT NOT NULL, digest TEXT NOT NULL,
    created REAL NOT NULL);
CREATE TABLE datasets (id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, subtitle TEXT,
    description TEXT, license TEXT NOT NULL, private INTEGER NOT NULL, keywords TEXT NOT NULL, created REAL NOT NULL);
INSERT INTO datasets (slug, title, license, private, keywords, created) VALUES ('data', 'Data', 'CC0-1.0', 1, '[]', 1);
INSERT INTO kernels (slug, title, kind, created) VALUES ('old', 'Old', 'notebook', 1);
INSERT INTO competitions VALUES ('comp', 1, 'Comp', 'accuracy', 60, 5, 'cpu', 'submission.csv', 'd', 1);
PRAGMA user_version=1;
"""


def test_the_first_version_is_brought_up_to_date(tmp_path):
    connection = sqlite3.connect(tmp_path / "state.sqlite")
    connection.executescript(FIRST)
    connection.close()
    for _ in range(2):
        store = Store(tmp_path / "state.sqlite")
        assert store.one("SELECT folder FROM kernels")["folder"] == "old"
        assert store.one("SELECT kind FROM competitions")["kind"] == "notebook"
        assert store.one("SELECT collaborators FROM datasets")["collaborators"] == "[]"
        assert store.one("PRAGMA user_version")[0] == VERSION


def test_a_newer_version_is_refused(tmp_path):
    Store(tmp_path / "state.sqlite").run("CREATE TABLE kept (x)")
    connection = sqlite3.connect(tmp_path / "state.sqlite")
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    with pytest.raises(UserError, match="newer"):
        Store(tmp_path / "state.sqlite")


def test_a_write_is_all_or_nothing(tmp_path):
    store = Store(tmp_path / "state.sqlite")
    sql = "INSERT INTO models (slug, title, private, created) VALUES ('m', 't', 1, 0)"
    with pytest.raises(RuntimeError), store.write() as db:  # noqa: PT012 - the transaction is what is tested
        db.execute(sql)
        raise RuntimeError("in the middle")
    assert store.all("SELECT * FROM models") == []
