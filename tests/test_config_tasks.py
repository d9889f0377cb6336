"""kernel.toml of each task: what belongs to it, what is refused because it belongs to another, and old digests that stay."""

import json

import pytest

from builder import config
from builder.config import IMAGES, TABLES, TASKS, TEXTS
from builder.errors import ConfigError

HEAD = '[competition]\nslug = "tiny"\nmachine = "cpu"\n'
DATA = {
    IMAGES: 'id = "id"\ntarget = "y"\nimage = "{id}.png"\ntest_image = "{id}.png"\n',
    TEXTS: 'id = "id"\ntarget = "y"\ntext = ["document"]\n',
    TABLES: 'id = "id"\ntarget = "y"\n',
}
BACKBONE = {IMAGES: "timm/test_resnet", TEXTS: "text/lstm", TABLES: "table/mlp"}


def text(task, *, data="", model="", backbone="", more=""):
    return (
        HEAD
        + f'[data]\ntask = "{task}"\n{DATA[task]}{data}\n'
        + f'[[model]]\nname = "one"\nbackbone = "{backbone or BACKBONE[task]}"\n{model}\n{more}'
    )


def loaded(folder, written):
    (folder / "kernel.toml").write_text(written)
    return config.load(folder)


def refused(folder, written):
    with pytest.raises(ConfigError) as caught:
        loaded(folder, written)
    return caught.value


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_complete_form(tmp_path, task):
    found = loaded(tmp_path, text(task))
    assert found.data.task == task
    assert found.data.complete


@pytest.mark.parametrize("task", TASKS)
def test_a_key_that_only_the_files_can_tell_leaves_it_open(tmp_path, task):
    for line in DATA[task].splitlines():
        assert not loaded(tmp_path, text(task).replace(f"\n{line}\n", "\n")).data.complete, line


@pytest.mark.parametrize(
    ("task", "backbones"),
    [
        (IMAGES, ("timm/efficientnet_b0", "hf/vit")),
        (TEXTS, ("text/linear", "text/lstm", "text/gru", "hf/bert")),
        (TABLES, ("table/lightgbm", "table/xgboost", "table/mlp")),
    ],
)
def test_a_library_is_for_its_tasks(tmp_path, task, backbones):
    for other in TASKS:
        for backbone in backbones:
            written = text(other, backbone=backbone)
            if other == task or (backbone.startswith("hf/") and other != TABLES):
                assert loaded(tmp_path, written).model[0].backbone == backbone
                continue
            error = refused(tmp_path, written)
            assert "model.0.backbone" in error.what
            assert backbone in error.found
            assert BACKBONE[other].partition("/")[0] + "/" in error.expected


FOREIGN = {
    "image in a text task": (text(TEXTS, data='image = "{id}.png"'), "data.image", IMAGES),
    "image in a table task": (text(TABLES, data='test_image = "{id}.png"'), "data.test_image", IMAGES),
    "text in an image task": (text(IMAGES, data='text = ["a"]'), "data.text", TEXTS),
    "text in a table task": (text(TABLES, data='text = ["a"]'), "data.text", TEXTS),
    "columns in a text task": (text(TEXTS, data='columns = ["a"]'), "data.columns", TABLES),
    "input of a text": (text(TEXTS, model="input = { size = 32 }"), "model.0.input", IMAGES),
    "input of a table": (text(TABLES, model="input = { size = 32 }"), "model.0.input", IMAGES),
    "tokens of an image": (text(IMAGES, model="text = { length = 64 }"), "model.0.text", TEXTS),
    "tokens of a table": (text(TABLES, model="text = { length = 64 }"), "model.0.text", TEXTS),
    "adopted text": (text(TEXTS, model='checkpoints = "w.pt"'), "model.0.checkpoints", IMAGES),
    "flipped text": (text(TEXTS, more='[train]\naugment = ["hflip"]\n'), "train.augment", IMAGES),
}


@pytest.mark.parametrize("fault", FOREIGN)
def test_a_key_of_another_task_is_refused_and_says_of_which(tmp_path, fault):
    written, key, task = FOREIGN[fault]
    error = refused(tmp_path, written)
    assert f"'{key}'" in error.what
    assert task in error.expected
    assert task in error.remedy


UNFIT = {
    "group without its column": (text(TEXTS, more='[cv]\nscheme = "group"\n'), "cv.scheme", "set data.group"),
    "stratified-group without its column": (text(TABLES, more='[cv]\nscheme = "stratified-group"\n'), "cv.scheme", "data.group"),
    "time without its column": (text(IMAGES, more='[cv]\nscheme = "time"\n'), "cv.scheme", "set data.time"),
    "a group that nobody looks at": (text(TEXTS, data='group = "g"'), "data.group", "stratified-group"),
    "a time that nobody looks at": (text(TEXTS, data='time = "t"'), "data.time", 'cv.scheme = "time"'),
    "the target as a text": (text(TEXTS).replace('["document"]', '["document", "y"]'), "data.text", "change the value"),
    "the target as a column": (text(TABLES, data='columns = ["y"]'), "data.columns", "change the value"),
    "a column twice": (text(TABLES, data='columns = ["a", "a"]'), "data.columns", "change the value"),
    "the target as the group": (
        text(TABLES, data='group = "y"', more='[cv]\nscheme = "group"\n'), "data.group", "change the value",
    ),
    "a misspelt model": (text(TABLES, backbone="table/lightgmb"), "model.0.backbone", "did you mean 'table/lightgbm'?"),
    "a library without a name": (text(IMAGES, backbone="timm/"), "model.0.backbone", "change the value"),
    "tokens of a model that counts": (
        text(TEXTS, backbone="text/linear", model="text = { length = 64 }"), "model.0.text", "remove it",
    ),
    "a vocabulary of its own": (
        text(TEXTS, backbone="hf/bert", model="text = { vocabulary = 500 }"), "model.0.text.vocabulary", "remove it",
    ),
    "layers of a model without any": (text(TABLES, more="[train]\nlayer_decay = 0.8\n"), "train.layer_decay", "remove it"),
    "a flipped text": (text(TEXTS, more='[inference]\nviews = ["identity", "hflip"]\n'), "inference.views", "change the value"),
    "the end of counted terms": (
        text(TEXTS, backbone="text/linear", more='[inference]\nviews = ["identity", "tail"]\n'), "inference.views", "change",
    ),
    "another view of a table": (
        text(TABLES, more='[inference]\nviews = ["identity", "tail"]\n'), "inference.views", "change the value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNFIT)
def test_what_does_not_fit_together_is_refused_with_its_key(tmp_path, fault):
    written, key, remedy = UNFIT[fault]
    error = refused(tmp_path, written)
    assert f"'{key}'" in error.what
    assert error.file == str(tmp_path / "kernel.toml")
    assert error.expected
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("key", "value"), [("length", "0"), ("length", '"long"'), ("side", '"middle"'), ("vocabulary", "10"), ("lenght", "64")]
)
def test_a_wrong_value_of_tokens_is_named(tmp_path, key, value):
    error = refused(tmp_path, text(TEXTS, model=f"text = {{ {key} = {value} }}"))
    assert key in error.what
    assert "text" in error.what


def test_views_of_texts_are_those_of_the_runtime(tmp_path):
    names = ("identity", "tail", "identity@64", "tail@256")
    found = loaded(tmp_path, text(TEXTS, more=f"[inference]\nviews = {json.dumps(names)}\n"))
    assert found.inference.views == names
    assert config.views_for(found, found.model[0]) == names


def test_a_model_that_counts_terms_has_one_view_beside_others_that_have_more(tmp_path):
    more = '[[model]]\nname = "two"\nbackbone = "text/linear"\n[inference]\nviews = ["identity", "tail"]\n'
    found = loaded(tmp_path, text(TEXTS, more=more))
    assert [config.views_for(found, model) for model in found.model] == [("identity", "tail"), ("identity",)]
    assert [config.kind_of(found, model) for model in found.model] == ["tokens", "terms"]


@pytest.mark.parametrize("scheme", ["stratified", "random", "group", "stratified-group", "time"])
def test_every_scheme_can_be_said_in_every_task(tmp_path, scheme):
    column = {"group": 'group = "g"', "stratified-group": 'group = "g"', "time": 'time = "t"'}.get(scheme, "")
    for task in TASKS:
        assert loaded(tmp_path, text(task, data=column, more=f'[cv]\nscheme = "{scheme}"\n')).cv.scheme == scheme


def test_a_recipe_is_that_of_its_model_unless_it_was_written_down(tmp_path):
    found = loaded(tmp_path, text(TEXTS, more='[train]\nlr = 0.5\nseed = 7\n[[model]]\nname = "two"\nbackbone = "text/linear"\n'))
    recurrent, linear = (config.recipe_for(found, model) for model in found.model)
    assert (recurrent.lr, recurrent.seed) == (0.5, 7)
    assert (linear.epochs, linear.seed) == (1, 7)
    untold = loaded(tmp_path, text(TEXTS))
    usual = config.recipe_for(untold, untold.model[0])
    assert (recurrent.epochs, recurrent.batch_size, recurrent.weight_decay) == (
        usual.epochs,
        usual.batch_size,
        usual.weight_decay,
    )
    assert usual.augment == ()
    pictures = loaded(tmp_path, text(IMAGES))
    assert config.recipe_for(pictures, pictures.model[0]) == pictures.train == config.Train()


def test_younger_keys_are_in_no_digest_of_a_kernel_that_does_not_use_them(tmp_path):
    """Versions and plans are named by these dumps: a key that came later must rename none of them."""
    dumped = loaded(tmp_path, text(IMAGES)).model_dump(mode="json")
    assert set(dumped["data"]) == {
        "root", "task", "train", "test", "sample_submission", "id", "target", "image", "test_image",
    }  # fmt: skip
    assert set(dumped["model"][0]) == {
        "name", "backbone", "build", "pretrained", "arguments", "input", "checkpoints", "folds", "holdout", "oof",
    }  # fmt: skip
    assert set(dumped["train"]) == {"epochs", "batch_size", "lr", "weight_decay", "label_smoothing", "augment", "seed"}
    assert set(dumped["cv"]) == {"scheme", "folds", "seed"}


def test_younger_keys_that_are_used_are_in_the_dump(tmp_path):
    written = text(TEXTS, data='group = "g"', model="text = { length = 64 }", more='[cv]\nscheme = "group"\n')
    found = loaded(tmp_path, written)
    dumped = found.model_dump(mode="json", by_alias=True)
    assert (dumped["data"]["text"], dumped["data"]["group"]) == (["document"], "g")
    assert dumped["model"][0]["text"]["length"] == 64


COLUMNS, TITLE = 'columns = ["age", "site"]\n', 'text = ["title"]\n'


@pytest.mark.parametrize(
    ("task", "data", "beside"),
    [
        (IMAGES, COLUMNS, ["table/mlp"]),
        (IMAGES, TITLE, ["text/gru"]),
        (IMAGES, COLUMNS + TITLE, ["hf/bert", "table/mlp"]),
        (TEXTS, COLUMNS, ["table/mlp"]),
    ],
)
def test_networks_stand_beside_a_backbone_and_read_what_it_does_not(tmp_path, task, data, beside):
    found = loaded(tmp_path, text(task, data=data, model=f"beside = {json.dumps(beside)}\n"))
    assert found.model[0].beside == tuple(beside)
    assert config.reads_cells(found)
    assert len(set(config.kinds_of(found, found.model[0]))) == 1 + len(beside)


@pytest.mark.parametrize(
    ("task", "data", "model", "backbone", "more", "key", "found"),
    [
        (IMAGES, "", 'beside = ["table/mlp"]\n', "", "", "model.0.beside", "without data.columns"),
        (IMAGES, COLUMNS, "", "", "", "data.columns", "image-classification"),
        (IMAGES, COLUMNS, 'beside = ["table/lightgbm"]\n', "", "", "model.0.beside", "table/lightgbm"),
        (IMAGES, TITLE, 'beside = ["text/gru", "text/lstm"]\n', "", "", "model.0.beside", "text/lstm"),
        (TEXTS, "", 'beside = ["text/gru"]\n', "", "", "model.0.beside", "text/gru"),
        (TEXTS, COLUMNS, 'beside = ["table/mlp"]\n', "text/linear", "", "model.0.beside", "text/linear"),
        (TABLES, COLUMNS, 'beside = ["table/mlp"]\n', "", "", "model.0.beside", "tabular-classification"),
        (TEXTS, COLUMNS, 'beside = ["table/mlp"]\ncheckpoints = "w/x.pt"\n', "hf/bert", "", "model.0.beside", "checkpoints"),
        (IMAGES, COLUMNS, 'beside = ["table/mlp"]\n', "", "[train]\nlayer_decay = 0.8\n", "train.layer_decay", "0.8"),
    ],
)
def test_what_cannot_stand_beside_a_backbone_is_refused(tmp_path, task, data, model, backbone, more, key, found):
    error = refused(tmp_path, text(task, data=data, model=model, backbone=backbone, more=more))
    assert key in str(error)
    assert found in str(error)
    assert error.remedy
