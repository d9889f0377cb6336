"""Whole runs, as real processes, of models with other heads than one class of each row: labels, numbers, several classes."""

import json

import kkb_runtime
import numpy as np
import pytest
from PIL import Image

from . import tiny_onnx
from .tree import SIDE, TURN, Tree, read_csv, write_csv

UNITS = [(0, 0, "identity"), (0, 1, "identity"), (1, 0, "hflip")]
LABELS = ("red", "green", "blue")
LABEL_HEADS = [{"name": "", "link": "sigmoid", "classes": list(LABELS)}]
OFFSET, SPREAD = (200000.0, -3.0), (5000.0, 0.5)
NUMBER_HEADS = [
    {"name": "", "link": "identity", "classes": ["price", "area"], "offset": list(OFFSET), "spread": list(SPREAD)},
]
KINDS, SIZES = ("cat", "dog"), ("s", "m", "l")
CLASS_HEADS = [
    {"name": "kind", "link": "softmax", "classes": list(KINDS)},
    {"name": "size", "link": "softmax", "classes": list(SIZES), "decision": {"steps": [{"kind": "argmax", "values": [1, 1, 3]}]}},
]
WEIGHTS = ((1.0,), (0.25, 0.75), (0.5, 0.2, 0.3))


def planned(root, heads, form, columns, prior, *, samples=9, temperatures=(1.0, 1.0, 1.0), sample=None):
    """A tree whose models have the outputs of `heads`."""
    tree = Tree(root, samples=samples, units=UNITS)
    classes = [label for head in heads for label in head["classes"]]
    for member, fold, _ in UNITS:
        rng = np.random.default_rng(100 * member + fold + 10)
        weights = (rng.standard_normal((SIDE * SIDE * 3, len(classes))) / 120).astype(np.float32)
        bias = -127.5 * weights.sum(axis=0)  # every answer is some image's
        tree.models[member, fold] = weights, bias
        (tree.weights / f"m{member}-f{fold}.onnx").write_bytes(tiny_onnx.classifier(weights, bias, (SIDE, SIDE)))
    tree.plan["answer"] |= {"form": form, "columns": list(columns), "classes": classes, "heads": heads}
    tree.plan["prior"] = list(prior)
    tree.plan["prefixes"] = [{"weights": w, "temperature": heat} for w, heat in zip(WEIGHTS, temperatures, strict=True)]
    if sample is not None:
        write_csv(tree.competition / "sample_submission.csv", ["image_id", *columns], sample)
        tree.plan["source"]["sample_submission"] = "sample_submission.csv"
    return tree


def logits(tree, unit, images=None):
    """(rows, outputs) of one unit, by numpy alone."""
    member, fold, view = UNITS[unit]
    weights, bias = tree.models[member, fold]
    seen = TURN[view](tree.images if images is None else images)
    return seen.reshape(len(seen), -1).astype(np.float64) @ weights + bias


def softmax(x):
    odds = np.exp(x - x.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def test_two_heads_are_blended_and_decided_each_in_its_own_way(kaggle):
    given = [[f"{index:03d}", "m", "cat"] for index in reversed(range(9))]
    tree = planned(kaggle, CLASS_HEADS, "heads", ("size", "kind"), (0.1, 0.9, 0.2, 0.5, 0.3), sample=given)
    shares = [((1.0,), (0.25, 0.75), (0.0, 0.0, 1.0)), ((1.0,), (0.5, 0.5), (0.9, 0.1, 0.0))]
    for place, prefix in enumerate(tree.plan["prefixes"]):
        prefix["shares"] = [{"weights": list(own[place]), "temperature": 0.5} for own in shares]
        prefix["weights"] = np.mean([own[place] for own in shares], axis=0).tolist()
    result = kkb_runtime.run(tree.plan, tree.datasets)
    kind = softmax(logits(tree, 2)[:, :2])
    size = 0.9 * softmax(logits(tree, 0)[:, 2:]) + 0.1 * softmax(logits(tree, 1)[:, 2:])
    size = (size**2 / (size**2).sum(axis=1, keepdims=True)) * [1, 1, 3]
    expected = {name: [SIZES[s], KINDS[k]] for name, s, k in zip(tree.ids, size.argmax(axis=1), kind.argmax(axis=1), strict=True)}
    assert tree.answers() == expected
    assert list(tree.answers()) == [row[0] for row in given]
    assert read_csv(tree.submission)[0] == ["image_id", "size", "kind"]
    assert len({tuple(cells) for cells in expected.values()}) > 2
    assert result.run["samples_per_prefix"] == {"3": 9}


def test_classes_and_numbers_are_answered_in_a_row_for_each(kaggle):
    clip = {"steps": [{"kind": "clip", "values": [199000.0, 201000.0]}]}
    price = {"name": "price", "link": "identity", "classes": ["price"], "offset": [200000.0], "spread": [500.0], "decision": clip}
    tree = planned(kaggle, [CLASS_HEADS[0], price], "long-heads", ("value",), (0.1, 0.9, 200000.0))
    tree.plan["answer"] |= {"key_column": "image_id", "key": "{id}_{class}"}
    shares = [((1.0,), (0.25, 0.75), (0.0, 0.0, 1.0)), ((1.0,), (0.5, 0.5), (0.9, 0.1, 0.0))]
    for place, prefix in enumerate(tree.plan["prefixes"]):
        prefix["shares"] = [{"weights": list(own[place])} for own in shares]
        prefix["weights"] = np.mean([own[place] for own in shares], axis=0).tolist()
    kkb_runtime.run(tree.plan, tree.datasets)
    kind = logits(tree, 2)[:, :2].argmax(axis=1)
    number = 200000.0 + 500.0 * (0.9 * logits(tree, 0)[:, 2] + 0.1 * logits(tree, 1)[:, 2])
    found = {name: cells[0] for name, cells in tree.answers().items()}
    assert list(found) == [f"{name}_{head}" for name in tree.ids for head in ("kind", "price")]
    assert [found[f"{name}_kind"] for name in tree.ids] == [KINDS[code] for code in kind]
    np.testing.assert_allclose(
        [float(found[f"{name}_price"]) for name in tree.ids], np.clip(number, 199000, 201000), rtol=1e-6
    )  # fmt: skip
    assert len(set(found.values())) > 4


@pytest.mark.slow
def test_an_honest_rehearsal_moves_the_weights_of_each_head(kaggle):
    """A row of which one head has no honest unit keeps its fallback, as one does that no unit answered."""
    tree = planned(kaggle, CLASS_HEADS, "columns", ("k_cat", "k_dog", "s_s", "s_m", "s_l"), (0.1, 0.9, 0.2, 0.5, 0.3))
    tree.plan["answer"]["heads"] = [{**head, "decision": None} for head in CLASS_HEADS]
    shares = [((1.0,), (0.25, 0.75), (0.25, 0.25, 0.5)), ((1.0,), (1.0, 0.0), (0.0, 0.0, 1.0))]
    for place, prefix in enumerate(tree.plan["prefixes"]):
        prefix["shares"] = [{"weights": list(own[place])} for own in shares]
        prefix["weights"] = np.mean([own[place] for own in shares], axis=0).tolist()
    folds = {name: row % 2 for row, name in enumerate(tree.ids)}
    (kaggle / "rehearsal").mkdir()
    (kaggle / "rehearsal" / "folds.json").write_text(json.dumps(folds))
    assert kkb_runtime.run(tree.plan, tree.datasets).run["honest"]
    kind = 0.5 * softmax(logits(tree, 0)[:, :2]) + 0.5 * softmax(logits(tree, 2)[:, :2])
    expected = np.concatenate([kind, softmax(logits(tree, 2)[:, 2:])], axis=1)
    expected[1::2] = tree.plan["prior"]  # the second head's only unit with a weight is of fold 0
    found = np.array([[float(cell) for cell in cells] for cells in tree.answers().values()])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_label_strings_have_thresholds_and_fall_back_to_the_prior(kaggle, rerun):
    heats = (2.0, 1.0, 0.5)
    tree = planned(kaggle, LABEL_HEADS, "strings", ("tags",), (0.2, 0.7, 0.6), temperatures=heats)
    cuts = np.array([0.4, 0.5, 0.55])
    tree.plan["answer"]["decision"] = {"steps": [{"kind": "thresholds", "values": cuts.tolist()}]}
    (tree.competition / "test_images" / "004.png").write_bytes(b"no picture")
    tree.plan["blend"] = "geometric"
    result = kkb_runtime.run(tree.plan, tree.datasets)
    mean = sum(w * logits(tree, unit) for unit, w in enumerate(WEIGHTS[2]))
    there = 1 / (1 + np.exp(-2 * mean)) >= cuts
    there[4] = [False, True, True]
    expected = {
        name: [" ".join(label for label, one in zip(LABELS, row, strict=True) if one)]
        for name, row in zip(tree.ids, there.tolist(), strict=True)
    }
    assert tree.answers() == expected
    assert len({cells[0] for cells in expected.values()}) > 2
    assert result.run["samples_per_prefix"] == {"0": 1, "3": 8}


def probed(tree, by):
    """Give the tree probes in which home's numbers differ from this machine's by `by` spreads."""
    images = np.random.default_rng(11).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    (tree.competition / "train_images").mkdir()
    for row, image in enumerate(images):
        Image.fromarray(image).save(tree.competition / "train_images" / f"t{row}.png")
    tree.plan["probes"] = []
    for member, folds in ((0, (0, 1)), (1, (0,))):
        views = ["identity"] if member == 0 else ["hflip"]
        values, rows = np.zeros((1, 6, 2), dtype=np.float32), []
        for row in range(6):
            fold = folds[row % len(folds)]
            unit = UNITS.index((member, fold, views[0]))
            values[0, row] = (logits(tree, unit, images[[row]])[0] + by) * SPREAD + OFFSET
            rows.append({"fold": fold, "row": {"image_id": f"t{row}"}, "image": f"train_images/t{row}.png"})
        files = {"table": f"p{member}.json", "values": f"p{member}.npy"}
        (tree.weights / files["table"]).write_text(json.dumps({"schema": 1, "views": views, "rows": rows}))
        np.save(tree.weights / files["values"], values)
        tree.plan["probes"].append({"member": f"v001:m{member}", "dataset": "weights", **files, "max_abs_diff": 0.01})


@pytest.mark.slow
def test_numbers_are_submitted_in_their_unit_and_probed_in_spreads(kaggle, capsys):
    tree = planned(kaggle, NUMBER_HEADS, "numbers", ("area", "price"), OFFSET)
    probed(tree, by=0.009)  # 45 of the price's unit
    result = kkb_runtime.run(tree.plan, tree.datasets)
    mean = sum(w * logits(tree, unit) for unit, w in enumerate(WEIGHTS[2])) * SPREAD + OFFSET
    found = np.array([[float(cell) for cell in cells] for cells in tree.answers().values()])
    np.testing.assert_allclose(found, mean[:, ::-1], rtol=1e-6)
    assert [entry["max_abs_diff"] for entry in result.run["probes"]] == pytest.approx([0.009] * 3, abs=2e-5)
    assert [entry["rows"] for entry in result.run["probes"]] == [3, 3, 6]
    assert "largest difference of an answer 0.009" in capsys.readouterr().out


@pytest.mark.slow
def test_numbers_that_home_did_not_get_end_a_commit_run(kaggle):
    tree = planned(kaggle, NUMBER_HEADS, "numbers", ("area", "price"), OFFSET)
    probed(tree, by=0.011)
    with pytest.raises(RuntimeError, match=r"gives other answers than home for 3 of 3 units.*one differs by 0\.011"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()


@pytest.mark.slow
def test_a_model_with_fewer_outputs_than_its_heads_ends_the_run_by_name(kaggle):
    tree = planned(kaggle, LABEL_HEADS, "columns", LABELS, (0.2, 0.7, 0.6))
    weights, bias = tree.models[0, 0]
    (tree.weights / "m0-f0.onnx").write_bytes(tiny_onnx.classifier(weights[:, :2], bias[:2], (SIDE, SIDE)))
    with pytest.raises(RuntimeError, match=r"logits: found outputs of shape \(4, 2\), expected \(rows, 3\)"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()


HOOKS = """
import numpy as np
import pandas as pd

def load(row, mounts):
    from PIL import Image
    image = np.asarray(Image.open(mounts.competition / "test_images" / (row["image_id"] + ".png")))
    return {"image": np.stack([image, image[:, ::-1]])}

def submission(rows, probs):
    return pd.DataFrame({"image_id": rows["image_id"], "sum": probs.sum(axis=1), "price": probs[:, 0]})
"""


@pytest.mark.slow
def test_hooks_are_shown_answers_of_all_heads(kaggle):
    tree = planned(kaggle, NUMBER_HEADS, "numbers", ("area", "price"), OFFSET)
    tree.plan["units"] = [unit | {"view": "identity"} for unit in tree.plan["units"]]
    path = tree.root / "hooks.py"
    path.write_text(HOOKS)
    kkb_runtime.run(tree.plan, tree.datasets, hooks=str(path))
    both = []
    for unit, (member, fold, _) in enumerate(UNITS):
        weights, bias = tree.models[member, fold]
        items = [seen.reshape(9, -1).astype(np.float64) @ weights + bias for seen in (tree.images, tree.images[:, :, ::-1])]
        both.append(WEIGHTS[2][unit] * np.mean(items, axis=0))
    expected = sum(both) * SPREAD + OFFSET
    found = np.array([[float(cell) for cell in cells] for cells in tree.answers().values()])
    np.testing.assert_allclose(found, np.stack([expected.sum(axis=1), expected[:, 0]], axis=1), rtol=1e-6)
