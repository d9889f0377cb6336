"""Whole runs, as real processes, on tiny real projects."""

import json
import warnings

import kkb_runtime
import numpy as np
import pytest

from . import tiny_onnx
from .tree import CLASSES, Probes, Tree, probabilities, read_csv, uneven, write_csv


def test_each_sample_gets_the_last_prefix_with_its_own_weights_and_temperature(kaggle):
    tree = Tree(kaggle, samples=10)
    result = kkb_runtime.run(tree.plan, tree.datasets)
    got = np.array([[float(cell) for cell in row[1:]] for row in read_csv(tree.submission)[1:]])
    np.testing.assert_allclose(got, tree.expected(3), atol=1e-5)
    assert [row[0] for row in read_csv(tree.submission)] == ["image_id", *tree.ids]
    assert result.run["samples_per_prefix"] == {"3": 10}
    assert list(result.table().samples) == [10, 10, 10]
    assert sorted(path.name for path in tree.submission.parent.iterdir()) == ["run.json", "submission.csv"]


def test_ids_stay_as_they_are_written(kaggle):
    tree = Tree(kaggle, samples=8)
    kkb_runtime.run(tree.plan, tree.datasets)
    assert "007" in tree.answers()


@pytest.mark.parametrize("form", ["labels", "columns", "probability"])
def test_forms(kaggle, form):
    tree = Tree(kaggle, samples=5, form=form)
    kkb_runtime.run(tree.plan, tree.datasets)
    expected = tree.expected(3)
    for row, cells in enumerate(tree.answers().values()):
        if form == "labels":
            assert cells == [CLASSES[expected[row].argmax()]]
        elif form == "probability":
            assert float(cells[0]) == pytest.approx(expected[row, -1], abs=1e-5)
        else:
            assert [float(cell) for cell in cells] == pytest.approx(expected[row].tolist(), abs=1e-5)


@pytest.mark.parametrize("layout", ["typed", "classic"])
def test_mount_layouts(kaggle, layout):
    tree = Tree(kaggle, samples=3, layout=layout)
    assert kkb_runtime.run(tree.plan, tree.datasets).rows == 3


def test_no_rows_is_a_header_and_no_error(kaggle):
    tree = Tree(kaggle, samples=0)
    result = kkb_runtime.run(tree.plan, tree.datasets)
    assert tree.submission.read_text() == "image_id,cat,dog,eel\n"
    assert (result.rows, result.run["status"], result.run["samples_per_prefix"]) == (0, "complete", {})
    assert len(result.table()) == 3


def test_one_row(kaggle):
    tree = Tree(kaggle, samples=1)
    result = kkb_runtime.run(tree.plan, tree.datasets)
    assert result.run["accelerator"]["workers"] == 1
    assert tree.nearest_prefix(0, tree.answers()["000"]) == 3


def test_order_of_the_sample_submission_wins_when_it_names_the_same_ids(kaggle):
    backwards = [[f"{index:03d}", "0.1", "0.2", "0.7"] for index in reversed(range(6))]
    tree = Tree(kaggle, samples=6, sample=backwards)
    kkb_runtime.run(tree.plan, tree.datasets)
    assert list(tree.answers()) == [row[0] for row in backwards]
    assert all(tree.nearest_prefix(int(name), cells) == 3 for name, cells in tree.answers().items())


def test_order_of_the_test_wins_when_the_sample_submission_names_other_ids(kaggle):
    tree = Tree(kaggle, samples=4, sample=[["003", "1", "0", "0"], ["001", "1", "0", "0"]])
    kkb_runtime.run(tree.plan, tree.datasets)
    assert list(tree.answers()) == tree.ids


@pytest.mark.parametrize("sample", [None, [[f"{index:03d}", "0.1", "0.2", "0.7"] for index in range(6)]])
def test_a_corrupt_image_keeps_its_fallback_and_is_counted(kaggle, rerun, sample):
    tree = Tree(kaggle, samples=6, sample=sample)
    (tree.competition / "test_images" / "002.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (tree.competition / "test_images" / "004.png").unlink()
    result = kkb_runtime.run(tree.plan, tree.datasets)
    fallback = [float(cell) for cell in sample[0][1:]] if sample else tree.plan["prior"]
    for row, (name, cells) in enumerate(tree.answers().items()):
        if name in {"002", "004"}:
            assert [float(cell) for cell in cells] == fallback
        else:
            assert tree.nearest_prefix(row, cells) == 3
    assert result.run["samples_per_prefix"] == {"0": 2, "3": 4}
    assert result.run["bad_samples"]["count"] == 2
    assert [bad["id"] for bad in result.run["bad_samples"]["first"]] == ["002", "004"]
    assert "004.png: no such file" in result.run["bad_samples"]["first"][1]["cause"]


def test_too_many_fallbacks_fail_a_commit_run_loudly_and_a_rerun_goes_on(kaggle, monkeypatch):
    tree = Tree(kaggle, samples=6)
    for name in ("002", "004"):
        (tree.competition / "test_images" / f"{name}.png").unlink()
    tree.plan["max_fallback"] = 0.3
    with pytest.raises(RuntimeError, match=r"2 of 6 samples have no answer, at most 30% may.*002\.png: no such file"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "true")
    assert kkb_runtime.run(tree.plan, tree.datasets).run["status"] == "complete"
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN")
    tree.plan["max_fallback"] = 0.4
    assert kkb_runtime.run(tree.plan, tree.datasets).run["samples_per_prefix"] == {"0": 2, "3": 4}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openvino", "torchscript"])
def test_units_of_all_backends_run_side_by_side(kaggle, kind):
    package = {"torchscript": "torch"}.get(kind, kind)
    needed = pytest.importorskip(package, reason=f"the image's packages have no {package}")
    tree = Tree(kaggle, samples=5)
    unit = tree.plan["units"][2]
    unit["backend"] = kind
    if kind == "torchscript":
        unit["file"] = "m1.ts.bin"
        torchscript(needed, tree, tree.weights / unit["file"])
    Probes(tree)
    record = kkb_runtime.run(tree.plan, tree.datasets).run
    assert record["samples_per_prefix"] == {"3": 5}
    assert [tree.nearest_prefix(row, cells) for row, cells in enumerate(tree.answers().values())] == [3] * 5
    assert [price["backend"] for price in record["prices"]] == ["onnxruntime", "onnxruntime", kind]
    assert set(record["versions"]) >= {"onnxruntime", package}


def torchscript(torch, tree, path):
    weights, bias = (torch.from_numpy(each) for each in tree.models[1, -1])

    class Linear(torch.nn.Module):
        def forward(self, image):
            return image.float().flatten(1) @ weights + bias

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Linear(), torch.zeros((2, 4, 4, 3), dtype=torch.uint8))
        torch.jit.save(traced, str(path), _extra_files={"kkb.json": json.dumps({"inputs": ["image"], "outputs": ["logits"]})})


def test_a_plan_for_a_backend_that_is_unknown_is_refused(kaggle):
    tree = Tree(kaggle, samples=1)
    tree.plan["units"][1]["backend"] = "onnx"
    with pytest.raises(ValueError, match=r"unit 2 has backend 'onnx'; known are onnxruntime, .*, xgboost; run"):
        kkb_runtime.run(tree.plan, tree.datasets)


@pytest.mark.slow
def test_weights_beside_a_model_travel_and_are_checked_with_it(kaggle):
    tree = Tree(kaggle, samples=3)
    weights, bias = tree.models[0, 0]
    model, data = tiny_onnx.with_external_data(weights, bias, (4, 4), "m0-f0.onnx.data")
    (tree.weights / "m0-f0.onnx").write_bytes(model)
    (tree.weights / "m0-f0.onnx.data").write_bytes(data)
    assert kkb_runtime.run(tree.plan, tree.datasets).run["samples_per_prefix"] == {"3": 3}
    datasets = tree.datasets
    (tree.weights / "m0-f0.onnx.data").write_bytes(data[:-1] + b"x")
    with pytest.raises(FileNotFoundError, match=r"m0-f0\.onnx\.data"):
        kkb_runtime.run(tree.plan, datasets)


def test_only_corrupt_images_leave_no_submission_and_raise(kaggle):
    tree = Tree(kaggle, samples=4)
    for path in (tree.competition / "test_images").iterdir():
        path.write_bytes(b"not an image")
    with pytest.raises(RuntimeError, match=r"no sample was answered.*000.*UnidentifiedImageError"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()
    assert tree.record()["status"] == "failed"


def test_a_model_of_another_version_is_refused(kaggle):
    tree = Tree(kaggle, samples=4)
    datasets = tree.datasets
    model = tree.weights / "m0-f0.onnx"
    model.write_bytes(model.read_bytes() + b"\n")
    with pytest.raises(FileNotFoundError, match=r"m0-f0\.onnx: sha256 .* expected .*another version"):
        kkb_runtime.run(tree.plan, datasets)
    assert not tree.submission.exists()


def test_a_missing_dataset_names_what_was_looked_for_and_what_is_there(kaggle):
    tree = Tree(kaggle, samples=4)
    datasets = tree.datasets
    tree.weights.rename(tree.weights.with_name("something-else"))
    with pytest.raises(FileNotFoundError, match=r"me/digits-weights is not mounted.*m0-f0\.onnx.*datasets/me.*Attach it"):
        kkb_runtime.run(tree.plan, datasets)


def test_a_model_that_cannot_be_loaded_ends_the_plan_before_it(kaggle):
    tree = Tree(kaggle, samples=6)
    (tree.weights / "m1-f-1.onnx").write_bytes(b"this is no model")
    result = kkb_runtime.run(tree.plan, tree.datasets)
    assert result.run["samples_per_prefix"] == {"2": 6}
    assert "unit 3 and all after it dropped" in result.run["skipped"][0]
    assert all(tree.nearest_prefix(row, cells) == 2 for row, cells in enumerate(tree.answers().values()))


def test_same_progress_same_bytes(kaggle):
    tree = Tree(kaggle, samples=40)
    contents = set()
    for workers in (1, 2, 3):
        kkb_runtime.run(tree.plan, tree.datasets, settings={"workers": workers})
        contents.add(tree.submission.read_bytes())
    assert len(contents) == 1


def test_decoding_again_gives_the_same_bytes_as_keeping(kaggle):
    tree = Tree(kaggle, samples=12)
    kkb_runtime.run(tree.plan, tree.datasets)
    kept = tree.submission.read_bytes()
    kkb_runtime.run(tree.plan, tree.datasets, settings={"keep_bytes": 0})
    assert tree.submission.read_bytes() == kept


RULES = {
    "static": {"kind": "static", "stops": [1, 3]},
    "tiers": {"kind": "tiers", "stops": [2, 3], "common": 1},
    "queue": {"kind": "queue", "stops": [1, 2], "worth": [1.0], "doubts": [0.0, 1.0], "shape": [0.5, 2.0]},
}


@pytest.mark.parametrize("kind", ["queue", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("static", "tiers"))])
def test_a_rule_of_effort_changes_nothing_when_there_is_time_for_everything(kaggle, kind):
    tree = Tree(kaggle, samples=20)
    kkb_runtime.run(tree.plan, tree.datasets)
    plain = tree.submission.read_bytes()
    tree.plan["effort"] = RULES[kind]
    assert kkb_runtime.run(tree.plan, tree.datasets).run["samples_per_prefix"] == {"3": 20}
    assert tree.submission.read_bytes() == plain


def test_own_temperatures_and_other_blends_reach_the_submission(kaggle):
    tree = Tree(kaggle, samples=6)
    tree.plan["blend"] = "geometric"
    tree.plan["units"][1]["temperature"] = 2.0
    kkb_runtime.run(tree.plan, tree.datasets)
    logs = []
    for member, fold, view in tree.units:
        p = probabilities(tree.images, view, *tree.models[member, fold])
        logs.append(np.log(np.maximum(p, 1e-12)))
    cooled = np.exp(logs[1] / 2)
    logs[1] = np.log(cooled / cooled.sum(axis=1, keepdims=True))
    total = sum(weight * each for weight, each in zip(uneven(3), logs, strict=True))
    expected = np.exp(total / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    got = np.array([[float(cell) for cell in cells] for cells in tree.answers().values()])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_rank_blend_without_references_is_refused_before_the_run(kaggle):
    tree = Tree(kaggle, samples=2)
    tree.plan["blend"] = "rank"
    with pytest.raises(ValueError, match=r"nothing to rank.* of v001:m0 .*kkb plan"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()


def test_columns_that_nobody_asked_for_are_ignored_and_one_that_is_needed_is_named(kaggle):
    tree = Tree(kaggle, samples=3)
    write_csv(tree.competition / "test.csv", ["image_id", "x", "Unnamed: 0"], [[name, "", "1"] for name in tree.ids])
    assert kkb_runtime.run(tree.plan, tree.datasets).run["samples_per_prefix"] == {"3": 3}
    tree.plan["source"]["pattern"] = "test_images/{patient}/{image_id}.png"
    with pytest.raises(ValueError, match=r"needs column 'patient'; found image_id, x, Unnamed: 0"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()
    tree.plan["answer"]["id"] = "id"
    with pytest.raises(ValueError, match=r"no column 'id'; found image_id, x"):
        kkb_runtime.run(tree.plan, tree.datasets)


def test_the_timeline_is_in_the_record_and_small(kaggle):
    tree = Tree(kaggle, samples=30, batch=1)
    result = kkb_runtime.run(tree.plan, tree.datasets)
    timeline = result.run["timeline"]
    assert [name for name, _, _ in timeline["stages"]] == list(result.run["stages"])
    assert len(timeline["units"]) == 3
    for first, last, busy in timeline["units"]:
        assert 0 <= first < last
        assert busy > 0
    assert timeline["curve"][-1][1] == 3
    assert [at for at, _ in timeline["curve"]] == sorted(at for at, _ in timeline["curve"])
    assert len(json.dumps(timeline)) < 20_000


def test_rehearsal_on_training_rows_never_asks_a_model_that_saw_the_row(kaggle):
    units = [(0, 0, "identity"), (0, 1, "identity"), (0, 0, "hflip"), (0, 1, "hflip")]
    tree = Tree(kaggle, samples=8, units=units)
    folds = {name: index % 3 for index, name in enumerate(tree.ids)}  # no unit holds out fold 2
    (kaggle / "rehearsal").mkdir()
    (kaggle / "rehearsal" / "folds.json").write_text(json.dumps(folds))
    result = kkb_runtime.run(tree.plan, tree.datasets)
    assert result.run["honest"] is True
    weight = tree.plan["prefixes"][3]["weights"]
    for row, cells in enumerate(tree.answers().values()):
        fold = folds[tree.ids[row]]
        if fold == 2:
            assert [float(cell) for cell in cells] == tree.plan["prior"]
            continue
        own = Tree.__new__(Tree)
        own.__dict__.update(tree.__dict__, units=[(0, fold, "identity"), (0, fold, "hflip")])
        assert [float(cell) for cell in cells] == pytest.approx(
            honest(own, row, weight[0] + weight[1], weight[2] + weight[3]), abs=1e-5
        )


def honest(tree, row, identity, hflip):
    """The answer of one fold's two views with the weights of both folds, at the temperature of prefix 4."""
    member, fold, _ = tree.units[0]
    weights, bias = tree.models[member, fold]
    mixed = 0.0
    for weight, image in ((identity, tree.images[row]), (hflip, tree.images[row][:, ::-1])):
        odds = np.exp(image.reshape(-1).astype(np.float64) @ weights + bias)
        mixed = mixed + weight * odds / odds.sum()
    cooled = mixed ** (1 / 3.0)
    return (cooled / cooled.sum()).tolist()


def test_repeated_ids_are_refused(kaggle):
    tree = Tree(kaggle, samples=3)
    write_csv(tree.competition / "test.csv", ["image_id"], [["000"], ["001"], ["000"]])
    with pytest.raises(ValueError, match=r"'000' is there more than once"):
        kkb_runtime.run(tree.plan, tree.datasets)


def test_the_result_shows_itself(kaggle, capsys):
    tree = Tree(kaggle, samples=3)
    result = kkb_runtime.run(tree.plan, tree.datasets)
    assert result.curve[0][1] == 0
    assert result.curve[-1][1] == 3
    assert "v001:m0" in result._repr_html_()
    picture = result.picture()
    assert picture is None or picture._repr_png_().startswith(b"\x89PNG")
    result.show()  # outside a notebook as text
    told = capsys.readouterr().out
    assert "v001:m0" in told
    assert len(told) < 1000, "no picture is written as text"


def test_a_rerun_shows_nothing(kaggle, capsys, monkeypatch):
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    tree = Tree(kaggle, samples=3)
    result = kkb_runtime.run(tree.plan, tree.datasets)
    capsys.readouterr()
    result.show()
    assert capsys.readouterr().out == ""


def test_a_rehearsal_without_any_honest_unit_is_no_result(kaggle):
    tree = Tree(kaggle, samples=4, units=[(0, 0, "identity"), (1, 0, "identity")])
    (kaggle / "rehearsal").mkdir()
    (kaggle / "rehearsal" / "folds.json").write_text(json.dumps(dict.fromkeys(tree.ids, 1)))
    with pytest.raises(RuntimeError, match="no sample was answered"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()
