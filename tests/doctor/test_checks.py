"""What the doctor looks at, each check as a function of what it is given."""

import json
import os
import stat
from pathlib import Path

import pytest

from builder.doctor import credentials, gpu, network, packages, place
from builder.doctor.packages import Wanted
from builder.doctor.record import FINE, MUST, NOTE, SEVERITIES, SHOULD, Finding, fine, ordered
from builder.errors import CredentialError, RemoteError
from builder.rehearse.isolation import Level

WANTED = [Wanted("numpy", ">=1.26", ""), Wanted("torch", ">=2.6", "train"), Wanted("onnxruntime", ">=1.20", "train")]
SECRET = "KGAT_0123456789abcdef"


def found(findings):
    """code -> severity, of findings that all say what to do when they are not fine."""
    listed = list(findings)
    assert all(one.severity in SEVERITIES for one in listed)
    assert all(one.meaning and one.remedy for one in listed if one.severity != FINE), listed
    return {one.code: one.severity for one in listed}


def test_the_worst_comes_first():
    listed = [fine("a", "x"), Finding(NOTE, "b", "x"), Finding(MUST, "c", "x"), Finding(SHOULD, "d", "x")]
    assert [one.severity for one in ordered(listed)] == list(SEVERITIES)


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ({"numpy": "2.4", "torch": "2.14", "onnxruntime": "1.31"}, {"packages": FINE, "packages-train": FINE}),
        ({"numpy": "2.4", "torch": "2.14", "onnxruntime-gpu": "1.24"}, {"packages": FINE, "packages-train": FINE}),
        ({"numpy": "2.4"}, {"packages": FINE, "packages-train": NOTE}),
        ({"numpy": "2.4", "torch": "2.14"}, {"packages": FINE, "packages-train": SHOULD}),
        ({"numpy": "2.4", "torch": "1.13", "onnxruntime": "1.31"}, {"packages": FINE, "packages-train": SHOULD}),
        ({"numpy": "1.20", "torch": "2.14", "onnxruntime": "1.31"}, {"packages": MUST, "packages-train": FINE}),
        ({"torch": "2.14", "onnxruntime": "1.31"}, {"packages": MUST, "packages-train": FINE}),
    ],
)
def test_packages_are_held_against_what_is_wanted(installed, told):
    assert found(packages.packages(WANTED, installed.get, "kaggle-kernel-builder")) == told


def test_a_wrong_version_is_told_beside_the_wanted_one():
    (one,) = [one for one in packages.packages(WANTED, {"numpy": "1.20"}.get, "kaggle-kernel-builder") if one.severity == MUST]
    assert "numpy 1.20, wanted >=1.26" in one.message


def test_our_own_metadata_are_read_with_their_extras():
    wanted = {(one.name, one.extra) for one in packages.wanted()}
    assert {("numpy", ""), ("torch", "train"), ("onnxruntime-gpu", "gpu"), ("lightgbm", "tabular")} <= wanted
    assert not [name for name, extra in wanted if name == "pytest"]


@pytest.mark.parametrize(("version", "severity"), [((3, 11, 7), FINE), ((3, 13, 0), FINE), ((3, 14, 0), NOTE)])
def test_python(version, severity):
    assert found(packages.python(version, "/venv", "/usr")) == {"python": severity}
    assert found(packages.python(version, "/usr", "/usr"))["environment"] == NOTE


def test_the_client_is_one_that_was_tried():
    assert found(packages.client({"kaggle": "2.2.5", "kagglesdk": "0.1.38"}.get)) == {"client": FINE}
    old = list(packages.client({"kaggle": "1.7.4.5", "kagglesdk": "0.1.37"}.get))
    assert [one.severity for one in old] == [SHOULD, FINE]
    assert "2.2.4" in old[0].remedy
    assert [one.severity for one in packages.client({}.get)] == [MUST, MUST]


SMI = "Tesla T4, 550.90.07, 7.5\nTesla T4, 550.90.07, 7.5\n"
T4 = gpu.Gpus(("Tesla T4", "Tesla T4"), "550.90.07", (12, 4), ("sm_75", "sm_75"))


def machine(torch=None, onnxruntime=None):
    """What commands print on a machine with two T4."""

    def run(command, _limit):
        if command[0] == "nvidia-smi":
            return SMI if len(command) > 1 else "| NVIDIA-SMI 550.90.07   Driver Version: 550.90.07   CUDA Version: 12.4 |"
        told = torch if "torch.version" in command[-1] else onnxruntime
        return None if told is None else f"a warning\n{json.dumps(told)}\n"

    return run


def test_the_gpus_are_read_from_the_driver():
    assert gpu.gpus(machine()) == T4
    assert gpu.gpus(lambda *_: None) is None
    assert gpu.gpus(lambda *_: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") is None


GOOD = {"cuda": "12.4", "able": True, "architectures": ["sm_70", "sm_75", "sm_90"]}
USED, UNUSED = {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}, {"providers": ["CPUExecutionProvider"]}
BOTH = {"torch": "2.6.0", "onnxruntime-gpu": "1.24.1"}
CASES = {  # what is installed, what torch and onnxruntime say of themselves -> what is not fine, and what is named
    "all well": (BOTH, GOOD, USED, {}, ""),
    "torch without CUDA": (BOTH, {**GOOD, "cuda": None}, USED, {"torch-gpu": SHOULD}, "without CUDA"),
    "an old driver": (BOTH, {**GOOD, "cuda": "13.0", "able": False}, USED, {"torch-gpu": SHOULD}, "up to 12.4"),
    "an old GPU": (BOTH, {**GOOD, "architectures": ["sm_80"]}, USED, {"torch-gpu": SHOULD}, "sm_75"),
    "a broken torch": (BOTH, None, USED, {"torch-gpu": SHOULD}, "cannot be imported"),
    "a silent fallback": (BOTH, GOOD, UNUSED, {"onnxruntime-gpu": SHOULD}, "falls back"),
    "built for a newer CUDA": ({**BOTH, "onnxruntime-gpu": "1.31.0"}, GOOD, UNUSED, {"onnxruntime-gpu": SHOULD}, "CUDA 13"),
    "only the CPU's": ({"torch": "2.6.0", "onnxruntime": "1.31"}, GOOD, None, {"onnxruntime-gpu": NOTE}, "without its GPU part"),
    "two of them": ({**BOTH, "onnxruntime": "1.24.1"}, GOOD, USED, {"onnxruntime-two": SHOULD}, "both installed"),
}


@pytest.mark.parametrize("case", CASES)
def test_packages_are_held_against_the_driver(case):
    installed, torch, onnxruntime, told, names = CASES[case]
    listed = list(gpu.gpu(T4, installed.get, "kaggle-kernel-builder", machine(torch, onnxruntime)))
    assert {code: severity for code, severity in found(listed).items() if severity != FINE} == told
    assert names in " ".join(one.message for one in listed)


def test_without_a_gpu_that_is_a_note():
    assert found(gpu.gpu(None, {}.get, "kaggle-kernel-builder")) == {"gpu": NOTE}


@pytest.mark.slow
def test_the_model_that_onnxruntime_is_asked_with_is_one():
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(bytes.fromhex(gpu.IDENTITY), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": [1.5]})[0] == [1.5]


def test_a_command_that_hangs_or_is_missing_is_no_answer():
    assert gpu.output_of(["no-such-command-here"], 5) is None
    assert gpu.output_of(["sleep", "30"], 0.05) is None
    assert gpu.output_of(["false"], 5) is None
    assert gpu.output_of(["echo", "x"], 5) == "x\n"


@pytest.mark.parametrize(("free_gb", "severity"), [(0.5, MUST), (5, NOTE), (100, FINE)])
def test_room_on_the_disk(free_gb, severity, tmp_path):
    assert found(place.disk([("work", tmp_path)], lambda _: int(free_gb * 1e9))) == {"disk": severity}


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path):
    assert place.free_bytes(tmp_path / "a" / "b") > 0


@pytest.mark.parametrize(("works", "severity"), [({"bwrap", "unshare"}, FINE), ({"unshare"}, NOTE), (set(), SHOULD)])
def test_the_best_sandbox_that_works(works, severity):
    def tried(name):
        return Level(name) if name in works else Level(name, reason=f"{name} does not work here")

    assert found(place.sandbox(tried)) == {"sandbox": severity}


def kaggle_json(home, text, mode=0o600):
    path = home / ".kaggle" / "kaggle.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


KEY = json.dumps({"username": "me", "key": SECRET})


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, {"credentials": SHOULD}),
        ({"KAGGLE_API_TOKEN": SECRET}, {"credentials": FINE}),
        ({"KAGGLE_USERNAME": "me", "KAGGLE_KEY": SECRET}, {"credentials": FINE}),
        ({"KAGGLE_USERNAME": "me"}, {"credentials": SHOULD, "credentials-half": NOTE}),
        ({"KAGGLE_KEY": SECRET}, {"credentials": SHOULD, "credentials-half": NOTE}),
        ({"KAGGLE_API_TOKEN": "x", "KAGGLE_USERNAME": "m", "KAGGLE_KEY": SECRET}, {"credentials": FINE, "credentials-two": NOTE}),
        ({"KAGGLE_API_TOKEN": SECRET, "KAGGLE_API_ENVIRONMENT": "LOCALHOST"}, {"credentials": FINE, "credentials-where": NOTE}),
        ({"KAGGLE_API_TOKEN": SECRET, "KAGGLE_API_ENVIRONMENT": "STAGING"}, {"credentials": FINE, "credentials-where": MUST}),
        ({"KAGGLE_API_TOKEN": "x" * 5000}, {"credentials": FINE}),
    ],
)  # fmt: skip
def test_credentials_in_variables(environment, told, tmp_path):
    listed = list(credentials.credentials(environment, tmp_path))
    assert found(listed) == told
    assert SECRET not in json.dumps([one.record() for one in listed])


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        (KEY, 0o600, {"credentials": FINE}),
        (KEY, 0o644, {"credentials": FINE, "credentials-open": SHOULD}),
        (KEY, 0o620, {"credentials": FINE, "credentials-open": SHOULD}),
        (f'{{"username": "me", "key": "{SECRET}"', 0o600, {"credentials": FINE, "credentials-broken": MUST}),
        (f'{{"username": "me", "kee": "{SECRET}"}}', 0o600, {"credentials": FINE, "credentials-broken": MUST}),
        (f'["{SECRET}"]', 0o600, {"credentials": FINE, "credentials-broken": MUST}),
        ("", 0o600, {"credentials": FINE, "credentials-broken": MUST}),
    ],
)
def test_credentials_in_a_file(text, mode, told, tmp_path):
    path = kaggle_json(tmp_path, text, mode)
    listed = list(credentials.credentials({}, tmp_path))
    assert found(listed) == told
    assert SECRET not in json.dumps([one.record() for one in listed])
    assert stat.S_IMODE(path.stat().st_mode) == mode, "it looks, and changes nothing"


def test_a_remedy_for_an_open_file_mends_it(tmp_path):
    import subprocess

    kaggle_json(tmp_path, KEY, 0o644)
    (one,) = [one for one in credentials.credentials({}, tmp_path) if one.code == "credentials-open"]
    subprocess.run(one.remedy.split(), check=True, timeout=60)
    assert found(credentials.credentials({}, tmp_path)) == {"credentials": FINE}


def test_the_file_that_a_token_variable_names_is_looked_at(tmp_path):
    path = tmp_path / "token"
    path.write_text(SECRET)
    path.chmod(0o644)
    listed = list(credentials.credentials({"KAGGLE_API_TOKEN": str(path)}, tmp_path))
    assert found(listed) == {"credentials": FINE, "credentials-open": SHOULD}


def test_the_token_file_comes_before_the_key_file(tmp_path):
    kaggle_json(tmp_path, KEY)
    (tmp_path / ".kaggle" / "access_token").write_text(SECRET)
    (tmp_path / ".kaggle" / "access_token").chmod(0o600)
    assert [one.kind for one in credentials.sources({}, tmp_path)] == ["token", "key"]
    assert credentials.config_folder({"KAGGLE_CONFIG_DIR": "/x"}, tmp_path) == Path("/x")


class Server:
    """A client whose calls end as they are told to."""

    def __init__(self, error=None):
        self.error, self.notes = error, []

    def call(self, name, **_):
        if self.error:
            raise self.error
        told = {"whoami": {"username": "me", "method": "ACCESS_TOKEN"}, "server_time": {"ahead_s": None}}
        return told.get(name, [])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, {"network": FINE}),
        (CredentialError("no", found="401"), {"refused": MUST}),
        (RemoteError("no", found="[Errno 111] Connection refused"), {"unreachable": MUST}),
    ],
)
def test_the_server_answers_refuses_or_is_not_there(error, told):
    assert told.items() <= found(network.network(Server(error), "kaggle.com")).items()


@pytest.mark.parametrize(("ahead", "told"), [(0.4, FINE), (-59, FINE), (75, SHOULD), (-4000, SHOULD), (None, None)])
def test_the_clock_is_held_against_the_servers(ahead, told):
    assert found(network.clock(ahead)) == ({} if told is None else {"clock": told})


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.geteuid() == 0:
        assert found(place.writable([("work", closed)])) == {}
    else:
        assert found(place.writable([("work", closed)])) == {"writable": MUST}


def caused(cause):
    error = RuntimeError("half way")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (ModuleNotFoundError("no", name="torch"), "extra 'train'"),
        (ModuleNotFoundError("no", name="onnxruntime.capi"), "extra 'train'"),
        (caused(caused(ModuleNotFoundError("no", name="onnxruntime"))), "extra 'train'"),
        (ModuleNotFoundError("no", name="numpy"), "kkb's own requirements"),
    ],
)
def test_a_missing_package_is_named_with_what_brings_it(error, named, monkeypatch):
    monkeypatch.setattr(packages, "wanted", lambda: WANTED)
    told = packages.lacking(error)
    assert told.exit_code == 2
    assert named in told.expected
    assert "-m pip install" in told.remedy


@pytest.mark.parametrize(
    "error", [ValueError("x"), ModuleNotFoundError("no", name="fastai"), ImportError("no"), caused(OSError())]
)
def test_any_other_fault_is_no_missing_package(error, monkeypatch):
    monkeypatch.setattr(packages, "wanted", lambda: WANTED)
    assert packages.lacking(error) is None
