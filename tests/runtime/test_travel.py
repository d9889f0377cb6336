"""The wheel, alone, in another process: what it imports, how the bootstrap finds it, and the whole notebook."""

import ast
import sys
import zipfile

import pytest

from .tree import BOOTSTRAP, Tree

# Which module outside the standard library may be imported, by whom; numpy and pandas by all.
LATE = {
    "onnx_backend": {"onnxruntime", "torch"},
    "openvino_backend": {"openvino"},
    "torchscript_backend": {"torch"},
    "lightgbm_backend": {"lightgbm"},
    "xgboost_backend": {"xgboost"},
    "tokens": {"tokenizers"},
    "terms": {"sklearn", "scipy"},
    "inputs": {"PIL", "cv2"},
    "result": {"matplotlib", "IPython"},
}


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
    assert "me/kkb-runtime-abc is not attached, or not ready: looked for" in output
