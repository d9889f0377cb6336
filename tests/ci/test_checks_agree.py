"""The three places that name the checks, Makefile, pre-commit and CONTRIBUTING, name the same, and the order of tests is kept."""

import re
from pathlib import Path

import pytest

from tests.conftest import LONGEST

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]


def test_pre_commit_runs_what_make_check_runs():
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1]
    make = [line.strip().replace("$(BIN)", ".venv/bin").replace("$(VENV)", ".venv") for line in recipe.splitlines()]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [hook["entry"] for repo in hooks for hook in repo["hooks"]] == make


def test_contributing_names_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert named
    assert named <= targets


def test_files_that_are_run_first_exist_and_are_run_in_that_order():
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
    assert "--no-loadscope-reorder" in (ROOT / "Makefile").read_text("utf-8")
