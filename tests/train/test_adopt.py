"""Weights trained elsewhere become a version like any other, or are refused with the cause; nothing is taken on trust."""

import json

import numpy as np
import pytest

from builder.errors import ConfigError, GateError, UserError
from builder.train import adopt, record, stage

from . import elsewhere
from .elsewhere import Recipe

pytest.importorskip("torch")

FOLDS = 'folds = "folds.csv"'


@pytest.fixture(scope="module")
def trained_elsewhere(tmp_path_factory):
    made = elsewhere.make(tmp_path_factory.mktemp("elsewhere"))
    made.save()
    made.save_folds()
    return made


@pytest.fixture
def there(trained_elsewhere, tmp_path):
    """The same in a workspace of its own."""
    import dataclasses
    import shutil

    from builder.workspace import Workspace

    shutil.copytree(trained_elsewhere.root, tmp_path / "space")
    return dataclasses.replace(trained_elsewhere, workspace=Workspace(tmp_path / "space"))


def adopted(there, *args, **kwargs):
    return adopt.adopt(there.config(*args, **kwargs), there.workspace, "net")


def refused(there, kind, *args, **kwargs):
    """The error of an adoption, which leaves no version and no litter behind."""
    with pytest.raises(kind) as caught:
        adopted(there, *args, **kwargs)
    weights = there.workspace.weights("net")
    assert not weights.is_dir() or list(weights.iterdir()) == []
    return caught.value


def test_a_version_of_weights_from_elsewhere_is_one_like_any_other(there):
    np.save(there.root / "oof.npy", there.oof())
    version, fresh = adopted(there, FOLDS + '\noof = "oof.npy"')
    assert fresh
    assert version == record.load(there.workspace.weights("net") / "v001")
    (model,) = version.models
    assert (version.origin, version.folds, version.rows, model.views) == ("adopted", 2, elsewhere.ROWS, ("identity", "hflip"))
    assert [point.origin for point in model.checkpoints] == ["w/net-f0.pth", "w/net-f1.pth"]
    ids, folds, _ = record.read_folds(version.folder / record.FOLDS)
    assert ids == tuple(elsewhere.name(row) for row in range(elsewhere.ROWS))
    np.testing.assert_array_equal(folds, elsewhere.fold_of())
    np.testing.assert_allclose(np.load(version.oof("net", "identity")), there.oof(), atol=1e-4)
    assert np.abs(np.load(version.oof("net", "hflip")) - there.oof()).max() > 0.05
    assert model.score == pytest.approx((there.oof().argmax(1) == np.arange(elsewhere.ROWS) % 3).mean())
    assert model.compared.largest < 1e-4
    assert model.compared.argmax_equal == 1
    assert model.compared.given_score == model.compared.own_score == model.score
    assert str(there.root) not in (version.folder / record.FILE).read_text()
    again, fresh = adopted(there, FOLDS + '\noof = "oof.npy"')
    assert (again, fresh) == (version, False)
    assert stage.digest(there.config(FOLDS + '\noof = "oof.npy"'), there.workspace, "net") == version.digest


FAULTS = {
    "bgr": (Recipe(color="bgr"), 'color = "bgr"'),
    "no-mean": (Recipe(mean=(0, 0, 0), std=(1, 1, 1)), "mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]"),
    "halves": (Recipe(mean=(0.5,) * 3, std=(0.5,) * 3), "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]"),
    "bytes": (
        Recipe(scale=1.0),
        "mean = [0.00190196, 0.00178824, 0.00159216]\nstd = [0.00089804, 0.00087843, 0.00088235]",
    ),
    "nearest": (Recipe(interpolation="nearest"), 'interpolation = "nearest"'),
    "bicubic": (Recipe(interpolation="bicubic"), 'interpolation = "bicubic"'),
    "cv2": (Recipe(library="cv2"), 'library = "cv2"'),
    "crop": (Recipe(resize="crop"), 'resize = "crop"'),
    "a part of it": (Recipe(resize="part"), 'resize = "crop"\ncrop_pct = 0.875'),
    "letterbox": (Recipe(resize="letterbox"), 'resize = "letterbox"'),
    "cv2-bgr": (Recipe(library="cv2", color="bgr"), 'library = "cv2"\ncolor = "bgr"'),
    "three": (
        Recipe(library="cv2", color="bgr", mean=(0, 0, 0), std=(1, 1, 1)),
        'library = "cv2"\ncolor = "bgr"\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]',
    ),
}
SLOW = set(FAULTS) - {"bgr"}


@pytest.mark.parametrize("fault", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FAULTS])
def test_another_preprocessing_is_named_with_the_line_that_mends_it(there, fault):
    recipe, fix = FAULTS[fault]
    np.save(there.root / "oof.npy", there.oof(recipe))
    error = refused(there, GateError, FOLDS + '\noof = "oof.npy"')
    for part in fix.split("\n"):
        assert part in error.remedy
    assert error.remedy.count(" = ") == len(fix.split("\n"))
    assert "as in kernel.toml" in error.found
    version, _ = adopted(there, FOLDS + '\noof = "oof.npy"', shape=fix)
    assert version.models[0].compared.largest < 1e-3


BUILD = """\
from blocks import stem


def build(classes):
    import torch

    print("building")
    head = torch.nn.Linear(8 * 7 * 7, classes)
    return torch.nn.Sequential(*stem(), torch.nn.Flatten(), head)
"""
BLOCKS = """\
import torch


def stem():
    first = torch.nn.Conv2d(3, 8, 3, 2)
    return first, torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 2), torch.nn.ReLU()
"""


def test_a_network_of_the_user_s_own_is_adopted_and_kept_with_its_code(tmp_path, capsys):
    there = elsewhere.make(tmp_path / "space", "build")
    there.save()
    there.save_folds()
    folder = there.workspace.kernels / "net"
    folder.mkdir(parents=True)
    (folder / "models.py").write_text(BUILD)
    (folder / "blocks.py").write_text(BLOCKS)
    np.save(there.root / "oof.npy", there.oof())
    source = 'build = "models.py:build"'
    version, _ = adopted(there, FOLDS + '\noof = "oof.npy"', source=source)
    (model,) = version.models
    assert capsys.readouterr().out == "", "stdout belongs to --json"
    assert sorted(model.sources) == ["blocks.py", "models.py"]
    assert model.compared.largest < 1e-4
    assert sorted(path.name for path in folder.iterdir()) == ["blocks.py", "kernel.toml", "models.py"], (
        "no byte code is left behind"
    )
    # What the version is made of is its own from now on; what changes outside makes another version.
    (folder / "blocks.py").write_text(BLOCKS + "# another\n")
    assert stage.digest(there.config(FOLDS, source=source), there.workspace, "net") != version.digest
    (folder / "blocks.py").unlink()
    batch = elsewhere.arrays(there.root / "data")
    network = version.network(model, 1)
    np.testing.assert_allclose(elsewhere.logits(network.backbone, batch), elsewhere.logits(there.modules[1], batch), atol=1e-4)
    (version.folder / "source" / "net" / "models.py").write_text("# spoilt")
    with pytest.raises(UserError, match="source"):
        version.network(model)


def test_a_hugging_face_folder_is_adopted_with_its_own_preprocessing(tmp_path):
    there = elsewhere.make(tmp_path / "space", "hf")
    for fold, module in enumerate(there.modules):
        module.save_pretrained(there.root / f"w/vit-f{fold}")
    said = {
        "image_mean": list(elsewhere.MEAN), "image_std": list(elsewhere.STD), "resample": 3, "do_resize": True,
        "size": {"height": elsewhere.SIDE, "width": elsewhere.SIDE},
    }  # fmt: skip
    (there.root / "w/vit-f0/preprocessor_config.json").write_text(json.dumps(said))
    there.save_folds()
    np.save(there.root / "oof.npy", there.oof(Recipe(interpolation="bicubic")))
    lines = f'checkpoints = "w/vit-f{{fold}}"\n{FOLDS}\noof = "oof.npy"'
    version, _ = adopted(there, lines, source='backbone = "hf/w/vit-f0"')
    (model,) = version.models
    assert (model.input.interpolation, model.input.height, model.sources.keys()) == (
        "bicubic", 32, {"config.json", "preprocessor_config.json"},
    )  # fmt: skip
    assert model.compared.largest < 1e-3
    batch = elsewhere.arrays(there.root / "data")
    found = elsewhere.logits(version.network(model, 1).backbone, batch)
    np.testing.assert_allclose(found, elsewhere.logits(there.modules[1], batch), atol=1e-4)


def test_folds_may_be_those_of_the_cv_section_which_is_an_assumption(there):
    version, _ = adopted(there, cv="[cv]\nfolds = 2")
    _, folds, _ = record.read_folds(version.folder / record.FOLDS)
    np.testing.assert_array_equal(folds, elsewhere.fold_of())
    assert any("assumed" in note for note in version.notes)


def test_other_folds_than_those_of_the_predictions_are_recognised(there):
    np.save(there.root / "oof.npy", there.oof())
    error = refused(there, GateError, 'oof = "oof.npy"', cv="[cv]\nfolds = 2\nseed = 7")
    assert "one of these models" in error.found
    assert "folds" in error.remedy


def test_rows_of_a_holdout_are_the_only_ones_with_predictions(there):
    ids = [elsewhere.name(row) for row in range(10, 20)]
    elsewhere.write_csv(there.root / "held.csv", ["id"], [(identity,) for identity in ids])
    version, _ = adopted(there, 'checkpoints = "w/net-f1.pth"\nholdout = "held.csv"')
    (model,) = version.models
    _, folds, _ = record.read_folds(version.folder / record.FOLDS)
    assert ([point.fold for point in model.checkpoints], version.folds) == ([0], 1)
    np.testing.assert_array_equal(np.flatnonzero(folds == 0), np.arange(10, 20))
    assert set(folds) == {0, -1}
    predicted = np.load(version.oof("net", "identity"))
    np.testing.assert_array_equal(np.isnan(predicted).any(axis=1), folds == -1)
    expected = elsewhere.softmax(elsewhere.logits(there.modules[1], elsewhere.arrays(there.root / "data")))
    np.testing.assert_allclose(predicted[10:20], expected[10:20], atol=1e-4)
    assert model.score == pytest.approx((expected.argmax(1) == np.arange(elsewhere.ROWS) % 3)[10:20].mean())


@pytest.mark.slow
def test_several_checkpoints_share_out_a_holdout(there):
    elsewhere.write_csv(there.root / "held.csv", ["id"], [(elsewhere.name(row),) for row in range(8)])
    version, _ = adopted(there, 'holdout = "held.csv"')
    _, folds, _ = record.read_folds(version.folder / record.FOLDS)
    assert folds[:8].tolist() == [0, 1] * 4
    assert set(folds[8:]) == {-1}


@pytest.mark.parametrize(("checkpoints", "numbers"), [("w/net-f{fold}.pth", [0, 1]), ("w/net-f0.pth", [-1])])
def test_without_folds_nothing_is_claimed(there, checkpoints, numbers):
    version, _ = adopted(there, f'checkpoints = "{checkpoints}"')
    (model,) = version.models
    assert [point.fold for point in model.checkpoints] == numbers
    assert (model.score, version.score, version.folds) == (None, None, 0)
    assert np.isnan(np.load(version.oof("net", "identity"))).all()
    assert any("not known" in note for note in version.notes)
    assert record.load(version.folder) == version


@pytest.mark.slow
def test_files_and_folds_may_count_from_one(there):
    """Files and folds.csv that count from 1 are the same folds."""
    for fold in (1, 0):
        (there.root / f"w/net-f{fold}.pth").rename(there.root / f"w/net-f{fold + 1}.pth")
    there.save_folds(shift=1)
    version, _ = adopted(there, FOLDS)
    _, folds, _ = record.read_folds(version.folder / record.FOLDS)
    np.testing.assert_array_equal(folds, elsewhere.fold_of())
    np.testing.assert_allclose(np.load(version.oof("net", "identity")), there.oof(), atol=1e-4)


@pytest.mark.slow
def test_a_csv_of_predictions_is_joined_by_id(there):
    answers = there.oof()
    rows = [(elsewhere.name(row), *answers[row][::-1]) for row in range(elsewhere.ROWS)]
    elsewhere.write_csv(there.root / "oof.csv", ["id", *elsewhere.CLASSES[::-1]], sorted(rows))
    version, _ = adopted(there, FOLDS + '\noof = "oof.csv"')
    assert version.models[0].compared.largest < 1e-4


@pytest.mark.slow
def test_predictions_that_are_logits_are_taken_for_what_they_are(there):
    np.save(there.root / "oof.npy", np.log(there.oof()) + 3)
    version, _ = adopted(there, FOLDS + '\noof = "oof.npy"')
    assert version.models[0].compared.largest < 1e-3
    assert any("logits" in note for note in version.notes)


ORDERS = {
    "fold by fold": lambda p: p[np.argsort(elsewhere.fold_of(), kind="stable")],
    "sorted by id": lambda p: p[np.argsort([elsewhere.name(row) for row in range(len(p))])],
    "in reverse": lambda p: p[::-1],
    "another order": lambda p: p[np.random.default_rng(0).permutation(len(p))],
    "classes in another order": lambda p: p[:, ::-1],
}


@pytest.mark.parametrize(
    "order", [pytest.param(order, marks=[pytest.mark.slow] if order != "fold by fold" else []) for order in ORDERS]
)
def test_predictions_in_another_order_are_recognised(there, order):
    np.save(there.root / "oof.npy", ORDERS[order](there.oof()))
    error = refused(there, GateError, FOLDS + '\noof = "oof.npy"')
    assert order in error.found
    assert "id column" in error.remedy


@pytest.mark.slow
def test_rounding_is_let_through(there):
    draw = np.random.default_rng(0)
    np.save(there.root / "oof.npy", there.oof() + draw.normal(0, 2e-4, (elsewhere.ROWS, 3)))
    version, _ = adopted(there, FOLDS + '\noof = "oof.npy"')
    assert version.models[0].compared.largest < 1e-3
    answers = there.oof()
    sure = np.diff(np.sort(answers, axis=1)[:, -2:], axis=1) > 0.05  # rows whose answer such a difference cannot turn
    moved = np.clip(answers + sure * draw.normal(0, 2e-3, answers.shape), 0, 1)
    np.save(there.root / "oof.npy", moved / moved.sum(axis=1, keepdims=True))
    version, _ = adopted(there, FOLDS + '\noof = "oof.npy"')
    assert any("no other preprocessing explains it" in note for note in version.notes)


@pytest.mark.slow
def test_a_small_difference_that_costs_score_is_refused(there):
    """One row whose answer turns, among rows that agree."""
    answers = there.oof()
    codes = np.arange(elsewhere.ROWS) % 3
    wrong = np.flatnonzero(answers.argmax(1) != codes)[:2]
    answers[wrong] = np.eye(3)[codes[wrong]]
    np.save(there.root / "oof.npy", answers)
    error = refused(there, GateError, FOLDS + '\noof = "oof.npy"')
    assert "max_score_drop" in error.remedy or "none of the candidates explains it" in error.remedy


def damaged(there, change):
    change(there.root)
    return there


@pytest.mark.parametrize(
    ("change", "lines", "told"),
    [
        (lambda root: (root / "w/net-f1.pth").unlink(), FOLDS, "another number of checkpoints"),
        (lambda root: (root / "w/net-f0.pth").replace(root / "w/net-f9.pth"), "", "another number of checkpoints"),
        (lambda root: (root / "w/net-f1.pth").write_bytes((root / "w/net-f0.pth").read_bytes()), FOLDS, "same weights"),
        (lambda root: (root / "w/net-f1.pth").write_bytes((root / "w/net-f1.pth").read_bytes()[:90000]), FOLDS, "cannot be read"),
        (lambda root: (root / "folds.csv").write_text("id,fold\nx000,0\n"), FOLDS, "have no fold"),
        (lambda root: (root / "folds.csv").write_text("id,part\nx000,0\n"), FOLDS, "no column 'fold'"),
        (lambda root: (root / "folds.csv").unlink(), FOLDS, "not there"),
        (lambda root: (root / "folds.csv").write_text("id,fold\nx000,1.5\n"), FOLDS, "whole number"),
        (lambda root: (root / "folds.csv").write_text("id,fold\nx000,inf\n"), FOLDS, "whole number"),
        (lambda root: (root / "folds.csv").write_text("id,fold\nx000,1\nx000,1\n"), FOLDS, "stand twice"),
        (lambda root: (root / "held.csv").write_text("id\nnobody\n"), 'holdout = "held.csv"', "not in the training table"),
        (lambda root: np.save(root / "oof.npy", np.zeros((7, 3))), FOLDS + '\noof = "oof.npy"', "another shape"),
        (lambda root: np.save(root / "oof.npy", np.array([None])), FOLDS + '\noof = "oof.npy"', "array of numbers"),
        (lambda _: None, 'checkpoints = "w/nett-f{fold}.pth"', "no checkpoint has such a name"),
        (lambda _: None, 'checkpoints = "w/net.pth"', "not there"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_leaves_nothing(there, change, lines, told):
    assert told in str(refused(damaged(there, change), UserError, lines, cv="[cv]\nfolds = 3" if not lines else ""))


def test_an_interrupted_adoption_leaves_no_version(there):
    def stop(done, _, text):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt.adopt(there.config(FOLDS), there.workspace, "net", report=stop)
    assert list(there.workspace.weights("net").iterdir()) == []
    killed = there.workspace.weights("net") / ".v001.abcdef"  # what a kill would have left
    killed.mkdir()
    version, _ = adopted(there, FOLDS)
    assert version.version == "v001"
    assert not killed.exists()


def test_a_kernel_is_trained_or_adopted(there):
    with pytest.raises(UserError, match="trained elsewhere") as caught:
        stage.train(there.config(FOLDS), there.workspace, "net")
    assert caught.value.remedy == "kkb adopt net"
    config = there.config(FOLDS)
    plain = config.model_copy(
        update={"model": tuple(m.model_copy(update={"checkpoints": "", "folds": ""}) for m in config.model)}
    )
    with pytest.raises(UserError, match="no weights to adopt"):
        adopt.adopt(plain, there.workspace, "net")


@pytest.mark.parametrize(
    ("code", "told", "line"),
    [
        ("def build(:\n", "SyntaxError", 1),
        ("import nothing_like_this\n", "nothing_like_this", 1),
        ("def build(classes):\n    return 1 / 0\n", "division", 2),
        ("def build(classes):\n    raise SystemExit(3)\n", "SystemExit", 2),
        ("def build(classes):\n    return 5\n", "a int", 0),
        ("def other(classes):\n    return 5\n", "other", 0),
        ("def build(classes, width):\n    return 5\n", "width", 0),
    ],
)
def test_a_fault_of_the_user_s_code_is_the_user_s_with_its_line(there, code, told, line):
    folder = there.workspace.kernels / "net"
    folder.mkdir(parents=True)
    (folder / "models.py").write_text(code)
    error = refused(there, UserError, FOLDS, source='build = "models.py:build"')
    assert told in str(error)
    assert not line or error.file.endswith(f"models.py:{line}")


@pytest.mark.parametrize(
    ("forward", "told"),
    [
        ("return self.head(x.mean((2, 3)))", ""),
        ("return self.head(x.mean((2, 3))).softmax(1)", "probabilities"),
        ("return {'logits': self.head(x.mean((2, 3)))}", "a dict"),
        ("return self.head(x)", "models.py:10"),
        ("return self.head(x.mean((2, 3)))[:, :2]", "2 outputs, the target has 3 classes"),
        ("return self.head(x.mean((2, 3))) / 0", "not finite"),
    ],
)
def test_what_a_network_answers_is_tried_before_anything_is_kept(there, forward, told):
    import torch

    folder = there.workspace.kernels / "net"
    folder.mkdir(parents=True)
    code = ["import torch", "", "class Net(torch.nn.Module):", "    def __init__(self, classes):", "        super().__init__()"]
    code += [
        "        self.head = torch.nn.Linear(3, classes)",
        "",
        "    def forward(self, x):",
        "        pass",
        f"        {forward}",
    ]
    (folder / "models.py").write_text("\n".join(code))
    torch.save(torch.nn.ModuleDict({"head": torch.nn.Linear(3, 3)}).state_dict(), there.root / "w/head.pth")
    lines = 'checkpoints = "w/head.pth"'
    if told:
        assert told in str(refused(there, UserError, lines, source='build = "models.py:Net"'))
    else:
        assert adopted(there, lines, source='build = "models.py:Net"')[1]


@pytest.mark.slow
def test_models_of_a_version_share_their_folds(there):
    second = 'checkpoints = "w/net-f{fold}.pth"\nfolds = "folds.csv"\n[[model]]\nname = "other"\nbackbone = "timm/test_resnet"\n'
    elsewhere.write_csv(there.root / "held.csv", ["id"], [(elsewhere.name(0),), (elsewhere.name(1),)])
    error = refused(there, UserError, second + 'checkpoints = "w/net-f{fold}.pth"\nholdout = "held.csv"')
    assert "share their folds" in error.what
    version, _ = adopted(there, second + 'checkpoints = "w/net-f0.pth"')
    net, other = version.models
    assert (net.score is None, other.score, [point.fold for point in other.checkpoints]) == (False, None, [-1])


def test_a_file_that_is_not_there_is_named(there):
    error = refused(there, ConfigError, FOLDS, source='build = "modles.py:build"')
    assert error.file.endswith("modles.py")
