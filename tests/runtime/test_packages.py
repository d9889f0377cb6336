"""Wheels from a mounted dataset: installed offline, or used as they are; what is imported afterwards is what was bundled.

Each case runs in another process with a folder of its own to install to: nothing here touches this environment.
"""

import hashlib
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import zipfile

import pytest

from builder.rehearse import unpack

PYTHON = f"cp{sys.version_info[0]}{sys.version_info[1]}"
CALL = """
import json, sys
sys.path.insert(0, {wheel!r})
from kkb_runtime import mounts, packages
try:
    print("done", json.dumps(packages.provide({datasets!r})))
except (packages.ProvideError, mounts.MountError) as error:
    print("refused", json.dumps(str(error)))
"""


def wheel_bytes(name, version="1.0", tag="py3-none-any", source="", package=None):
    """A wheel with one package, RECORD and all."""
    package = package or name
    info = f"{name}-{version}.dist-info"
    files = {
        f"{package}/__init__.py": f"__version__ = {version!r}\n{source}".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    import base64

    def digest(data):
        return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

    rows = [f"{path},sha256={digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return buffer.getvalue()


@pytest.fixture
def mounted(kaggle):
    """`mounted({"cp313": [("a-1.0-py3-none-any.whl", bytes)]})`: the datasets, and the notebook's list of them."""

    def mount(wheels):
        items = []
        for tag, files in wheels.items():
            folder = kaggle / "input" / "datasets" / "me" / f"kkb-wheels-{tag}"
            folder.mkdir(parents=True)
            for name, data in files:
                (folder / name).write_bytes(data)
            known = {name: hashlib.sha256(data).hexdigest() for name, data in files}
            items.append({"key": f"wheels-{tag}", "owner": "me", "slug": folder.name, "files": known})
        return items

    return mount


@pytest.fixture
def provide(kaggle, wheel, tmp_path):
    """`provide(datasets)`: ("done", versions) or ("refused", message), and where pip installed to."""

    def call(datasets, *, site=None, **extra):
        target = tmp_path / "site-packages"
        target.mkdir(exist_ok=True)
        path = os.pathsep.join([str(target), *([str(site)] if site else [])])
        environment = {
            **os.environ,
            "KKB_KAGGLE": str(kaggle),
            "PYTHONPATH": path,
            "PIP_TARGET": str(target),
            "PIP_NO_INDEX": "0",
        }
        code = CALL.format(wheel=str(wheel), datasets=datasets)
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment | extra, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stderr
        word, _, rest = ran.stdout.strip().rpartition("\n")[2].partition(" ")
        return word, json.loads(rest)

    call.target = tmp_path / "site-packages"
    return call


def test_wheels_are_installed_offline_and_told(mounted, provide):
    name = f"kkb_tiny-1.0-{PYTHON}-{PYTHON}-linux_x86_64.whl"
    tagged = wheel_bytes("kkb_tiny", tag=f"{PYTHON}-{PYTHON}-linux_x86_64")
    items = mounted({PYTHON: [(name, tagged), ("kkb_other-2.1-py3-none-any.whl", wheel_bytes("kkb_other", "2.1"))], "cp399": []})
    assert provide(items) == ("done", {"kkb-tiny": "1.0", "kkb-other": "2.1"})
    assert (provide.target / "kkb_tiny" / "__init__.py").is_file()
    assert provide(items) == ("done", {"kkb-tiny": "1.0", "kkb-other": "2.1"})  # a second call finds them there


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2024.1.5", "2024.01.05", True),
        ("1.26.0", "1.26", True),
        ("1.0+cu128", "1.0", True),
        ("1.26.0", "1.31.1", False),
        ("1.2", "1.20", False),
        ("-", "1.0", False),
    ],
)
def test_one_version_is_spelt_in_different_ways(one, other, same):
    from kkb_runtime import packages

    assert (packages.release(one) == packages.release(other)) is same


@pytest.mark.parametrize(
    ("package", "module"), [("numpy", "numpy"), ("protobuf", "google.protobuf"), ("pillow", "PIL"), ("no-such-package", "")]
)
def test_the_module_of_a_package(package, module):
    from kkb_runtime import packages

    if module and packages.version_of(package) is None:
        pytest.skip(f"{package} is not installed here")
    assert packages.module_of(package) == module


def test_without_bundled_wheels_nothing_is_asked_for(provide):
    assert provide([]) == ("done", {})


@pytest.mark.parametrize("python", ["cp399"])
def test_a_missing_tag_is_named(mounted, provide, python):
    word, text = provide(mounted({python: [("kkb_tiny-1.0-cp399-cp399-linux_x86_64.whl", wheel_bytes("kkb_tiny"))]}))
    assert word == "refused"
    for part in (f"this image runs Python {PYTHON}", "bundled for cp399", "lacks kkb-tiny", "kkb machine capture"):
        assert part in text


def test_a_missing_tag_does_not_matter_when_the_image_has_the_packages(mounted, provide):
    """As in a rehearsal, whose Python is another one; a CPU machine's onnxruntime stands for the GPU's."""
    items = mounted({"cp399": [("onnxruntime_gpu-1.26.0-cp399-cp399-linux_x86_64.whl", b"not read")]})
    assert provide(items) == ("done", {"onnxruntime-gpu": importlib.metadata.version("onnxruntime")})


def test_a_damaged_wheel_is_not_installed(mounted, provide, kaggle):
    items = mounted({PYTHON: [("kkb_tiny-1.0-py3-none-any.whl", wheel_bytes("kkb_tiny"))]})
    path = next(kaggle.rglob("*.whl"))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    word, text = provide(items)
    assert (word, "kkb_tiny-1.0-py3-none-any.whl: sha256" in text) == ("refused", True), text
    assert not any(provide.target.iterdir())


@pytest.mark.parametrize("fault", ["", *(pytest.param(f, marks=pytest.mark.slow) for f in ("flip", "no-record"))])
def test_an_unpacked_wheel_is_used_as_it_is(mounted, provide, kaggle, fault):
    items = mounted({PYTHON: [("kkb_tiny-1.0-py3-none-any.whl", wheel_bytes("kkb_tiny"))]})
    path = next(kaggle.rglob("*.whl"))
    data = path.read_bytes()
    path.unlink()
    unpack.place(write(path.parent / "x.zip", data), path.parent, "x.zip")
    (path.parent / "x").rename(path)
    if fault == "flip":
        (path / "kkb_tiny" / "__init__.py").write_text("__version__ = '1.1'\n")
    if fault == "no-record":
        (path / "kkb_tiny-1.0.dist-info" / "RECORD").unlink()
    word, found = provide(items)
    assert (word, found) == ("done", {"kkb-tiny": "1.0"}) if not fault else word == "refused", found
    assert not fault or {"flip": "__init__.py: sha256", "no-record": "no unpacked wheel"}[fault] in found
    assert not any(provide.target.iterdir())


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.slow
def test_a_wheel_that_fits_no_tag_is_named_with_pips_own_words(mounted, provide):
    name = "kkb_tiny-1.0-cp27-cp27m-win32.whl"
    word, text = provide(mounted({PYTHON: [(name, wheel_bytes("kkb_tiny", tag="cp27-cp27m-win32"))]}))
    assert word == "refused"
    assert "pip could not install kkb-tiny==1.0" in text


@pytest.mark.slow
def test_a_package_that_cannot_be_imported_is_named_at_once(mounted, provide):
    source = "raise OSError('libcublasLt.so.13: cannot open shared object file')"
    word, text = provide(mounted({PYTHON: [("kkb_tiny-1.0-py3-none-any.whl", wheel_bytes("kkb_tiny", source=source))]}))
    assert (word, "kkb-tiny 1.0 can't be imported: OSError: libcublasLt.so.13" in text) == ("refused", True), text


@pytest.mark.slow
def test_a_package_that_kills_its_process_is_named(mounted, provide):
    source = "import os; os.abort()"
    word, text = provide(mounted({PYTHON: [("kkb_bad-1.0-py3-none-any.whl", wheel_bytes("kkb_bad", source=source))]}))
    assert (word, "importing kkb_bad ended the process (exit code -6)" in text) == ("refused", True), text


@pytest.mark.slow
def test_a_package_that_is_shadowed_is_named(mounted, provide, tmp_path):
    """As `google`, which the image imports before anything of ours: the newer protobuf is installed and never found."""
    early = tmp_path / "early"
    (early / "google" / "protobuf").mkdir(parents=True)
    (early / "google" / "protobuf" / "__init__.py").write_text("__version__ = '5.29.5'\n")
    (early / "sitecustomize.py").write_text(f"import sys; sys.path.insert(0, {str(early)!r}); import google.protobuf\n")
    data = wheel_bytes("protobuf", "9.1.0", package="google/protobuf")
    word, text = provide(mounted({PYTHON: [("protobuf-9.1.0-py3-none-any.whl", data)]}), site=early)
    assert word == "refused", text
    for part in ("protobuf 9.1.0 lies in", "the image imports `google` before anything else", "leave protobuf to the image"):
        assert part in text


@pytest.mark.slow
def test_two_packages_in_one_folder_are_told(mounted, provide):
    """Both onnxruntimes unpack into one folder. Elsewhere than on Kaggle nothing is removed."""
    gpu = ("onnxruntime_gpu-1.26.0-py3-none-any.whl", wheel_bytes("onnxruntime_gpu", "1.26.0", package="onnxruntime"))
    items = mounted({PYTHON: [gpu]})
    word, text = provide(items, PIP_TARGET="")
    assert (word, "onnxruntime is installed, whose folder" in text) == ("refused", True), text
    assert importlib.metadata.version("onnxruntime")
    assert provide(items) == ("done", {"onnxruntime-gpu": "1.26.0"})  # where it does not share the folder
    info = provide.target / "onnxruntime-1.25.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.25.0\n")
    word, text = provide(items)
    assert (word, "share one folder: remove onnxruntime" in text) == ("refused", True), text
