"""Wheels: only what the image lacks, for the image's Pythons and not for ours, the same bytes wherever they are fetched.

pip is the real one. Its index is a folder of tiny wheels made here, so nothing but the last test touches a network.
"""

import dataclasses
import hashlib
import json
import os
import socket
import sys
import tarfile
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder import machines
from builder.bundle import clean, resolver, wheel_trial, wheels
from builder.bundle.image import BACKENDS, demands, forbidden, presumed
from builder.bundle.record import MOST_FILES
from builder.bundle.resolver import Target
from builder.errors import RemoteError, UserError

CPU = dataclasses.replace(
    machines.load("cpu"),
    python=("3.12", "3.13"),
    glibc="2.35",
    packages={"numpy": "2.1.3", "torch": "2.11.0+cpu", "protobuf": "5.29.5", "Pillow": "12.2.0"},
)
CUDA = dataclasses.replace(CPU, name="t4x2", accelerator="cuda")
HERE = ".".join(map(str, sys.version_info[:2]))
SETTINGS = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}  # of whoever runs the tests
ORT = ("flatbuffers", "numpy>=1.21.6", "packaging", "protobuf", "backport>=1; python_version < '3.13'")


def wheel(folder, name, version, tags="py3-none-any", requires=(), module=None, text="", python=">=3.8"):
    """A wheel as small as it can be; `tags` as in its file name."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    module = module or name.replace("-", "_")
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}"]
    files = {
        f"{module}/__init__.py": text,
        f"{stem}.dist-info/METADATA": "\n".join([*metadata, *(f"Requires-Dist: {one}" for one in requires)]) + "\n",
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{stem}.dist-info/RECORD"])
    with zipfile.ZipFile(folder / f"{stem}-{tags}.whl", "w") as archive:
        for path, content in {**files, f"{stem}.dist-info/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), content)
    return folder / f"{stem}-{tags}.whl"


def fill(index):
    for python in ("cp311", "cp312", "cp313"):
        for version in ("1.25.0", "1.26.0", "1.27.0"):
            wheel(index, "onnxruntime", version, f"{python}-{python}-manylinux_2_28_x86_64", ORT)
        wheel(index, "onnxruntime-gpu", "1.26.0", f"{python}-{python}-manylinux_2_28_x86_64", ORT, module="onnxruntime")
        wheel(index, "numpy", "2.5.0", f"{python}-{python}-manylinux_2_28_x86_64")
    wheel(index, "onnxruntime", "1.26.5", "cp312-cp312-win_amd64", ORT)
    wheel(index, "onnxruntime", "1.26.9", "cp312-cp312-manylinux_2_39_x86_64", ORT)
    for name in ("flatbuffers", "packaging", "backport", "torchvision", "wanted"):
        wheel(index, name, "1.5")
    wheel(index, "old-numpy", "1.0", requires=["numpy<2"])
    wheel(index, "on-torch", "1.0", requires=["torch>=2", "torchvision", "wanted>=1"])
    wheel(index, "on-cpu-ort", "1.0", requires=["onnxruntime"])
    wheel(index, "too-new", "1.0", "py3-none-manylinux_2_39_x86_64")
    with tarfile.open(index / "only_source-1.0.tar.gz", "w:gz") as archive:
        archive.add(__file__, "only_source-1.0/setup.py")
    return index


@pytest.fixture(scope="module", autouse=True)
def index(tmp_path_factory):
    """A folder is the only index that pip knows."""
    folder = fill(tmp_path_factory.mktemp("index"))
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name)
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        yield folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def lock(index, cache):
    return wheels.resolve(wheels.requirements("cpu", [], CPU), CPU, cache)


def names(lock, python):
    return [(one.package, one.version) for one in lock.wheels[python]]


def test_only_what_the_image_lacks_travels_and_markers_are_those_of_the_image(lock):
    assert names(lock, "3.12") == [("backport", "1.5"), ("flatbuffers", "1.5"), ("onnxruntime", "1.26.0")]
    assert names(lock, "3.13") == [("flatbuffers", "1.5"), ("onnxruntime", "1.26.0")]


def test_every_wheel_fits_its_python_and_the_glibc(lock):
    for python, locked in lock.wheels.items():
        assert all(resolver.fits(one.name, Target(python, CPU.glibc)) for one in locked)
    assert not resolver.fits("a-1-cp313-cp313-manylinux_2_28_x86_64.whl", Target("3.12", "2.35"))
    assert not resolver.fits("a-1-py3-none-manylinux_2_39_x86_64.whl", Target("3.12", "2.35"))
    assert not resolver.fits("a-1-cp312-cp312-win_amd64.whl", Target("3.12", "2.35"))
    assert resolver.fits("a-1-cp38-abi3-manylinux2014_x86_64.whl", Target("3.13", "2.35"))


def test_the_lock_is_what_lies_in_the_cache(lock, cache):
    for one in (one for locked in lock.wheels.values() for one in locked):
        data = one.path(cache).read_bytes()
        assert (one.bytes, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert not [path for path in (cache / "wheels").iterdir() if path.name.startswith(".")]


def test_the_lock_tells_no_address_and_comes_back_as_it_went(lock, cache, index, tmp_path):
    lock.write(tmp_path / wheels.FILE)
    text = (tmp_path / wheels.FILE).read_text()
    assert "//" not in text
    assert str(index) not in text
    assert set(json.loads(text)) == {"requirements", "machine", "image", "wheels"}
    again = wheels.load(tmp_path / wheels.FILE)
    assert again == lock
    assert wheels.datasets(again, tmp_path / "nothing") != []
    assert [d.slug for d in wheels.datasets(again, tmp_path / "nothing")] == [d.slug for d in wheels.datasets(lock, cache)]


def test_one_dataset_for_each_python(lock, cache):
    one, two = wheels.datasets(lock, cache)
    assert (one.key, two.key) == ("wheels-cp312", "wheels-cp313")
    assert one.slug.startswith("kkb-wheels-cp312-")
    assert one.digest != two.digest
    assert one.about == "onnxruntime 1.26.0 wheels cp312"
    assert [file.name for file in one.files] == sorted(file.name for file in one.files)


def test_nothing_missing_nothing_shipped(tmp_path):
    full = dataclasses.replace(CPU, packages={**CPU.packages, "onnxruntime": "1.25.1"})
    assert wheels.requirements("cpu", [], full) == ()
    assert wheels.datasets(wheels.resolve((), full, tmp_path), tmp_path) == []


def test_a_lock_holds_as_long_as_its_question(lock):
    wanted = wheels.requirements("cpu", [], CPU)
    assert wheels.current(lock, wanted, CPU)
    assert wheels.current(lock, ["onnxruntime>=1.24,<1.27"], CPU)
    assert not wheels.current(lock, [*wanted, "wanted"], CPU)
    assert not wheels.current(lock, wanted, dataclasses.replace(CPU, name="other"))
    assert not wheels.current(lock, wanted, dataclasses.replace(CPU, python=("3.13",)))
    assert not wheels.current(lock, wanted, dataclasses.replace(CPU, glibc="2.39"))
    assert not wheels.current(lock, wanted, dataclasses.replace(CPU, packages={**CPU.packages, "numpy": "2.2"}))


def test_requirements_ask_for_the_backend_and_what_the_image_does_not_meet():
    extra = ["Wanted>=1", "numpy>=2", "pillow", "torch", "torchvision", "never; python_version < '3.10'", "Wanted>=1"]
    assert [one.split("<")[0] for one in wheels.requirements("cpu", extra, CPU)] == ["onnxruntime", "wanted>=1"]
    assert [one.split("<")[0] for one in wheels.requirements("cuda", [], CUDA)] == ["onnxruntime-gpu"]
    assert set(BACKENDS) == {"cpu", "cuda"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("numpy>=2.2", "numpy 2.1.3 in the image"),
        ("torch==2.0", "would replace"),
        ("torchvision==0.1", "of unknown version"),
        ("protobuf[more]", "is in the image, what"),
        ("onnxruntime-gpu", "shares its folder"),
        ("-r more.txt", "not a requirement"),
        ("wanted @ file:///wanted.whl", "names an address"),
        ("onnxruntime @ git+ssh://a/b", "names an address"),
    ],
)
def test_a_requirement_that_no_wheel_may_meet_is_refused(text, says):
    with pytest.raises(UserError) as refused:
        wheels.requirements("cpu", [text], CPU)
    assert says in str(refused.value)
    assert refused.value.remedy


@pytest.mark.slow
def test_the_image_s_torch_brings_nothing_and_stays(tmp_path):
    """The index has no torch at all: what the image has is not looked for, and what only it needs does not travel."""
    made = wheels.resolve(("on-torch",), dataclasses.replace(CPU, python=("3.12",)), tmp_path)
    assert names(made, "3.12") == [("on-torch", "1.0"), ("wanted", "1.5")]


@pytest.mark.slow
def test_torch_is_never_shipped(tmp_path):
    bare = dataclasses.replace(CPU, python=("3.12",), packages={"numpy": "2.1.3"})
    with pytest.raises(UserError, match="torchvision is needed, and is never shipped"):
        wheels.resolve(("torchvision",), bare, tmp_path)
    assert all(map(forbidden, ("torch", "torchaudio", "torchcodec", "triton", "nvidia-cublas-cu12")))
    assert not forbidden("torchmetrics")
    assert presumed("nvidia-nccl-cu12", CPU)
    assert not presumed("torch", bare)


@pytest.mark.slow
def test_the_two_onnxruntimes_are_never_shipped_together(tmp_path):
    wanted = wheels.requirements("cuda", ["on-cpu-ort"], CUDA)
    made = wheels.resolve(wanted, dataclasses.replace(CUDA, python=("3.13",)), tmp_path)
    assert names(made, "3.13") == [("flatbuffers", "1.5"), ("on-cpu-ort", "1.0"), ("onnxruntime-gpu", "1.26.0")]
    with pytest.raises(UserError, match="has onnxruntime, whose folder"):
        wheels.requirements("cuda", [], dataclasses.replace(CUDA, packages={"onnxruntime": "1.25"}))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("old-numpy", ["another version of a package that the image has", "numpy 2.1.3", "old-numpy"]),
        pytest.param("only-source", ["no wheel of only-source", "Python 3.12", "glibc 2.35"], marks=pytest.mark.slow),
        ("too-new", ["no wheel of too-new", "Python 3.12", "glibc 2.35"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, wanted, says):
    with pytest.raises(UserError) as refused:
        wheels.resolve((wanted,), CPU, tmp_path)
    assert [text for text in says if text not in str(refused.value)] == []
    assert not list(tmp_path.rglob("*.whl"))


def test_an_index_that_cannot_be_reached_is_not_the_user_s_fault(tmp_path, monkeypatch):
    with socket.socket() as held:  # bound, but nobody listens
        held.bind(("127.0.0.1", 0))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{held.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("NO_PROXY", "*")
        with pytest.raises(RemoteError, match="can't be reached"):
            wheels.resolve(("elsewhere",), CPU, tmp_path)


def test_more_wheels_than_a_dataset_takes_are_refused(tmp_path, monkeypatch):
    many = [resolver.Picked(f"p{number}", "1", "", (), of_image=False) for number in range(MOST_FILES)]
    monkeypatch.setattr(resolver, "pick", lambda *_: many)
    monkeypatch.setattr(
        wheels, "obtain", lambda pins, *_: [wheels.Wheel(f"{one.name}-1-py3-none-any.whl", 1, "0") for one in pins]
    )
    with pytest.raises(UserError, match="wheels are needed"):
        wheels.resolve([one.name for one in many], CPU, tmp_path)


@pytest.mark.slow
def test_fetch_mends_what_is_missing_or_was_changed(lock, tmp_path):
    lock = dataclasses.replace(lock, wheels={"3.12": lock.wheels["3.12"]})
    wheels.fetch(lock, tmp_path)
    before = {one: one.path(tmp_path).read_bytes() for one in lock.wheels["3.12"]}
    first, second, third = before
    first.path(tmp_path).unlink()
    second.path(tmp_path).write_bytes(before[second][:-1] + b"!")
    third.path(tmp_path).touch()
    wheels.fetch(lock, tmp_path)
    assert {one: one.path(tmp_path).read_bytes() for one in lock.wheels["3.12"]} == before


@pytest.mark.slow
def test_other_bytes_under_a_locked_name_are_refused(lock, tmp_path):
    genuine = next(one for one in lock.wheels["3.13"] if one.package == "flatbuffers")
    forged = dataclasses.replace(lock, wheels={"3.13": (dataclasses.replace(genuine, sha256="0" * 64),)})
    with pytest.raises(UserError, match=r"another wheel of flatbuffers==1\.5"):
        wheels.fetch(forged, tmp_path)
    assert not list(tmp_path.rglob("*.whl"))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../../evil-1-py3-none-any.whl"},
        {"name": "evil.tar.gz"},
        {"sha256": "abc"},
        {"bytes": None},
    ],
)
def test_a_lock_that_is_none_is_refused(lock, tmp_path, change):
    record = lock.record()
    record["wheels"]["3.12"][0] |= change
    (tmp_path / wheels.FILE).write_text(json.dumps(record))
    with pytest.raises(UserError, match="not a lock"):
        wheels.load(tmp_path / wheels.FILE)


def test_extras_and_leaves_in_what_is_demanded():
    requires = {"a": ["b", "c; extra == 'more'"], "b": ["a", "d"], "d": ["e"]}
    assert [d.name for d in demands(["a"], requires, "3.12", lambda name: name == "d")] == ["a", "b", "a", "d"]
    assert "c" in [d.name for d in demands(["a[more]"], requires, "3.12", lambda _: False)]


# ---- the install, rehearsed


def locked(cache, python, *paths, wanted=("one",)):
    """A lock of these files, with the files in its cache."""
    found = []
    for path in paths:
        data = path.read_bytes()
        one = wheels.Wheel(path.name, len(data), hashlib.sha256(data).hexdigest())
        one.path(cache).parent.mkdir(parents=True, exist_ok=True)
        one.path(cache).write_bytes(data)
        found.append(one)
    return wheels.Lock(tuple(wanted), "cpu", "", {python: tuple(found)})


@pytest.mark.slow
def test_what_this_python_takes_is_installed_and_imported_the_rest_only_checked(lock, cache, monkeypatch):
    monkeypatch.setattr(clean, "interpreter", lambda python: sys.executable if python == HERE else None)
    trials = {(one.python, one.wheel.split("-")[0]): one for one in wheel_trial.rehearse_install(lock, CPU, cache)}
    assert not [one for one in trials.values() if one.problems]
    assert {key for key, one in trials.items() if one.executed} == {
        ("3.12", "backport"), ("3.12", "flatbuffers"), ("3.13", "flatbuffers")
    } | {key for key in trials if key[0] == HERE}  # fmt: skip
    assert "packaging is presumed" in " ".join(trials["3.13", "onnxruntime"].notes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"text": "import one_that_is_not_there"}, "ModuleNotFoundError"),
        pytest.param({"text": "raise RuntimeError('no driver')"}, "RuntimeError: no driver", marks=pytest.mark.slow),
        pytest.param({"text": "import os; os._exit(3)"}, "exit code 3", marks=pytest.mark.slow),
        ({"requires": ["numpy>=3"]}, "numpy>=3 is needed, numpy 2.1.3 is there"),
        ({"requires": ["absent>1"]}, "absent>1 is needed, and neither"),
        ({"tags": "cp38-cp38-manylinux_2_28_x86_64"}, "tags do not fit"),
        ({"python": ">=3.99"}, "asks for Python >=3.99"),
    ],
)
def test_an_install_that_would_fail_says_why(tmp_path, content, says):
    made = locked(tmp_path / "cache", HERE, wheel(tmp_path / "made", "one", "1.0", **content))
    (trial,) = wheel_trial.rehearse_install(made, dataclasses.replace(CPU, python=(HERE,)), tmp_path / "cache")
    assert says in " ".join(trial.problems)
    assert trial.record()["wheel"] == "one-1.0-" + content.get("tags", "py3-none-any") + ".whl"


@pytest.mark.slow
def test_an_import_says_nothing_where_the_image_s_packages_are_missing(tmp_path):
    machine = dataclasses.replace(CPU, python=(HERE,), packages={"of-the-image": "1.0"})
    path = wheel(tmp_path / "made", "one", "1.0", requires=["of-the-image"], text="import of_the_image")
    (trial,) = wheel_trial.rehearse_install(locked(tmp_path / "cache", HERE, path), machine, tmp_path / "cache")
    assert (trial.executed, trial.problems) == (False, ())
    assert "of-the-image of the image not here" in " ".join(trial.notes)


@pytest.mark.slow
def test_a_system_library_that_only_the_image_has_is_no_fault_of_the_wheel(tmp_path):
    """What CUDA wheels say on a machine without a driver, said by the real loader."""
    text = "import ctypes\ntry:\n    ctypes.CDLL('libcuda_of_the_image.so.1')\nexcept OSError as e:\n    raise ImportError(e)"
    made = locked(tmp_path / "cache", HERE, wheel(tmp_path / "made", "one", "1.0", text=text))
    (trial,) = wheel_trial.rehearse_install(made, dataclasses.replace(CPU, python=(HERE,)), tmp_path / "cache")
    assert (trial.executed, trial.problems) == (False, ())
    assert "a system library not here" in " ".join(trial.notes)


def test_a_changed_wheel_is_found_and_a_missing_one_named(tmp_path):
    made = locked(tmp_path, HERE, wheel(tmp_path / "made", "one", "1.0"))
    machine = dataclasses.replace(CPU, python=(HERE,))
    path = made.wheels[HERE][0].path(tmp_path)
    wheel(path.parent, "one", "1.0", text="changed = True")
    (trial,) = wheel_trial.rehearse_install(made, machine, tmp_path)
    assert "not those of the lock" in trial.problems[0]
    assert not trial.executed
    path.unlink()
    with pytest.raises(UserError, match="a wheel is missing"):
        wheel_trial.rehearse_install(made, machine, tmp_path)


@pytest.mark.slow
def test_a_requirement_that_nothing_meets_is_the_kernel_s_problem(tmp_path):
    made = locked(tmp_path, HERE, wheel(tmp_path / "made", "one", "1.0"), wanted=("one", "two"))
    trials = wheel_trial.rehearse_install(made, dataclasses.replace(CPU, python=(HERE,)), tmp_path)
    assert [(one.wheel, bool(one.problems)) for one in trials] == [("one-1.0-py3-none-any.whl", False), ("", True)]


def test_a_lock_that_would_fail_is_refused_in_one_sentence(tmp_path):
    made = locked(tmp_path / "cache", HERE, wheel(tmp_path / "made", "one", "1.0", requires=["numpy>=3"]))
    with pytest.raises(UserError) as caught:
        wheel_trial.tried(made, dataclasses.replace(CPU, python=(HERE,)), tmp_path / "cache")
    assert "numpy>=3 is needed, numpy 2.1.3 is there" in caught.value.found
    assert "[bundle] requirements" in caught.value.remedy


def test_what_was_not_executed_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(clean, "interpreter", lambda _: None)
    path = wheel(tmp_path / "made", "one", "1.0", "cp313-cp313-manylinux_2_28_x86_64")
    made = locked(tmp_path / "cache", "3.13", path)
    (note,) = wheel_trial.tried(made, CPU, tmp_path / "cache")
    assert "Python 3.13" in note
    assert path.name in note
    assert "not executed here" in note


@pytest.mark.slow
def test_the_environment_of_the_trial_is_clean_and_gone_afterwards(tmp_path):
    with clean.environment(sys.executable) as made:
        absent, told = made.imports(["pytest"], ["pytest", "pip"])
        assert absent == ["pytest", "pip"]
        assert "ModuleNotFoundError" in told["pytest"]
        folder = made.folder
        assert made.install([wheel(tmp_path, "one", "1.0")], ["one"]) == ""
        assert made.imports(["one"], []) == ([], {"one": ""})
    assert not folder.exists()


def test_an_interpreter_is_what_its_name_says(tmp_path, monkeypatch):
    assert clean.interpreter(HERE) == sys.executable
    liar = tmp_path / ".pyenv/versions/3.99.0/bin/python3.99"
    liar.parent.mkdir(parents=True)
    liar.symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert clean.interpreter("3.99") is None


# ---- what runs the models


@pytest.mark.parametrize(
    ("backends", "machine", "asked"),
    [
        (["onnxruntime"], CPU, ["onnxruntime"]),
        (["openvino"], CPU, ["openvino"]),
        (["torchscript"], CPU, []),
        (["onnxruntime", "openvino", "torchscript"], CUDA, ["onnxruntime-gpu", "openvino"]),
        (["torchscript"], dataclasses.replace(CPU, packages={**CPU.packages, "onnxruntime-gpu": "1.26"}), []),
    ],
)
def test_each_backend_asks_for_its_own(backends, machine, asked):
    found = wheels.requirements(machine.accelerator, [], machine, backends)
    assert [canonicalize_name(Requirement(one).name) for one in found] == asked


def test_a_backend_that_only_the_image_can_have_is_refused_where_it_has_not():
    bare = dataclasses.replace(CPU, packages={"numpy": "2.1.3"})
    with pytest.raises(UserError, match="torch is needed, and is never shipped"):
        wheels.requirements("cpu", [], bare, ["torchscript"])


# ---- the real index


@pytest.mark.slow
def test_the_real_onnxruntime_for_the_real_machine(tmp_path, monkeypatch):
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    machine = machines.load("cpu")
    wanted = wheels.requirements("cpu", [], machine)
    try:
        made = wheels.resolve(wanted, machine, tmp_path)
    except RemoteError as error:
        pytest.skip(f"no package index can be reached from here: {error.found}")
    for python, found in made.wheels.items():
        assert {one.package for one in found} == {"flatbuffers", "onnxruntime"}, python
    assert [d.key for d in wheels.datasets(made, tmp_path)] == [f"wheels-cp{p.replace('.', '')}" for p in machine.python]
    assert not [one for one in wheel_trial.rehearse_install(made, machine, tmp_path) if one.problems]
