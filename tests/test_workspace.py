"""Files appear whole or not at all; equal values have equal digests; a workspace is found from anywhere inside it."""

import json
import os
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import workspace as ws
from builder.errors import UserError
from builder.workspace import Workspace

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_value_has_one_spelling_that_survives_a_round_trip(value):
    again = json.loads(ws.canonical_json(value))
    assert again == value
    assert ws.canonical_json(again) == ws.canonical_json(value)
    assert ws.canonical_json(json.loads(ws.pretty_json(value))) == ws.canonical_json(value)
    assert ws.canonical_json(value).isascii()


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_digests_do_not_depend_on_the_order_of_keys(value):
    turned = dict(reversed(value.items()))
    assert ws.digest_of(turned) == ws.digest_of(value)
    assert len(ws.short(ws.digest_of(value))) == ws.DIGEST_DIGITS


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_has_no_spelling_in_json_has_no_digest(value):
    for spell in (ws.canonical_json, ws.pretty_json):
        with pytest.raises(ValueError, match="JSON compliant"):
            spell({"score": value})


def test_a_digest_of_a_file_is_the_digest_of_its_bytes(tmp_path):
    data = os.urandom(3 * ws.CHUNK + 17)
    (tmp_path / "blob").write_bytes(data)
    assert ws.sha256_file(tmp_path / "blob") == ws.sha256_bytes(data)


def interrupted(replacing, work, failure):
    with replacing as temporary:
        work(temporary)
        raise failure


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path, failure):
    path = tmp_path / "deep" / "plan.json"
    ws.write_text(path, "old")
    with pytest.raises(failure):
        interrupted(ws.replacing(path), lambda temporary: temporary.write_text("half of the new"), failure)
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["plan.json"]


def test_a_killed_write_leaves_the_old_content(tmp_path):
    """A real SIGKILL in the middle, which no `finally` sees."""
    path = tmp_path / "plan.json"
    ws.write_text(path, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from builder.workspace import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60, check=False)
    assert died.returncode < 0
    assert path.read_text() == "old"


def test_a_file_is_never_seen_half_written(tmp_path):
    path = tmp_path / "a" / "b"
    with ws.replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent, "a rename is atomic only within one file system"
        assert not path.exists()
    assert path.read_text() == "new"


def test_written_files_can_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        ws.write_text(tmp_path / "file", "x")
        with ws.replacing_folder(tmp_path / "folder") as folder:
            (folder / "x").touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "set"
    for content in ("first", "second"):
        with ws.replacing_folder(target) as folder:
            (folder / content).touch()
        assert [p.name for p in target.iterdir()] == [content]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "set"
    with ws.replacing_folder(target) as folder:
        (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt):
        interrupted(ws.replacing_folder(target), lambda folder: (folder / "new").touch(), KeyboardInterrupt)
    assert [p.name for p in target.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_json_that_is_missing_or_broken_names_the_file_and_the_remedy(tmp_path):
    path = tmp_path / "plan.json"
    with pytest.raises(UserError, match="missing file") as missing:
        ws.read_json(path, remedy="kkb plan digits")
    path.write_text('{"half": ')
    with pytest.raises(UserError, match="not a readable JSON") as broken:
        ws.read_json(path, remedy="kkb plan digits")
    path.write_bytes(b'"\xff"')
    with pytest.raises(UserError, match="not a readable JSON"):
        ws.read_json(path, remedy="kkb plan digits")
    for caught in (missing, broken):
        assert (caught.value.file, caught.value.remedy) == (str(path), "kkb plan digits")


def test_pretty_json_keeps_unicode_and_order(tmp_path):
    ws.write_json(tmp_path / "x.json", {"b": "né", "a": 1})
    assert (tmp_path / "x.json").read_bytes() == '{\n  "b": "né",\n  "a": 1\n}\n'.encode()


@pytest.mark.parametrize("marker", ws.MARKERS)
def test_a_workspace_is_found_from_anywhere_inside_it(tmp_path, marker):
    root = tmp_path / "space"
    (root / marker).mkdir(parents=True)
    deep = root / "a" / "b"
    deep.mkdir(parents=True)
    assert Workspace.find(deep).root == root.resolve() == Workspace.find(root).root


def test_the_nearest_workspace_counts_and_without_one_the_folder_itself(tmp_path):
    (tmp_path / "kernels").mkdir()
    inner = tmp_path / "inner"
    (inner / ".kkb").mkdir(parents=True)
    assert Workspace.find(inner).root == inner.resolve()
    (tmp_path / "kernels").rmdir()
    (inner / ".kkb").rmdir()
    assert Workspace.find(inner).root == inner.resolve()


def test_asking_for_a_path_creates_nothing(workspace):
    paths = (
        workspace.ledger,
        workspace.datasets,
        workspace.standin,
        workspace.cache,
        workspace.weights("x"),
        workspace.runs("x"),
    )
    assert not any(path.exists() for path in paths)


def test_an_unknown_kernel_names_the_nearest(workspace):
    with pytest.raises(UserError) as none:
        workspace.kernel("digits")
    assert "kkb new digits" in none.value.remedy
    ws.write_text(workspace.kernels / "digits" / "kernel.toml", "")
    assert workspace.kernel("digits") == workspace.kernels / "digits"
    with pytest.raises(UserError) as typo:
        workspace.kernel("digist")
    assert typo.value.remedy == "did you mean 'digits'?"


def test_paths_are_shown_as_a_person_would_type_them(workspace, tmp_path):
    assert workspace.show(workspace.kernels / "digits") == "kernels/digits"
    assert workspace.show(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")


def test_a_lock_is_held_by_one_and_dies_with_its_holder(tmp_path):
    path = tmp_path / "locks" / "train"
    with ws.locked(path):
        code = f"from pathlib import Path; from builder.workspace import locked\nwith locked(Path({str(path)!r})): pass"
        held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert held.returncode != 0
        assert "another kkb" in held.stderr
    with ws.locked(path):
        pass
