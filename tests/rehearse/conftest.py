"""Tiny real notebooks, sessions with small limits, and the isolation levels that this host permits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from builder.rehearse import isolation
from builder.rehearse.session import Session

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
Make = Callable[..., Session]


def write_notebook(path: Path, *cells: str, kernelspec: dict[str, str] | None = KERNELSPEC) -> Path:
    """A notebook of code cells; a cell that starts with '#md ' is text."""
    make = [
        nbformat.v4.new_markdown_cell(text[4:]) if text.startswith("#md ") else nbformat.v4.new_code_cell(text) for text in cells
    ]
    notebook = nbformat.v4.new_notebook(cells=make, metadata={"kernelspec": kernelspec} if kernelspec else {})
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a session of the given cells, with a competition and a dataset mounted; keywords replace its fields."""

    def session(*cells: str, kernelspec: dict[str, str] | None = KERNELSPEC, **fields: Any) -> Session:
        competition, dataset = tmp_path / "home" / "digits", tmp_path / "home" / "weights"
        for folder in (competition / "images", dataset):
            folder.mkdir(parents=True, exist_ok=True)
        (competition / "test.csv").write_text("id\n1\n")
        (competition / "images" / "1.txt").write_text("one")
        (dataset / "model.onnx").write_bytes(b"weights")
        (tmp_path / "home" / "solution.csv").write_text("id,label\n1,7\n")
        plain = Session(
            notebook=write_notebook(tmp_path / "notebook.ipynb", *cells, kernelspec=kernelspec),
            folder=tmp_path / "run",
            inputs={"competitions/digits": competition, "datasets/me/weights-1a2b": dataset},
            limit_s=120,
            cores=2,
            memory=2 << 30,
            working=64 << 20,
        )
        return dataclasses.replace(plain, **fields)

    return session


def use_level(monkeypatch: pytest.MonkeyPatch, level: str) -> str:
    reason = isolation.probe(level).reason
    if reason:
        pytest.skip(reason)
    monkeypatch.setenv(isolation.VARIABLE, level)
    return level


@pytest.fixture(params=isolation.LEVELS)
def every_level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each level that works on this host."""
    return use_level(monkeypatch, request.param)


@pytest.fixture(params=[isolation.BWRAP, isolation.UNSHARE])
def every_isolating(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each level that isolates."""
    return use_level(monkeypatch, request.param)


@pytest.fixture(params=["best", *(pytest.param(level, marks=pytest.mark.slow) for level in isolation.LEVELS)])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The best level of this host, and each other one among the slow tests."""
    best = isolation.choose().name
    if request.param == best:
        pytest.skip("tested as the best level")
    return use_level(monkeypatch, best if request.param == "best" else request.param)


@pytest.fixture(params=[isolation.BWRAP, pytest.param(isolation.UNSHARE, marks=pytest.mark.slow)])
def isolating(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A level that isolates, and the other one among the slow tests."""
    return use_level(monkeypatch, request.param)
