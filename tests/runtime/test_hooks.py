"""hooks.py replaces single steps: rows, load, merge, submission; and its faults are told, not hidden."""

import textwrap

import kkb_runtime
import numpy as np
import pytest

from . import tiny_onnx
from .tree import Tree, probabilities, read_csv

PLAIN = [(0, 0, "identity"), (1, 0, "identity")]
LOAD = """
    import numpy as np
    from PIL import Image

    def load(row, mounts):
        image = np.asarray(Image.open(mounts.competition / "test_images" / f"{row['image_id']}.png"))
        return {"image": np.stack([image, image[::-1], image[:, ::-1]])}
"""


def write(tree, source):
    path = tree.root / "hooks.py"
    path.write_text(textwrap.dedent(source))
    return str(path)


def items(tree, row):
    """Probabilities (units, 3 items, classes) of a sample, by numpy alone."""
    image = tree.images[row]
    stack = np.stack([image, image[::-1], image[:, ::-1]]).reshape(3, -1).astype(np.float64)
    logits = np.stack([stack @ tree.models[member, fold][0] + tree.models[member, fold][1] for member, fold, _ in tree.units])
    odds = np.exp(logits - logits.max(axis=2, keepdims=True))
    return odds / odds.sum(axis=2, keepdims=True)


@pytest.mark.parametrize(("merge", "numpy_merge"), [("", np.mean), ("def merge(probs):\n    return probs.max(axis=0)\n", np.max)])
def test_items_of_a_sample_are_merged_per_unit(kaggle, merge, numpy_merge):
    tree = Tree(kaggle, samples=5, units=PLAIN, batch=2)
    kkb_runtime.run(tree.plan, tree.datasets, hooks=write(tree, textwrap.dedent(LOAD) + merge))
    weights = tree.plan["prefixes"][1]["weights"]
    for row, cells in enumerate(tree.answers().values()):
        mixed = np.tensordot(weights, numpy_merge(items(tree, row), axis=1), axes=1) ** 0.5
        assert [float(cell) for cell in cells] == pytest.approx((mixed / mixed.sum()).tolist(), abs=1e-5)


def test_rows_may_come_from_elsewhere_and_submissions_may_have_several_rows_per_sample(kaggle):
    tree = Tree(kaggle, samples=5, units=PLAIN)
    source = """
        import pandas as pd

        def rows(test_dir):
            return pd.read_csv(test_dir / "test.csv", dtype=str).iloc[::2]

        def submission(rows, probs):
            cells = [(f"{name}_{label}", p) for name, row in zip(rows.image_id, probs) for label, p in zip("ab", row)]
            return pd.DataFrame(cells, columns=["key", "value"])
    """
    result = kkb_runtime.run(tree.plan, tree.datasets, hooks=write(tree, source))
    written = read_csv(tree.submission)
    assert written[0] == ["key", "value"]
    assert [row[0] for row in written[1:]] == ["000_a", "000_b", "002_a", "002_b", "004_a", "004_b"]
    assert float(written[3][1]) == pytest.approx(tree.expected(2)[2, 0], abs=1e-5)
    assert result.rows == 3


def test_a_hook_that_fails_late_costs_nothing_that_is_written(kaggle):
    tree = Tree(kaggle, samples=5, units=PLAIN)
    source = """
        import pandas as pd

        calls = []

        def submission(rows, probs):
            calls.append(1)
            if len(calls) > 2:  # the fallback and unit 1
                raise KeyError("late")
            return pd.DataFrame({"image_id": rows.image_id, "cat": probs[:, 0]})
    """
    result = kkb_runtime.run(tree.plan, tree.datasets, hooks=write(tree, source))
    assert [float(row[1]) for row in read_csv(tree.submission)[1:]] == pytest.approx(tree.expected(1)[:, 0].tolist(), abs=1e-5)
    assert result.run["samples_per_prefix"] == {"1": 5}
    assert any("KeyError: 'late'" in note for note in result.run["notes"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise OSError('at import')", "OSError: at import"),
        ("def rows(test_dir):\n    import pandas\n    return pandas.DataFrame({'x': []})", "hooks.rows: no column 'image_id'"),
        ("def submission(rows, probs):\n    return rows[['image_id']]", "expected an id and at least one value"),
        ("def load(row, mounts):\n    return {'pixels': None}", "hooks.load: HookError: .*'pixels': 0.* at least one"),
        ("import numpy\ndef load(row, mounts):\n    return {'pixels': numpy.zeros(1)}", "the graph takes image; found pixels"),
        ("def load(row, mounts):\n    return [1]", "returned list, expected a dict of arrays"),
        (textwrap.dedent(LOAD) + "def merge(probs):\n    return 1.0", "merge returned shape"),
    ],
)
def test_faults_of_a_hook_are_told_and_leave_no_submission(kaggle, source, message):
    tree = Tree(kaggle, samples=3, units=PLAIN)
    with pytest.raises((ValueError, RuntimeError), match=message):
        kkb_runtime.run(tree.plan, tree.datasets, hooks=write(tree, source))
    assert not tree.submission.exists()
    assert tree.record()["status"] == "failed"


def test_a_graph_with_several_inputs_is_fed_by_name_and_another_takes_only_what_it_knows(kaggle):
    tree = Tree(kaggle, samples=4, units=PLAIN)
    rng = np.random.default_rng(5)
    weights, bias = tree.models[0, 0]
    meta = rng.standard_normal((2, 3)).astype(np.float32)
    (tree.weights / "m0-f0.onnx").write_bytes(tiny_onnx.two_inputs(weights, meta, bias, (4, 4)))
    source = """
        import numpy as np
        from PIL import Image

        def load(row, mounts):
            image = np.asarray(Image.open(mounts.competition / "test_images" / f"{row['image_id']}.png"))
            number = float(row["image_id"])
            return {"image": image[None], "meta": np.array([[number, 1.0]], dtype=np.float32)}
    """
    kkb_runtime.run(tree.plan, tree.datasets, hooks=write(tree, source))
    first, second = tree.plan["prefixes"][1]["weights"]
    for row, cells in enumerate(tree.answers().values()):
        image = tree.images[row : row + 1]
        with_meta = probabilities(image, "identity", weights, bias + np.array([row, 1.0]) @ meta)[0]
        mixed = (first * with_meta + second * probabilities(image, "identity", *tree.models[1, 0])[0]) ** 0.5
        assert [float(cell) for cell in cells] == pytest.approx((mixed / mixed.sum()).tolist(), abs=1e-5)


def test_views_cannot_be_applied_to_what_a_hook_loads(kaggle):
    tree = Tree(kaggle, samples=3)
    with pytest.raises(ValueError, match="views hflip cannot be applied"):
        kkb_runtime.run(tree.plan, tree.datasets, hooks=write(tree, LOAD))
