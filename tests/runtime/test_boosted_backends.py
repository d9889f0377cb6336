"""Trees by their own packages: raw scores become logits, broken and foreign files are refused, a GPU is not needed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kkb_runtime import backends
from kkb_runtime.contract import Head

RNG = np.random.default_rng(5)
TABLE = RNG.standard_normal((300, 4)).astype(np.float32)
TABLE[::7, 1] = np.nan
TABLE[:, 3] = RNG.integers(0, 5, 300)
SCORE = np.nan_to_num(TABLE[:, 0] + TABLE[:, 1]) + (TABLE[:, 3] == 2)
SUFFIX = {"lightgbm": ".lgb.txt", "xgboost": ".xgb.json"}


def trained(kind, classes=2, objective=None):
    """A booster of the package itself, and the bytes of its file."""
    package = pytest.importorskip(kind, reason=f"the image's packages have no {kind}: tested with .venv")
    target = np.digitize(SCORE, np.quantile(SCORE, np.arange(1, classes) / classes))
    many = {"num_class": classes} if classes > 2 else {}
    target = target + 1.0 if objective else target  # those of gamma must be above 0
    if kind == "lightgbm":
        settings = {"objective": objective or ("multiclass" if many else "binary"), "verbosity": -1, "num_leaves": 7, **many}
        data = package.Dataset(TABLE, target, categorical_feature=[3])
        booster = package.train(settings, data, 12)
        return booster, booster.model_to_string().encode()
    settings = {"objective": objective or ("multi:softprob" if many else "binary:logistic"), "verbosity": 0, **many}
    data = package.DMatrix(TABLE, target, feature_types=["q", "q", "q", "c"], enable_categorical=True)
    booster = package.train(settings, data, 12)
    return booster, bytes(booster.save_raw("json"))


def expected(kind, booster):
    """Probabilities by the package itself."""
    if kind == "lightgbm":
        found = booster.predict(TABLE)
    else:
        types = ["q", "q", "q", "c"]
        found = booster.predict(sys.modules["xgboost"].DMatrix(TABLE, feature_types=types, enable_categorical=True))
    return np.stack([1 - found, found], axis=1) if found.ndim == 1 else found


def written(folder, kind, data):
    path = folder / f"m{SUFFIX[kind]}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", SUFFIX)
def test_answers_are_those_of_the_package_at_any_batch_and_threads(tmp_path, kind, classes):
    booster, data = trained(kind, classes)
    told = expected(kind, booster)
    path = written(tmp_path, kind, data)
    one, two = (backends.open(path, "cpu", threads, kind) for threads in (1, 2))
    assert (one.kind, one.accelerator, one.inputs, one.outputs) == (kind, "cpu", ("table",), ("logits",))
    found = one.run({"table": TABLE, "image": TABLE})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, told, atol=1e-6)
    np.testing.assert_array_equal(two.run(TABLE), found)
    for batch in (0, 1, 7):
        np.testing.assert_array_equal(one.run(TABLE[:batch]), found[:batch])
    if classes == 2:
        assert (one.logits(TABLE)["logits"][:, 0] == 0).all()


@pytest.mark.parametrize("kind", SUFFIX)
def test_rows_of_nothing_and_codes_that_training_did_not_see_are_answered(tmp_path, kind):
    model = backends.open(written(tmp_path, kind, trained(kind)[1]), "cpu", 1, kind)
    strange = np.full((3, 4), np.nan, dtype=np.float32)
    strange[1:, :3] = [[3e38], [-3e38]]
    found = model.run(strange)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_plan_for_a_gpu_may_have_trees(tmp_path, monkeypatch, kind):
    monkeypatch.delenv(backends.ALLOW_CPU, raising=False)
    assert backends.open(written(tmp_path, kind, trained(kind)[1]), "cuda", 1, kind).accelerator == "cpu"


@pytest.mark.parametrize("kind", SUFFIX)
def test_half_a_file_and_another_file_are_refused(tmp_path, kind):
    """LightGBM itself ends the process on some of these."""
    data = trained(kind)[1]
    size = len(data.rstrip())
    cuts = [data[:cut] for cut in (0, 1, 40, 400, size // 4, size // 2, size - 2000, size - 100, size - 60, size - 2)]
    middle = data[: size // 3] + data[size // 2 :]
    for broken in (*cuts, middle, b"{}", b"[]", b"tree\n", b"\x89PNG\r\n" * 99, b'{"learner": {}}'):
        with pytest.raises(backends.BackendError, match=rf"{kind} [0-9.]+ cannot load .*m\.") as told:
            backends.open(written(tmp_path, kind, broken), "cpu", 1, kind)
        assert "Stack trace" not in str(told.value)


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        ("lightgbm", "regression"),
        ("lightgbm", "regression_l1"),
        ("xgboost", "reg:squarederror"),
        ("xgboost", "reg:absoluteerror"),
        ("xgboost", "reg:pseudohubererror"),
    ],
)
def test_a_number_is_one_output_in_the_targets_own_unit(tmp_path, kind, objective):
    package = pytest.importorskip(kind, reason=f"the image's packages have no {kind}: tested with .venv")
    settings = {"objective": objective, "verbosity": -1 if kind == "lightgbm" else 0, "seed": 1}
    if kind == "lightgbm":
        booster = package.train(settings, package.Dataset(TABLE, 40 * SCORE + 7), 12)
        data, told = booster.model_to_string().encode(), booster.predict(TABLE)
    else:
        booster = package.train(settings, package.DMatrix(TABLE, 40 * SCORE + 7), 12)
        data, told = bytes(booster.save_raw("json")), booster.predict(package.DMatrix(TABLE))
    model = backends.open(written(tmp_path, kind, data), "cpu", 1, kind)
    heads = (Head("", "identity", ("y",), (0.0,), (1.0,)),)
    found = model.run(TABLE, heads)
    assert found.shape == (len(TABLE), 1)
    np.testing.assert_allclose(found[:, 0], told, rtol=1e-6)
    assert model.run(TABLE[:0], heads).shape == (0, 1)
    with pytest.raises(backends.OutputError, match=r"shape \(300, 1\), expected \(rows, 2\)"):
        model.run(TABLE, (Head("", "identity", ("y", "z")),))


@pytest.mark.parametrize("together", ["one_output_per_tree", "multi_output_tree"])
@pytest.mark.parametrize(("objective", "link"), [("reg:squarederror", "identity"), ("binary:logistic", "sigmoid")])
@pytest.mark.parametrize("targets", [2, 3])
def test_several_targets_of_one_booster_are_as_many_outputs(tmp_path, objective, link, targets, together):
    package = pytest.importorskip("xgboost", reason="the image's packages have no xgboost: tested with .venv")
    y = np.stack([SCORE * (place + 1) > place for place in range(targets)], axis=1).astype(np.float32)
    settings = {"objective": objective, "verbosity": 0, "multi_strategy": together, "tree_method": "hist"}
    booster = package.train(settings, package.DMatrix(TABLE, y), 8)
    model = backends.open(written(tmp_path, "xgboost", bytes(booster.save_raw("json"))), "cpu", 1, "xgboost")
    found = model.run(TABLE, (Head("", link, tuple("abc"[:targets])),))
    np.testing.assert_allclose(found, booster.predict(package.DMatrix(TABLE)), atol=1e-6)
    assert model.run(TABLE[:0], (Head("", link, tuple("abc"[:targets])),)).shape == (0, targets)


@pytest.mark.parametrize(
    ("kind", "objective"),
    [("lightgbm", "poisson"), ("lightgbm", "gamma"), ("xgboost", "count:poisson"), ("xgboost", "reg:gamma")],
)
def test_scores_that_are_no_logits_are_refused(tmp_path, kind, objective):
    with pytest.raises(backends.BackendError, match="objective"):
        backends.open(written(tmp_path, kind, trained(kind, objective=objective)[1]), "cpu", 1, kind)


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_table_of_another_width_and_another_input_are_refused(tmp_path, kind):
    model = backends.open(written(tmp_path, kind, trained(kind)[1]), "cpu", 1, kind)
    with pytest.raises(backends.BackendError, match=r"takes 4 features.*\(300, 3\)"):
        model.run(TABLE[:, :3])
    with pytest.raises(backends.BackendError, match="takes table; found image"):
        model.run({"image": TABLE})


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_package_that_is_not_here_is_named(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(backends.BackendError, match=f"ship the wheel of '{kind}'"):
        backends.open(written(tmp_path, kind, b"tree\n"), "cpu", 1, kind)


def several(kind):
    """(the packages' own boosters, the file of all) of 3 classes, a label, and 2 classes."""
    from kkb_runtime import trees

    made = [(trained(kind, classes), outputs) for classes, outputs in ((3, 3), (2, 1), (2, 2))]
    return [booster for (booster, _), _ in made], trees.joined([(data, outputs) for (_, data), outputs in made])


HEADS = (Head("a", "softmax", ("x", "y", "z")), Head("b", "sigmoid", ("there",)), Head("c", "softmax", ("x", "y")))


@pytest.mark.parametrize("kind", SUFFIX)
def test_several_boosters_of_one_file_answer_what_each_would_alone(tmp_path, kind):
    boosters, data = several(kind)
    told = [expected(kind, booster) for booster in boosters]
    path = written(tmp_path, kind, data)
    one, two = (backends.open(path, "cpu", threads, kind) for threads in (1, 2))
    found = one.run({"table": TABLE}, HEADS)
    np.testing.assert_allclose(found, np.concatenate([told[0], told[1][:, 1:], told[2]], axis=1), atol=1e-6)
    np.testing.assert_array_equal(two.run(TABLE, HEADS), found)
    for batch in (0, 1, 7):
        np.testing.assert_array_equal(one.run(TABLE[:batch], HEADS), found[:batch])
    with pytest.raises(backends.BackendError, match=r"takes 4 features.*\(300, 3\)"):
        one.run(TABLE[:, :3], HEADS)


@pytest.mark.parametrize("kind", SUFFIX)
def test_half_a_file_of_several_and_one_that_says_otherwise_are_refused(tmp_path, kind):
    data = several(kind)[1]
    line, _, rest = data.partition(b"\n")
    sizes = [size for size, _ in json.loads(line)["boosters"]]
    assert sum(sizes) == len(rest)
    told = [f'{{"boosters": {json.dumps(parts)}}}'.encode() for parts in (
        [[sizes[0], 2], [sizes[1], 1], [sizes[2], 2]], [[sizes[0] + 1, 3], [sizes[1] - 1, 1], [sizes[2], 2]],
        [[-1, 3], [len(rest) + 1, 1]], [], 7, [[1]], "x", [["a", 1]], [[None, 1]],
    )]  # fmt: skip
    cuts = [data[:cut] for cut in (12, len(line) // 2, len(line), len(line) + 1, len(line) + 500, len(data) // 2, len(data) - 1)]
    for broken in (*cuts, data + b"\n", *(one + b"\n" + rest for one in told)):
        with pytest.raises(backends.BackendError, match=rf"{kind} [0-9.]+ cannot load .*m\."):
            backends.open(written(tmp_path, kind, broken), "cpu", 1, kind)


ASKED = """
import sys
from types import SimpleNamespace
from builder.runtime.worker import Predictor
kind, hooks = sys.argv[1:]
job = SimpleNamespace(units=[SimpleNamespace(backend=kind)], accelerator="cpu", hooks=hooks)
assert kind in Predictor.versions(SimpleNamespace(_job=job))
print("sklearn.base" in sys.modules)
import sklearn
"""


@pytest.mark.parametrize("kind", [pytest.param("lightgbm", marks=pytest.mark.slow), "xgboost"])
def test_a_worker_imports_estimators_only_for_hooks_and_terms(kind):
    """They take two of three seconds, and no model of a plan needs them; what else does can still import them."""
    pytest.importorskip("sklearn")
    pytest.importorskip(kind, reason=f"the image's packages have no {kind}: tested with .venv")
    for hooks in ("", "hooks.py"):
        command = [sys.executable, "-c", ASKED, kind, hooks]
        told = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
        assert told.stdout == f"{bool(hooks)}\n"
