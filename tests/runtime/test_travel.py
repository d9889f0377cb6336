"""The wheel, alone, in another process: what it imports, how the bootstrap finds it, and the whole notebook."""

import ast
import os
import subprocess
import sys
import zipfile

import pytest

from .tree import BOOTSTRAP, Tree

# Which module outside the standard library may be imported, by whom; numpy and pandas by all.
LATE = {"backends": {"onnxruntime", "torch"}, "inputs": {"PIL", "cv2"}, "worker": {"onnxruntime"}, "result": {"matplotlib"}}


def imports(source):
    """(module, level, at the top) of every import."""
    tree = ast.parse(source)
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, id(node) in top


def sources(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}


def test_modules_import_only_what_travels_or_is_there(wheel):
    found = sources(wheel)
    assert "kkb_runtime/contract.py" in found
    for path, source in found.items():
        module = path.split("/")[1][:-3]
        for name, level, top in imports(source):
            package = name.split(".")[0]
            if level:
                assert level == 1, f"{path} reaches out of its package"
            elif package not in sys.stdlib_module_names and package not in {"numpy", "pandas"}:
                assert package in LATE.get(module, ()), f"{path} imports {name}"
                assert not top, f"{path} imports {name} at its top"


def test_only_the_clock_reads_the_time(wheel):
    for path, source in sources(wheel).items():
        if not path.endswith("/clock.py"):
            assert not {"time", "datetime"} & {name for name, level, _ in imports(source) if not level}, path


def test_only_the_supervisor_prints_for_people(wheel):
    for path, source in sources(wheel).items():
        calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]
        to_streams = [call for call in calls if any(keyword.arg == "file" for keyword in call.keywords)]
        assert len(calls) == len(to_streams) + path.endswith("/supervisor.py"), path


def test_importing_the_package_costs_nothing_yet(kaggle, wheel):
    tree = Tree(kaggle, samples=1)
    code = "import sys, kkb_runtime; print(sorted({'numpy', 'pandas', 'onnxruntime'} & set(sys.modules)))"
    output = tree.start(f"import sys; sys.path.insert(0, {str(wheel)!r}); {code}").communicate(timeout=60)[0]
    assert output == "[]\n"


def test_the_bootstrap_is_short_and_needs_only_the_standard_library():
    source = BOOTSTRAP.read_text()
    assert len(source.splitlines()) <= 60
    names = {name.split(".")[0] for name, _, _ in imports(source)}
    assert names - {"kkb_runtime"} <= sys.stdlib_module_names
    assert all(top for _, _, top in imports(source))


@pytest.mark.parametrize("layout", ["typed", pytest.param("classic", marks=pytest.mark.slow)])
def test_the_whole_notebook_runs_from_the_mounted_wheel(kaggle, wheel, layout):
    tree = Tree(kaggle, samples=9, layout=layout)
    source = tree.notebook(tree.with_runtime(wheel)) + "\nprint(result.table().to_string(), kkb_runtime.__file__)"
    process = tree.start(source)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert str(kaggle / "input") in output.splitlines()[-1], "another runtime than the mounted one was imported"
    assert [tree.nearest_prefix(row, cells) for row, cells in enumerate(tree.answers().values())] == [3] * 9
    assert sorted(path.name for path in (kaggle / "working").iterdir()) == ["run.json", "submission.csv"]


def test_a_runtime_of_another_version_is_refused(kaggle, wheel):
    tree = Tree(kaggle, samples=1)
    datasets = tree.with_runtime(wheel)
    path = tree.folder("datasets", "kkb-runtime-abc") / wheel.name
    path.write_bytes(path.read_bytes() + b"x")
    process = tree.start(tree.notebook(datasets))
    assert "another version, or not ready" in process.communicate(timeout=60)[0]
    assert process.returncode != 0


def test_a_missing_runtime_says_where_it_was_looked_for(kaggle, wheel):
    tree = Tree(kaggle, samples=1)
    datasets = tree.with_runtime(wheel)
    tree.folder("datasets", "kkb-runtime-abc").rename(kaggle / "gone")
    output = tree.start(tree.notebook(datasets)).communicate(timeout=60)[0]
    assert "dataset me/kkb-runtime-abc is not attached, or not ready: looked for" in output


@pytest.mark.slow
def test_wheels_are_installed_only_when_their_import_is_missing(kaggle, wheel, tmp_path):
    """In a virtual environment of its own: pip must change it once, not twice, and never for what is there."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=120)
    tree = Tree(kaggle, samples=1)
    folder = tree.folder("datasets", "wheels-1")
    for name in ("absent_thing", "json"):
        pack(folder / f"{name}-1.0-py3-none-any.whl", name)
    tag = f"wheels-cp{sys.version_info[0]}{sys.version_info[1]}"
    datasets = [*tree.with_runtime(wheel), tree.carried(tag, folder, "wheels-1")]
    cells = [f"PLAN, DATASETS = {tree.plan!r}, {datasets!r}", BOOTSTRAP.read_text(), "import absent_thing, json"]
    source = "\n".join([*cells, "print(absent_thing.WHO, json.loads('1'))"])
    environment = {**os.environ, "KKB_KAGGLE": str(kaggle)}
    for _ in range(2):
        ran = subprocess.run(
            [home / "bin" / "python", "-c", source], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.stdout.strip() == "absent_thing 1", ran.stderr
    listed = subprocess.run([home / "bin" / "pip", "list"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "json" not in listed


def pack(path, name):
    """A wheel with one package."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": f"WHO = {name!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in files.items():
            archive.writestr(entry, content)
