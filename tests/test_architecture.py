"""The rules of the house, executed: who imports whom, who prints, who talks to the network, who reads the time, what is too long.

Everything here is read from the source by `ast`, late imports and those for type checkers included; the tests of a start look at
what a fresh interpreter loaded.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import builder

PACKAGE = Path(builder.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

BASE = {
    "errors", "progress", "usercode", "workspace", "config", "config_faults", "metrics", "machines", "competition", "models",
    "checkpoints", "huggingface", "images", "scoring", "shown", "recipes", "networks",
}  # fmt: skip
STAGES = {"train", "export", "plan", "bundle", "render", "remote", "ledger", "report"}
# They know all stages, so that stages need not know each other.
ROADS = {"capture", "ci", "doctor", "pipeline", "demo", "scaffold"}
DELIVERY = {"delivery"}  # goes on where the pipeline ends
SHIPPING = {"afar", "shipping"}  # go both ways to the end
# Rooms, and what each may look into besides itself. `runtime` is looked into by everyone and looks at nobody.
MAY_SEE = {
    "runtime": set(),
    **dict.fromkeys(BASE, BASE | {"runtime"}),
    **dict.fromkeys(STAGES, BASE | {"runtime"}),
    "rehearse": BASE | {"runtime"},
    "standin": BASE | {"runtime", "rehearse"},
    **dict.fromkeys(ROADS, BASE | STAGES | {"runtime", "rehearse"}),
    "delivery": BASE | STAGES | ROADS | {"runtime", "rehearse"},
    **dict.fromkeys(SHIPPING, BASE | STAGES | ROADS | DELIVERY | {"runtime", "rehearse"}),
    "cli": BASE | STAGES | ROADS | DELIVERY | SHIPPING | {"runtime", "rehearse", "standin"},
    "": set(),
}
# What the travelling code may ask for, and where: everything else must be there without us.
TRAVELS = {"numpy", "pandas"}
TRAVELS_IN = {
    "inputs": {"PIL", "cv2"},
    "onnx_backend": {"onnxruntime", "torch"},
    "torchscript_backend": {"torch"},
    "openvino_backend": {"openvino"},
    "lightgbm_backend": {"lightgbm"},
    "xgboost_backend": {"xgboost"},
    "tokens": {"tokenizers"},
    "terms": {"sklearn", "scipy"},
    "result": {"matplotlib", "IPython"},
    "bootstrap": {"kkb_runtime"},
}
NETWORK = {
    "kaggle", "kagglesdk", "kagglehub", "requests", "httpx", "aiohttp", "socket", "ssl", "ftplib", "smtplib", "uvicorn",
    "starlette", "http", "urllib",
}  # fmt: skip
TRAINING = {"torch", "torchvision", "timm", "lightning", "transformers", "onnx", "onnxscript", "onnxruntime", "safetensors"}
HEAVY = {
    "sklearn", "scipy", "pandas", "numpy", "PIL", "pydantic", "kaggle", "kagglesdk", "requests", "uvicorn", "starlette",
    "nbformat", "nbclient", "jinja2", "matplotlib",
}  # fmt: skip
# Started as programs of their own, in another process: what they import costs `kkb` nothing, and they may exit.
PROGRAMS = {
    "rehearse/enter.py", "rehearse/driver.py", "runtime/worker.py", "standin/server.py",
    "remote/child.py", "remote/calls.py", "remote/versions.py", "remote/faults.py", "remote/streams.py",
}  # fmt: skip
DATES = ("time.time", "time.gmtime", "time.localtime", "datetime.now", "datetime.today", "datetime.datetime.now")
LONGEST_FILE, LONGEST_FUNCTION = 350, 50  # lines; a function's docstring is not counted
LONGER = {
    "train/fit.py:fit": 70,  # Lightning's hooks are classes that close over the recipe
}


def room(path):
    """The room of a module: its top folder or file below builder/; empty for builder/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py").removesuffix("__init__")


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


@functools.cache
def tree(path):
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def imports(path):
    """(dotted name, level) of everything that a module imports; `from a import b` gives `a.b`."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, 0) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(f"{node.module or ''}.{alias.name}".strip("."), node.level) for alias in node.names}
    return found


def of_builder(path):
    """Dotted names below builder that a module imports."""
    return {
        name.removeprefix("builder").removeprefix(".")
        for name, level in imports(path)
        if not level and name.split(".")[0] == "builder"
    }


def outside(path):
    """Top-level names of the packages that a module imports."""
    return {name.split(".")[0] for name, level in imports(path) if not level} - {"builder"}


def calls(path):
    """Dotted names that a module calls: `time.monotonic`, `print`."""
    return {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}


def test_every_room_has_its_place_in_the_order():
    assert {room(path) for path in MODULES} <= set(MAY_SEE)


def test_imports_go_one_way():
    assert [
        f"{name_of(path)} imports builder.{name}" for path in MODULES for name in of_builder(path) if not may_see(path, name)
    ] == []


def may_see(path, name):
    """Whether a module may import builder.<name>. Between stages only records pass: `builder.<stage>.record` and its contents."""
    here, (first, *rest) = room(path), name.split(".")
    if first in MAY_SEE[here] or first in {here, "__version__", ""}:
        return True
    return here in STAGES and first in STAGES and rest[:1] == ["record"]


def test_the_order_is_one():
    """The rule itself: no two rooms may see each other, but those at the bottom."""
    for one, seen in MAY_SEE.items():
        assert not [other for other in seen if one in MAY_SEE[other] and one != other and not {one, other} <= BASE]


def test_the_runtime_can_leave_home():
    for path in (p for p in MODULES if room(p) == "runtime"):
        assert not of_builder(path), f"{name_of(path)} sees home"
        assert outside(path) <= sys.stdlib_module_names | TRAVELS | TRAVELS_IN.get(path.stem, set()), name_of(path)
        assert all(level <= 1 for _, level in imports(path)), f"{name_of(path)} reaches out of its package"


def test_at_home_imports_are_absolute():
    assert [name_of(path) for path in MODULES if room(path) != "runtime" and any(level for _, level in imports(path))] == []


def test_only_the_command_line_knows_the_terminal():
    for path in (p for p in MODULES if room(p) != "cli"):
        assert not outside(path) & {"typer", "click", "rich"}, name_of(path)
        if name_of(path) not in PROGRAMS:
            assert not calls(path) & {"sys.exit", "exit", "quit", "os._exit"}, name_of(path)
            # The supervisor's lines are the log of the notebook that it runs in.
            assert "print" not in calls(path) or name_of(path) == "runtime/supervisor.py", name_of(path)


def test_only_two_rooms_touch_the_network():
    for path in (p for p in MODULES if room(p) not in {"remote", "standin"}):
        # enter.py raises the loopback device inside the sandbox; nothing leaves the machine.
        allowed = {"socket"} if name_of(path) == "rehearse/enter.py" else set()
        assert outside(path) & NETWORK <= allowed, name_of(path)


def test_only_two_rooms_open_a_database():
    assert {room(path) for path in MODULES if "sqlite3" in outside(path)} <= {"ledger", "standin"}


def test_time_decides_nothing_where_it_is_not_at_home():
    """In the runtime only clock.py knows the time. At home, stages tell how long they took, waits are bounded by a monotonic
    clock, and dates are for the ledger, for the stand-in's records, for what a server counts by the day, and for telling a
    rehearsed run when it began. No plan, bundle or notebook depends on any of it.
    """
    for path in MODULES:
        if room(path) == "runtime":
            assert path.stem == "clock" or not outside(path) & {"time", "datetime"}, name_of(path)
        if room(path) in {"plan", "render", "bundle", "demo", "scaffold"} | BASE:
            assert not outside(path) & {"time", "datetime"}, f"the result of {name_of(path)} must follow from its input"
        dates = {call for call in calls(path) if call.startswith(DATES)}
        assert (
            not dates
            or room(path) in {"afar", "ledger", "standin", "remote", "delivery", "rehearse"}
            or name_of(path) == "runtime/clock.py"
        ), name_of(path)


def test_nothing_is_run_that_was_not_written_down():
    """No shell, no eval, no pickle from outside (the runtime's jobs are written and read by one supervisor within a minute)."""
    for path in MODULES:
        assert not calls(path) & {"os.system", "os.popen", "eval", "exec", "joblib.load"}, name_of(path)
        assert "pickle" not in outside(path) or name_of(path) in {"runtime/job.py", "checkpoints/files.py"}, name_of(path)
        found = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
        for node in found:  # people's checkpoints are pickles; read this way, they can name no code to run
            if ast.unparse(node.func) == "torch.load":
                assert {"weights_only": "True"}.items() <= {k.arg: ast.unparse(k.value) for k in node.keywords}.items()
            assert ast.unparse(node.func) not in {"pickle.load", "pickle.Unpickler"}, name_of(path)
            assert ast.unparse(node.func) != "pickle.loads" or name_of(path) == "runtime/job.py", name_of(path)
        keywords = [k for node in found for k in node.keywords]
        assert not [k for k in keywords if k.arg == "shell" and ast.unparse(k.value) != "False"], name_of(path)
        assert not [k for k in keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"], name_of(path)


def test_files_and_functions_hold_one_duty():
    long = []
    for path in MODULES:
        lines = len(path.read_text("utf-8").splitlines())
        if lines > LONGER.get(name_of(path), LONGEST_FILE):
            long.append(f"{name_of(path)}: {lines} lines")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                told = ast.get_docstring(node, clean=False) or ""
                length = node.end_lineno - node.lineno + 1 - len(told.splitlines())
                if length > LONGER.get(f"{name_of(path)}:{node.name}", LONGEST_FUNCTION):
                    long.append(f"{name_of(path)}:{node.lineno} {node.name}: {length} lines")
    assert long == []


def test_every_exception_to_a_length_is_still_needed():
    for entry in LONGER:
        file, _, function = entry.partition(":")
        names = {node.name for node in ast.walk(tree(PACKAGE / file)) if isinstance(node, ast.FunctionDef)}
        assert not function or function in names, entry


def test_every_module_says_what_it_is():
    assert [name_of(path) for path in MODULES if path.read_text("utf-8").strip() and not ast.get_docstring(tree(path))] == []


def test_no_path_of_a_machine_is_in_the_source():
    machines = ("/home/", "/Users/", f"{PACKAGE.parent}/", f"{Path.home()}/")
    for path in MODULES:
        texts = [node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert not [text for text in texts if text.startswith(machines)], name_of(path)


SLEEPERS = {"tests/export/test_memory.py:sleep"}  # killed by the test that starts it
SLEEP = re.compile(r"\bsleep\(([\d_.]+)")
LONGEST_SLEEP_S, FOREVER_S = 1.0, 30.0


def test_no_test_sleeps_longer_than_a_second():
    """In programs and notebooks that tests write, a sleep may also be one that only a kill ends: whoever waits for it is seen."""
    tests, long = PACKAGE.parent / "tests", []
    notebooks = [path for path in (tests / "kernels").rglob("*") if path.suffix in {".py", ".ipynb"}]
    for path in sorted(set(tests.rglob("*.py")) - set(notebooks)):
        if "sleep" not in path.read_text("utf-8"):
            continue
        home = path.relative_to(tests.parent).as_posix()
        for owner, node in owned(tree(path)):
            if isinstance(node, ast.Call) and "sleep" in {getattr(node.func, "attr", ""), getattr(node.func, "id", "")}:
                numbers = [
                    each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and not isinstance(each.value, str)
                ]
                if max(numbers, default=0) > LONGEST_SLEEP_S and f"{home}:{owner}" not in SLEEPERS:
                    long.append(f"{home}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                long += [f"{home}:{node.lineno} {words}" for words in waits(node.value)]
    for path in notebooks:
        long += [f"{path.name} {words}" for words in waits(path.read_text("utf-8"))]
    assert long == []


def owned(module):
    """Every node with the name of the function that it stands in."""
    names = {}
    for node in ast.walk(module):
        yield names.get(node, ""), node
        for child in ast.iter_child_nodes(node):
            names[child] = node.name if isinstance(node, ast.FunctionDef) else names.get(node, "")


def waits(text):
    """Sleeps in a program's text that are neither short nor for ever."""
    return [found[0] for found in SLEEP.finditer(text) if LONGEST_SLEEP_S < float(found[1]) < FOREVER_S]


START = "import builder"
HELP = """
import sys
sys.argv = ["kkb", *ARGUMENTS]
from builder.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""
STARTS = {
    "import builder": (START, set()),
    "kkb --help": (HELP.replace("ARGUMENTS", "['--help']"), set()),
    "kkb train --help": (HELP.replace("ARGUMENTS", "['train', '--help']"), {"pydantic"}),  # typer reads a command's types with it
    "kkb --version": (HELP.replace("ARGUMENTS", "['--version']"), {"pydantic"}),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_start_loads_nothing_heavy(start, tmp_path):
    """In a fresh interpreter: what is loaded is the cause, seconds would be the symptom."""
    code, allowed = STARTS[start]
    told = tmp_path / "modules.json"
    code += f"\nimport json, pathlib, sys\npathlib.Path({str(told)!r}).write_text(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    loaded = {name.split(".")[0] for name in json.loads(told.read_text())}
    assert "builder" in loaded
    assert sorted(loaded & (HEAVY | TRAINING) - allowed) == []


def test_only_training_and_exporting_need_the_train_extra():
    """The base install is light: a CI job must not install gigabytes to render and push. The runtime's backend asks late."""
    users = {name_of(path) for path in MODULES if outside(path) & TRAINING - {"onnxruntime"}}
    home = {"train", "export", "models.py", "checkpoints", "huggingface.py", "networks", "usercode.py"}
    assert {name.split("/")[0] for name in users} <= {*home, "runtime"}
    assert {name for name in users if name.startswith("runtime/")} <= {
        "runtime/onnx_backend.py",
        "runtime/torchscript_backend.py",
    }


def test_heavy_packages_are_imported_late():
    """At a module's top stands only what is light; what is heavy stands inside functions, or is for type checkers alone."""
    for path in MODULES:
        if room(path) not in {"standin", "runtime"} and name_of(path) not in PROGRAMS:
            assert sorted(at_top(path) & ((HEAVY | TRAINING) - {"pydantic", "numpy"})) == [], name_of(path)


def at_top(path):
    """Packages that importing a module imports at once."""
    found = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found
