"""The tests against one mutant: in a fork that has the heavy packages but nothing of ours, which is imported changed.

A module is served from its source under both its names, `builder.runtime.X` and `kkb_runtime.X`, so that tests of the travelling
code see the change too.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

HEAVY = (
    "numpy", "pandas", "scipy.optimize", "scipy.stats", "sklearn.metrics", "sklearn.linear_model", "hypothesis", "pydantic",
    "PIL.Image", "matplotlib.pyplot",
)  # fmt: skip
QUICKLY = ("-p", "no:cacheprovider", "--assert=plain", "--tb=no", "-q", "-m", "not slow and not bench")


class Served(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from the trees given."""

    def __init__(self, trees: dict[Path, ast.Module]) -> None:
        self.trees = {name: (path, tree) for path, tree in trees.items() for name in names(path)}

    def find_spec(self, name, *_):
        return importlib.util.spec_from_loader(name, self) if name in self.trees else None

    def exec_module(self, module):
        path, tree = self.trees[module.__name__]
        module.__file__ = str(path.resolve())
        exec(compile(tree, module.__file__, "exec"), module.__dict__)  # noqa: S102


def names(path: Path) -> list[str]:
    """What a module is imported as."""
    home = ".".join(path.with_suffix("").parts)
    return [home, home.replace("builder.runtime.", "kkb_runtime.")] if "runtime" in path.parts else [home]


class Watch:
    """Pytest's plugin: which lines each test runs, and how long it takes."""

    def __init__(self, measured) -> None:
        self.measured, self.seconds, self.failed = measured, {}, set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        self.measured.switch_context(item.nodeid)
        yield
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)


class Chosen:
    """Pytest's plugin: these tests, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self.place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items):
        items[:] = sorted((item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid])


def preload() -> None:
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()


def lines_of(sources: list[Path], folders: list[str]) -> dict[str, dict]:
    """By test: its seconds and, by source, the lines that it runs. A test that fails without any change judges nothing."""

    def work(told: Path) -> int:
        import coverage

        # Sources are served under one file name, whatever they are imported as.
        sys.meta_path.insert(0, Served({path: ast.parse(path.read_text("utf-8")) for path in sources}))
        measured = coverage.Coverage(data_file=None, config_file=False, include=[str(path.resolve()) for path in sources])
        watch = Watch(measured)
        measured.start()
        pytest.main([*QUICKLY, *folders], plugins=[watch])
        measured.stop()
        passed = {test: seconds for test, seconds in watch.seconds.items() if test not in watch.failed}
        data, found = measured.get_data(), {test: {"seconds": seconds, "lines": {}} for test, seconds in passed.items()}
        for path in sources:
            for line, tests in data.contexts_by_lineno(str(path.resolve())).items():
                for test in set(tests) & set(found):
                    found[test]["lines"].setdefault(str(path), []).append(line)
        told.write_text(json.dumps(found), "utf-8")
        return 0

    with tempfile.TemporaryDirectory() as folder:
        forked(work, Path(folder), 1200)
        return json.loads((Path(folder) / "told").read_text("utf-8"))


def outcome(path: Path, tree: ast.Module, tests: list[str], limit_s: int) -> str:
    """`passed`, `failed` or `hung`: how the tests end with that tree in the place of the module."""

    def work(told: Path) -> int:
        sys.meta_path.insert(0, Served({path: tree}))
        files = dict.fromkeys(test.split("::")[0] for test in tests)
        return pytest.main([*QUICKLY, "-x", *files], plugins=[Chosen(tests)])

    with tempfile.TemporaryDirectory() as folder:
        return forked(work, Path(folder), limit_s)


def forked(work, folder: Path, limit_s: int) -> str:
    """How `work` ends in a silent fork with a group of its own, which is gone afterwards with all that it wrote."""
    pid = os.fork()
    if not pid:
        os.setsid()
        signal.alarm(limit_s)
        os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(1, 2)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        code = 1
        try:
            code = int(work(folder / "told"))
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if os.WIFSIGNALED(status):
        return "hung" if os.WTERMSIG(status) == signal.SIGALRM else "failed"
    return "passed" if os.WEXITSTATUS(status) == 0 else "failed"
