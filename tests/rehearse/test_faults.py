"""The ways to fail: each has a notebook of its own, and each gets Kaggle's label, with what shows why. Healthy ones get none.

`tests/kernels/faults/faults.toml` says what is expected; everything is scaled down to seconds and megabytes.
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from builder import machines
from builder.rehearse import foreign, isolation
from builder.rehearse.foreign import Foreign, Verdict
from tests.rehearse import pets

FAULTS = Path(__file__).parents[1] / "kernels" / "faults"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((FAULTS / "faults.toml").read_text("utf-8"))
FAST = {"no-submission", "ids-as-numbers", "memory-in-a-child"}
HEALTHY_LIMIT_S = 120
MB = 10**6


def cases(healthy: bool) -> list[Any]:
    """Every file in the folder, the healthy ones or the others."""
    folder = FAULTS / "healthy" if healthy else FAULTS
    names = sorted(
        path.relative_to(FAULTS).with_suffix("").as_posix() for path in folder.iterdir() if path.suffix in {".ipynb", ".py"}
    )
    return [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in names]


def file_of(name: str) -> Path:
    return next(path for path in (FAULTS / f"{name}.ipynb", FAULTS / f"{name}.py") if path.exists())


def play(name: str, tmp_path: Path) -> Verdict:
    wanted = EXPECTED.get(name, {})
    cpu = machines.load("cpu")
    machine = dataclasses.replace(
        cpu,
        cores=2,
        memory=wanted.get("memory", 2000) * MB,
        working=wanted.get("working", 200) * MB,
        scratch=wanted.get("scratch", 1000) * MB,
        layout=wanted.get("layout", cpu.layout),
    )
    job = Foreign(
        notebook=file_of(name),
        competitions={"pets": pets.competition(tmp_path / "home" / "pets")},
        datasets=pets.datasets(tmp_path / "home" / "mine"),
        machine=machine,
        limit_s=wanted.get("limit", HEALTHY_LIMIT_S),
        hidden=pets.hidden(tmp_path / "home" / "hidden", wanted["hidden"]) if "hidden" in wanted else None,
    )
    (tmp_path / "scratch").mkdir()
    before = contents(tmp_path / "home")
    verdict = foreign.rehearse(job, tmp_path / "scratch")
    assert contents(tmp_path / "home") == before
    return verdict


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", cases(healthy=False))
def test_fault(name: str, tmp_path: Path) -> None:
    if name == "fork-bomb" and isolation.choose().name == isolation.NONE:
        pytest.skip("not on a host whose processes have no namespace of their own")
    verdict, wanted = play(name, tmp_path), EXPECTED[name]
    first = next(
        finding
        for finding in verdict.findings
        if finding.severity != "note" or "code" not in wanted or finding.code == wanted["code"]
    )
    shown = [first.message]
    if verdict.evidence:
        shown += [verdict.evidence.place, *verdict.evidence.log]
    assert verdict.label == wanted["label"], shown
    assert (verdict.evidence.run if verdict.evidence else None) == wanted.get("run")
    for words in wanted["evidence"]:
        assert any(words in text for text in shown), (words, shown)
    assert wanted.get("remedy", "") in first.remedy
    if "code" in wanted:
        assert (first.code, bool(first.remedy)) == (wanted["code"], True), shown
    assert all(run["peak_mb"] > 0 for run in verdict.runs.values())


@pytest.mark.parametrize("name", cases(healthy=True))
def test_healthy(name: str, tmp_path: Path) -> None:
    verdict = play(name, tmp_path)
    assert (verdict.label, verdict.evidence, verdict.rows) == ("Scored", None, 50), verdict.findings
    assert {finding.severity for finding in verdict.findings} <= {"note"}
    assert {finding.code for finding in verdict.findings} <= {"archives-unpacked", "not-enforced"}


def test_every_file_has_its_entry_and_there_are_enough() -> None:
    faults, healthy = ({case.values[0] for case in cases(healthy=which)} for which in (False, True))
    assert faults == {name for name in EXPECTED if not name.startswith("healthy/")}
    assert len(faults) >= 40
    assert len(healthy) >= 10
    assert faults | healthy >= FAST
