"""What goes wrong with bundled packages is told by name, whatever pip and imports do; only a session on Kaggle removes rivals."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from kkb_runtime import packages
from kkb_runtime.packages import ProvideError, Wheel


@pytest.fixture
def site(tmp_path, monkeypatch):
    """`site(folder, name, version, *files)`: an installed package, found before any other."""

    def install(folder, name, version="1.0", *files):
        place = tmp_path / folder
        info = place / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        if str(place) not in sys.path:
            monkeypatch.syspath_prepend(str(place))
        return place

    monkeypatch.delenv("PIP_TARGET", raising=False)
    return install


def wheel(tmp_path, name, version="1.0"):
    return Wheel(tmp_path / f"{name}-{version}-py3-none-any.whl", name, version)


def late(command, **limits):
    raise subprocess.TimeoutExpired(command, limits["timeout"])


def answering(returncode=0, stdout="", stderr=""):
    """A `run` that notes its commands."""
    asked = []

    def run(command, **_):
        asked.append(command)
        return SimpleNamespace(returncode=returncode, stdout=stdout, stderr=stderr)

    run.asked = asked
    return run


def test_a_pip_that_hangs_and_one_that_fails_are_told_with_the_packages(tmp_path):
    wheels = [wheel(tmp_path, "kkb-tiny"), wheel(tmp_path, "kkb-other", "2.1")]
    with pytest.raises(ProvideError, match=r"pip did not install kkb-tiny==1\.0, kkb-other==2\.1 within 600 s"):
        packages._install(wheels, late)
    with pytest.raises(ProvideError, match=r"could not install kkb-tiny==1\.0, .* for Python 3.*: no space left"):
        packages._install(wheels, answering(1, "", "no space left"))
    asked = answering()
    packages._install(wheels, asked)
    assert {"--no-index", "--no-deps"} <= set(asked.asked[-1])
    packages._install([], late)


def test_an_import_that_hangs_is_told_with_the_packages():
    with pytest.raises(ProvideError, match="importing kkb_tiny took more than 300 s"):
        packages._import(["kkb_tiny"], late)


def test_an_import_that_ends_its_process_is_told_with_its_last_words():
    with pytest.raises(ProvideError, match=r"importing kkb_tiny ended the process \(exit code -11\): Segmentation fault"):
        packages._import(["kkb_tiny"], answering(-11, "", "Segmentation fault"))
    assert packages._import([], late) == {}


def test_a_rival_is_removed_on_kaggle_only(site, tmp_path, monkeypatch):
    site("one", "onnxruntime-gpu")
    wheels, run = [wheel(tmp_path, "onnxruntime")], answering()
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    with pytest.raises(ProvideError, match="onnxruntime-gpu is installed, whose folder the bundled wheel would overwrite"):
        packages._make_room(wheels, run)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    packages._make_room(wheels, run)
    packages._make_room([wheel(tmp_path, "kkb-tiny")], run)
    monkeypatch.setenv("PIP_TARGET", str(tmp_path))
    packages._make_room(wheels, run)
    assert [command[-1] for command in run.asked] == ["onnxruntime-gpu"]


def test_rivals_in_one_folder_are_refused_and_in_two_they_are_not(site, tmp_path):
    site("one", "onnxruntime-gpu")
    site("two", "onnxruntime")
    packages._refuse_rivals([wheel(tmp_path, "onnxruntime"), wheel(tmp_path, "kkb-tiny")])
    site("two", "onnxruntime-gpu", "1.1")
    with pytest.raises(ProvideError, match="share one folder: remove onnxruntime-gpu from the image"):
        packages._refuse_rivals([wheel(tmp_path, "onnxruntime")])


@pytest.mark.parametrize(
    ("name", "files", "module"),
    [
        ("kkb-plain", ["kkb_plain/__init__.py", "kkb_plain/tests/__init__.py"], "kkb_plain"),
        ("kkb-other", ["elsewhere/__init__.py", "tests/__init__.py", "_private.py"], "elsewhere"),
        ("kkb-below", ["google/below/__init__.py"], "google.below"),
        ("kkb-file", ["kkb_file.py"], "kkb_file"),
        ("kkb-two", ["one/__init__.py", "two/__init__.py"], ""),
        ("kkb-none", [], ""),
    ],
)
def test_a_package_is_known_by_one_module_or_by_none(site, name, files, module):
    site("one", name, "1.0", *files)
    assert packages.module_of(name) == module


def test_what_is_imported_must_be_what_was_bundled(site, tmp_path):
    place = site("one", "kkb-tiny", "1.0", "kkb_tiny/__init__.py")
    tiny, old = wheel(tmp_path, "kkb-tiny"), wheel(tmp_path, "kkb-tiny", "0.9")
    assert packages._fault(tiny, [str(place / "kkb_tiny" / "__init__.py"), "1.0"]) == ""
    assert packages._fault(tiny, None) == ""
    assert packages._fault(old, None) == "kkb-tiny 0.9 was bundled, 1.0 is in use"
    assert packages._fault(wheel(tmp_path, "kkb-absent"), None) == "kkb-absent 1.0 was bundled, none is in use"
    assert packages._fault(tiny, "ImportError: no libfoo.so") == "kkb-tiny 1.0 can't be imported: ImportError: no libfoo.so"
    told = packages._fault(tiny, ["/elsewhere/kkb_tiny/__init__.py", "1.0"])
    assert told.endswith("but /elsewhere/kkb_tiny/__init__.py is imported in its place: leave kkb-tiny to the image")


def test_all_faults_are_told_at_once(site, tmp_path):
    site("one", "kkb-one", "1.0", "kkb_one/__init__.py")
    site("two", "kkb-two", "1.0", "kkb_two/__init__.py")
    wheels = [wheel(tmp_path, "kkb-one"), wheel(tmp_path, "kkb-two")]
    told = 'noise\n{"kkb_one": "ImportError: a", "kkb_two": "ImportError: b"}\n'
    with pytest.raises(ProvideError, match=r"kkb-one 1\.0 can't be imported: ImportError: a; kkb-two 1\.0 can't be imported"):
        packages._imported(wheels, answering(0, told))
    assert packages._imported(wheels, answering(0, "{}")) == {"kkb-one": "1.0", "kkb-two": "1.0"}
