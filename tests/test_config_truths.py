"""kernel.toml of several labels, numbers and several heads: what it may say, and what does not fit together."""

import pytest

from builder import config
from builder.config import IMAGES, TABLES, TEXTS
from builder.errors import ConfigError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS

BACKBONES = {IMAGES: "timm/test_resnet", TEXTS: "text/linear", TABLES: "table/mlp"}
METRICS = {CLASSES: "accuracy", MULTILABEL: "mean(auc)", NUMBERS: "rmse"}


def text(target, truth=CLASSES, *, metric="", task=TABLES, backbone="", model="", more=""):
    return (
        f'[competition]\nslug = "tiny"\nmetric = "{metric or METRICS[truth]}"\n[data]\ntask = "{task}"\nid = "id"\n'
        f'target = {target}\ntruth = "{truth}"\n{more}\n'
        f'[[model]]\nname = "one"\nbackbone = "{backbone or BACKBONES[task]}"\n{model}'
    )


def loaded(folder, written):
    (folder / "kernel.toml").write_text(written)
    return config.load(folder)


def refused(folder, written):
    with pytest.raises(ConfigError) as caught:
        loaded(folder, written)
    assert caught.value.file == str(folder / "kernel.toml")
    assert caught.value.remedy
    return str(caught.value)


@pytest.mark.parametrize("truth", METRICS)
@pytest.mark.parametrize("task", BACKBONES)
@pytest.mark.parametrize("target", ['"y"', '["y", "z"]'])
def test_every_truth_can_be_said_of_every_task(tmp_path, task, truth, target):
    found = loaded(tmp_path, text(target, truth, task=task))
    assert (found.data.truth, found.data.targets) == (truth, ("y", "z") if "z" in target else ("y",))


def test_a_list_of_one_is_that_one(tmp_path):
    one, listed = (loaded(tmp_path, text(target)) for target in ('"y"', '["y"]'))
    assert one == listed
    assert one.model_dump(mode="json") == listed.model_dump(mode="json")
    assert "truth" not in one.model_dump()["data"]
    several = loaded(tmp_path, text('["y", "z"]', MULTILABEL)).model_dump(mode="json")["data"]
    assert (several["target"], several["truth"]) == (["y", "z"], MULTILABEL)


@pytest.mark.parametrize("truth", METRICS)
def test_weights_that_were_trained_elsewhere_may_answer_anything(tmp_path, truth):
    for target in ('"y"', '["y", "z"]'):
        assert loaded(tmp_path, text(target, truth, task=IMAGES, model='checkpoints = "w.pt"\n')).model[0].checkpoints


@pytest.mark.parametrize(
    ("metric", "target", "truth"),
    [
        ("kind=accuracy, size=f1_macro", '["kind", "size"]', CLASSES),
        ("size=logloss,kind=logloss", '["kind", "size"]', CLASSES),
        ("f1_samples", '"tags"', MULTILABEL),
        ("mean(rmse)", '["a", "b"]', NUMBERS),
    ],
)
def test_metrics_that_fit_are_taken(tmp_path, metric, target, truth):
    assert loaded(tmp_path, text(target, truth, metric=metric)).competition.metric == metric


def test_a_metric_for_each_waits_for_the_targets(tmp_path):
    """Before `kkb fetch` nobody knows them."""
    open_ = text('"y"', metric="kind=accuracy, size=mcc").replace('target = "y"\n', "")
    assert loaded(tmp_path, open_).data.targets == ()


BOTH = '["kind", "size"]'
FAULTS = {
    "no column": (text("[]"), ("'data.target'", "[]", 'such as ["kind", "size"]')),
    "a column without a name": (text('["y", ""]'), ("'data.target'", "['y', '']")),
    "a number as a column": (text("3"), ("'data.target'", "found: 3", "the name of a column")),
    "a number among columns": (text('["y", 3]'), ("'data.target'", "['y', 3]")),
    "a column twice": (text('["y", "y"]'), ("'data.target'", "different columns")),
    "the id as a target": (text('["y", "id"]'), ("'data.target'", "not the id")),
    "a target that is read": (text('["y", "z"]', more='columns = ["z", "x"]'), ("'data.columns'", "the target, 'z'")),
    "a target as the group": (
        text('["y", "z"]', more='group = "z"\n[cv]\nscheme = "group"'), ("'data.group'", "the target, 'z'"),
    ),
    "a truth that there is not": (text('"y"').replace('"classes"', '"labels"'), ("'data.truth'", "'labels'", "multilabel")),
    "numbers and a metric of classes": (text('"y"', NUMBERS, metric="accuracy"), ("'accuracy'", "numbers", "rmse")),
    "labels and a metric of classes": (text(BOTH, MULTILABEL, metric="mcc"), ("'mcc'", "multilabel", "f1_samples")),
    "classes and a metric of numbers": (text('"y"', metric="rmse"), ("'rmse'", "classes", "accuracy")),
    "heads and a metric of labels": (text(BOTH, metric="f1_samples"), ("'f1_samples'", "classes", "accuracy")),
    "heads and a ranking": (text(BOTH, metric="map@3"), ("'map@3'", "rankings")),
    "one metric of another kind": (text(BOTH, metric="kind=accuracy, size=rmse"), ("'rmse'", "numbers", "classes")),
    "one metric of another truth": (text(BOTH, metric="kind=accuracy, size=r2"), ("'r2'", "numbers", "classes")),
    "a head that there is not": (text(BOTH, metric="kind=mcc, siez=mcc"), ("'siez'", "kind, size", "did you mean 'size'?")),
    "a head without a metric": (text(BOTH, metric="kind=mcc"), ("competition.metric", "size")),
    "a misspelt metric of a head": (text(BOTH, metric="kind=mcc, size=f1macro"), ("f1macro", "did you mean 'f1_macro'?")),
    "a metric for each of one": (text('"kind"', metric="kind=mcc"), ("one for each", "1 target, data.truth is classes")),
    "a metric for each label": (
        text(BOTH, MULTILABEL, metric="kind=auc, size=auc"), ("one for each", "2 targets, data.truth is multilabel"),
    ),
    "votes of labels": (text(BOTH, MULTILABEL, model='[inference]\nblend = "vote"\n'), ("'inference.blend'", "'vote'")),
    "a stack of heads": (text(BOTH, model='[inference]\nblend = "stack"\n'), ("'inference.blend'", "several classes", "auto")),
    "ranks of numbers": (text('"y"', NUMBERS, model='[inference]\nblend = "rank"\n'), ("'inference.blend'", "numbers", "mean")),
    "a stack of several numbers": (text(BOTH, NUMBERS, model='[inference]\nblend = "stack"\n'), ("'inference.blend'", "numbers")),
    "smoothed numbers": (text('"y"', NUMBERS, model="[train]\nlabel_smoothing = 0.1\n"), ("'train.label_smoothing'", "0.1")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_refused_with_its_key(tmp_path, fault):
    written, words = FAULTS[fault]
    said = refused(tmp_path, written)
    for word in words:
        assert word in said


def test_what_only_some_truths_have_is_taken_there(tmp_path):
    for backbone in ("table/lightgbm", "table/xgboost"):
        for target, truth in (('"y"', NUMBERS), (BOTH, NUMBERS), (BOTH, MULTILABEL), (BOTH, CLASSES)):
            assert loaded(tmp_path, text(target, truth, backbone=backbone))
    assert loaded(tmp_path, text('"y"', model='[inference]\nblend = "stack"\n'))
    assert loaded(tmp_path, text(BOTH, MULTILABEL, model='[inference]\nblend = "geometric"\n'))
    assert loaded(tmp_path, text(BOTH, model='[inference]\nblend = "weighted"\n'))
    assert loaded(tmp_path, text('"y"', NUMBERS, model="[train]\nlabel_smoothing = 0.0\n"))


THREE, MIXED = '["kind", "size", "price"]', '{ price = "numbers" }'
PER_HEAD = "kind=accuracy, size=f1_macro, price=rmse"


def mixed(target=THREE, table=MIXED, metric=PER_HEAD, **more):
    return text(target, metric=metric, **more).replace('truth = "classes"', f"truth = {table}")


def test_a_table_tells_the_truth_of_each_target_and_those_it_leaves_out_have_classes(tmp_path):
    found = loaded(tmp_path, mixed()).data
    assert found.truths == (CLASSES, CLASSES, NUMBERS)
    assert (found.mixed, found.headed) == (True, True)
    assert list(found.truth) == ["kind", "size", "price"]


def test_a_table_of_one_kind_is_that_kind(tmp_path):
    every = '{ kind = "numbers", size = "numbers" }'
    assert loaded(tmp_path, mixed(BOTH, every, "rmse")).data.truth == NUMBERS
    assert loaded(tmp_path, mixed(BOTH, '{ kind = "classes" }', "accuracy")).data.truth == CLASSES


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (mixed(table='{ prise = "numbers" }'), ("data.truth", "'prise'", "kind, size, price")),
        (mixed(table='{ price = "multilabel" }'), ("'data.truth'", "'multilabel'", "a column of 0 and 1")),
        (mixed(table="3"), ("'data.truth'", "3", "'numbers', or a table")),
        (mixed(metric="accuracy"), ("'accuracy'", "of price is numbers", "rmse", "kind=accuracy, price=r2")),
        (mixed(metric="kind=accuracy, size=rmse, price=rmse"), ("'rmse'", "of size is classes")),
        (mixed(metric="kind=accuracy, price=rmse"), ("competition.metric", "size")),
        (mixed(model='[inference]\nblend = "geometric"\n'), ("'inference.blend'", "classes and numbers")),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_key(tmp_path, written, words):
    said = refused(tmp_path, written)
    for word in words:
        assert word in said
