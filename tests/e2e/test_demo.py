"""The whole job as a user does it: `kkb demo` in an empty folder, again, then the plain client on the folders it wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

KKB = [sys.executable, "-m", "builder.cli"]
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "OMP_NUM_THREADS")
STAGES = {"train", "export", "plan", "bundle", "render", "rehearse", "push", "output", "submit"}
PATIENCE_S = 300


class Shell:
    """A shell in an empty home, with no credentials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "space"
        self.folder.mkdir(parents=True)
        (self.folder / ".kkb").mkdir()
        (folder / "home").mkdir()
        self.environment = {key: os.environ[key] for key in KEPT if key in os.environ}
        self.environment["HOME"] = str(folder / "home")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False
        )
        assert not check or ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
        return ran

    def kkb(self, *arguments: str) -> dict:
        """What `kkb ... --json` prints."""
        out = self.run(*KKB, *arguments, "--json").stdout
        assert len(out.splitlines()) == 1
        return json.loads(out)

    def kaggle(self, *arguments: str) -> str:
        """What the official client prints, led to the stand-in by `kkb standin exec`."""
        return self.run(*KKB, "standin", "exec", "--", "kaggle", *arguments).stdout

    def until(self, text: str, *arguments: str) -> str:
        """The client's answer as soon as `text` is in it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            out = self.kaggle(*arguments)
            if text.lower() in out.lower():
                return out
            assert time.monotonic() < end, f"{arguments} never said {text!r}, but: {out}"
            assert "error" not in out.lower(), out
            time.sleep(1.0)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    made = Shell(tmp_path_factory.mktemp("demo"))
    yield made
    made.run(*KKB, "standin", "down", check=False)


@pytest.fixture(scope="module")
def demo(shell):
    return shell.kkb("demo")


def test_the_demo_ends_in_a_score(shell, demo):
    assert demo["label"] == "Scored"
    assert demo["score"] >= 0.97
    assert demo["cv"] >= 0.95
    assert demo["rehearsed"] >= 0.95
    assert abs(demo["score"] - demo["cv"]) < 0.03, "what was promised is what came"
    assert demo["version"] == 1
    assert demo["kernel"].endswith("/digits")
    assert set(demo["seconds"]) >= STAGES
    assert all(demo["fresh"][stage] for stage in STAGES)
    assert {"kernel", "version", "cv", "score", "label", "seconds", "paths"} <= set(demo)
    for name, path in demo["paths"].items():
        assert (shell.folder / path).exists(), name


def test_what_is_committed_names_no_path_of_the_machine(shell, demo):
    for folder in ("kernels", "weights"):
        for path in (shell.folder / folder).rglob("*"):
            if path.suffix in {".json", ".ipynb", ".toml", ".csv"}:
                text = path.read_text("utf-8")
                assert str(shell.folder) not in text, path
                assert str(Path.home()) not in text or str(Path.home()) == "/", path


def test_nothing_is_left_running(shell, demo):
    assert shell.kkb("standin", "status")["server"] is None


def test_a_second_demo_does_nothing_again(shell, demo):
    again = shell.kkb("demo")
    assert again["score"] == demo["score"]
    assert again["version"] == demo["version"]
    assert [stage for stage in STAGES if again["fresh"][stage]] == []


def test_every_stage_says_that_it_is_up_to_date(shell, demo):
    for stage in ("train", "export", "bundle", "render"):
        ran = shell.run(*KKB, stage, "digits")
        assert f"{stage}: up to date" in ran.stderr
    shell.run(*KKB, "render", "digits", "--check")
    shell.run(*KKB, "plan", "digits")  # counts with what the run has measured since
    assert "plan: up to date" in shell.run(*KKB, "plan", "digits").stderr


@pytest.mark.slow
def test_the_plain_client_works_on_our_folders_as_they_are(shell, demo):
    """A stand-in that has seen nothing yet, and nobody but `kaggle` to talk to it."""
    shell.run(*KKB, "standin", "down")
    shutil.rmtree(shell.folder / ".kkb" / "standin")
    parts = shell.folder / ".kkb" / "demo"
    shell.kkb("standin", "up")
    shell.kkb(
        "standin",
        "add-competition",
        "kkb-digits",
        "--data",
        str(parts / "data"),
        "--hidden",
        str(parts / "hidden"),
        "--limit",
        "20min",
    )
    owner = json.loads((shell.folder / "kernels/digits/kernel-metadata.json").read_text())["id"].partition("/")[0]
    slugs = sorted(path.name for path in (shell.folder / ".kkb" / "datasets").iterdir())
    assert len([slug for slug in slugs if slug.startswith("kkb-runtime-")]) == 1
    assert len(slugs) >= 2
    for slug in slugs:
        shell.kaggle("datasets", "create", "-p", f".kkb/datasets/{slug}")
    for slug in slugs:
        shell.until("ready", "datasets", "status", f"{owner}/{slug}")
        listed = shell.kaggle("datasets", "files", f"{owner}/{slug}")
        manifest = json.loads((shell.folder / ".kkb/datasets" / slug / "manifest.json").read_text())
        assert all(file["name"] in listed for file in manifest["files"])
    assert "version 1" in shell.kaggle("kernels", "push", "-p", "kernels/digits").lower()
    shell.until("complete", "kernels", "status", f"{owner}/digits")
    shell.kaggle("kernels", "output", f"{owner}/digits", "-p", "out")
    assert (shell.folder / "out" / "submission.csv").is_file()
    assert (shell.folder / "out" / "run.json").is_file()
    assert shell.kaggle("kernels", "logs", f"{owner}/digits").strip()
    shell.kaggle(
        "competitions",
        "submit",
        "kkb-digits",
        "-k",
        f"{owner}/digits",
        "-v",
        "1",
        "-f",
        "submission.csv",
        "-m",
        "by the plain client",
    )
    scored = shell.until("COMPLETE", "competitions", "submissions", "kkb-digits")
    assert "by the plain client" in scored
    assert f"{demo['score']:.5f}"[:6] in scored, "the same notebook on the same rows"
    shell.kkb("standin", "down")
