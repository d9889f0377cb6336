"""What a competition's files tell about its aim: the targets, what they hold, the form of the submission and the metric."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder import competition, config, scaffold
from builder.competition import columns
from builder.config import IMAGES, TABLES, TEXTS, Data
from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS

from . import competitions

ROWS, TESTED = 60, ("t0", "t1", "t2")
TAGS = ("sky", "tree", "sky tree", "", "dog sky", "dog")


def cycle(*values):
    return list(itertools.islice(itertools.cycle(map(str, values)), ROWS))


def write(root, targets, answers, *, keys=(), more=None):
    """`targets`: column -> cells of the training rows; `answers`: column -> the cell of every row of the sample."""
    read = {"age": cycle(*range(7)), "port": cycle("S", "C")} | (more or {})
    rows = zip([f"r{row}" for row in range(ROWS)], *read.values(), *targets.values(), strict=True)
    competitions.table(root / "train.csv", ["id", *read, *targets], rows)
    competitions.table(root / "test.csv", ["id", *read], ([name, *(column[0] for column in read.values())] for name in TESTED))
    competitions.table(
        root / "sample_submission.csv",
        [("key" if keys else "id"), *answers],
        ([key, *answers.values()] for key in keys or TESTED),
    )
    return root


def long(*labels):
    return [f"{name}_{label}" for label in labels for name in TESTED]


P, Q = cycle(0, 1, 1), cycle(1, 0)
AIMS = {
    "one class": ({"y": cycle("a", "b")}, {"y": "a"}, (), ("y", CLASSES, 2, "labels", "accuracy")),
    "names with blanks": ({"y": cycle("New York", "Rome")}, {"y": "Rome"}, (), ("y", CLASSES, 2, "labels", "accuracy")),
    "one of two": ({"y": P}, {"y": "0.5"}, (), ("y", CLASSES, 2, "probability", "auc")),
    "a column for each class": (
        {"y": cycle("a", "b", "c")}, {"c": "0", "a": "0", "b": "1"}, (), ("y", CLASSES, 3, "columns", "logloss"),
    ),
    "grades": ({"y": cycle(*range(5))}, {"y": "0"}, (), ("y", CLASSES, 5, "labels", "accuracy")),
    "labels in columns": ({"p": P, "q": Q}, {"q": "0.5", "p": "0.5"}, (), (("q", "p"), MULTILABEL, 2, "columns", "mean(auc)")),
    "labels written as floats": (
        {"p": cycle("0.0", "1.0"), "q": Q}, {"p": "0", "q": "0"},
        (),
        (("p", "q"), MULTILABEL, 2, "columns", "mean(auc)"),
    ),
    "labels beside other columns": (
        {"source": cycle("web", "book"), "p": P, "q": Q}, {"p": "0", "q": "0"},
        (),
        (("p", "q"), MULTILABEL, 2, "columns", "mean(auc)"),
    ),
    "labels in the long form": (
        {"p": P, "q": Q}, {"value": "0.5"}, long("p", "q"), (("p", "q"), MULTILABEL, 2, "long", "mean(auc)"),
    ),
    "names of labels": ({"tags": cycle(*TAGS)}, {"tags": "sky dog"}, (), ("tags", MULTILABEL, 3, "strings", "f1_samples")),
    "names of labels, the sample has one": (
        {"tags": cycle(*TAGS)}, {"tags": "dog"}, (), ("tags", MULTILABEL, 3, "strings", "f1_samples"),
    ),
    "names of labels, a sample in other words": (
        {"tags": cycle("a b", "c d")}, {"tags": "a c"}, (), ("tags", MULTILABEL, 4, "strings", "f1_samples"),
    ),
    "names of labels, asked in columns": (
        {"tags": cycle("a b", "c")}, {"a": "0", "b": "0", "c": "0.1"}, (), ("tags", MULTILABEL, 3, "columns", "mean(auc)"),
    ),
    "names of labels, asked one by one": (
        {"tags": cycle("a b", "c")}, {"p": "0.1"}, long("b", "c", "a"), ("tags", MULTILABEL, 3, "long", "mean(auc)"),
    ),
    "classes, asked one by one": (
        {"y": cycle("a", "b", "c")}, {"p": "0"}, long("a", "b", "c"), ("y", CLASSES, 3, "long", "logloss"),
    ),
    "a scale": ({"y": [f"{row}.5" for row in range(ROWS)]}, {"y": "0"}, (), ("y", NUMBERS, 1, "numbers", "rmse")),
    "halves": ({"y": cycle("0.5", "1.0", "1.5")}, {"y": "1"}, (), ("y", NUMBERS, 1, "numbers", "rmse")),
    "whole numbers, a mean is asked": ({"y": cycle(*range(9))}, {"y": "4.25"}, (), ("y", NUMBERS, 1, "numbers", "rmse")),
    "a price called otherwise": (
        {"y": [f"{row}.5" for row in range(ROWS)]}, {"price": "0"}, (), ("y", NUMBERS, 1, "numbers", "rmse"),
    ),
    "several numbers": (
        {"y": cycle("0.5", "2"), "z": cycle(*range(9))}, {"y": "0", "z": "0"}, (), (("y", "z"), NUMBERS, 2, "numbers", "rmse"),
    ),
    "numbers in the long form": (
        {"y": cycle("0.5", "2"), "z": cycle(*range(9))}, {"v": "0"}, long("y", "z"), (("y", "z"), NUMBERS, 2, "long", "rmse"),
    ),
    "heads": (
        {"kind": cycle("a", "b", "c"), "size": Q},
        {"kind": "a", "size": "1"},
        (),
        (("kind", "size"), CLASSES, 5, "heads", "accuracy"),
    ),
    "classes and numbers": (
        {"kind": cycle("a", "b", "c"), "price": cycle("0.5", "7"), "size": Q},
        {"kind": "a", "size": "1", "price": "0.0"},
        (),
        (
            ("kind", "size", "price"), {"kind": CLASSES, "size": CLASSES, "price": NUMBERS}, 6, "heads",
            "kind=accuracy, size=accuracy, price=r2",
        ),
    ),
    "classes and numbers in the long form": (
        {"kind": cycle("a", "b", "c"), "price": cycle("0.5", "7")},
        {"value": "0"},
        long("kind", "price"),
        (("kind", "price"), {"kind": CLASSES, "price": NUMBERS}, 4, "long-heads", "kind=accuracy, price=r2"),
    ),
    "heads in the long form": (
        {"kind": cycle("a", "b", "c"), "size": cycle("s", "m")},
        {"value": "a"},
        long("kind", "size"),
        (("kind", "size"), CLASSES, 5, "long-heads", "accuracy"),
    ),
    "heads of grades": (
        {"kind": cycle(*range(4)), "size": Q},
        {"kind": "0", "size": "1"},
        (),
        (("kind", "size"), CLASSES, 6, "heads", "accuracy"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("aim", AIMS)
def test_the_aim_is_told_by_the_files(tmp_path, aim):
    targets, answers, keys, expected = AIMS[aim]
    found = competition.propose(write(tmp_path, targets, answers, keys=keys))
    assert (found.target, found.truth, found.classes, found.form, found.metric) == expected
    assert (found.id, found.task, found.columns) == ("id", TABLES, ("age", "port"))
    if isinstance(found.truth, dict):
        assert "price is measured in numbers" in found.why
        return
    told = {MULTILABEL: "labels", NUMBERS: "measured"}.get(found.truth, "kind, size" if "heads" in found.form else "")
    assert told in found.why


@pytest.mark.parametrize("aim", AIMS)
def test_what_is_written_for_the_aim_loads_and_reads_its_rows(workspace, aim):
    targets, answers, keys, _ = AIMS[aim]
    root = write(workspace.private / "data" / "tiny", targets, answers, keys=keys)
    path, proposal = scaffold.new(workspace, "kernel", "tiny", "")
    found = config.load(path.parent)
    assert found.data.complete
    assert (found.data.target, found.data.truth) == (proposal.target, proposal.truth)
    assert found.competition.metric == proposal.metric
    rows = competition.train_rows(found, root)
    assert len(rows.classes) == proposal.classes
    assert len(rows.y) == ROWS
    assert all(name not in cells for name in found.data.targets for cells in rows.cells)


@pytest.mark.parametrize("truth", [CLASSES, MULTILABEL, NUMBERS])
def test_a_truth_that_a_person_chose_stays(tmp_path, truth):
    write(tmp_path, {"p": P, "q": Q}, {"p": "0", "q": "0"})
    found = competition.propose(tmp_path, known=Data(truth=truth))
    assert found.truth == truth
    assert found.form == {CLASSES: "heads", MULTILABEL: "columns", NUMBERS: "numbers"}[truth]


def test_targets_that_a_person_chose_stay(tmp_path):
    write(tmp_path, {"p": P, "q": Q, "kind": cycle("a", "b"), "size": cycle(1, 2)}, {"kind": "a", "size": "1"})
    assert competition.propose(tmp_path, known=Data(target=("kind", "size"))).form == "heads"
    with pytest.raises(UserError, match=r"data\.target names a column") as caught:
        competition.propose(tmp_path, known=Data(target=("kind", "sise")))
    assert "'size'" in caught.value.remedy
    with pytest.raises(UserError, match="other columns than there are targets"):
        competition.propose(tmp_path, known=Data(target=("p", "kind")))


def test_columns_that_the_sample_names_in_part_decide_nothing(tmp_path):
    write(tmp_path, {"p": P, "q": Q}, {"p": "0", "q": "0", "r": "0"})
    with pytest.raises(UserError, match="which column is the target") as caught:
        competition.propose(tmp_path)
    assert "p, q" in caught.value.found


def test_texts_and_images_have_the_same_aims(tmp_path):
    text = cycle("I liked this film a lot", "what a dull and endless story", "the actors are better than the plot")
    more = {"document": [f"{text[row]} {row}" for row in range(ROWS)]}
    found = competition.propose(write(tmp_path / "t", {"p": P, "q": Q}, {"p": "0", "q": "0"}, more=more))
    assert (found.task, found.text, found.truth) == (TEXTS, ("document",), MULTILABEL)
    root = competitions.write(tmp_path / "i", classes=tuple(f"{row}.25" for row in range(60)))
    found = competition.propose(root)
    assert (found.task, found.truth, found.metric) == (IMAGES, NUMBERS, "rmse")


def test_open_keys_are_not_filled_with_another_truth(tmp_path):
    """A kernel without a target that never asked for numbers would be scored as classes."""
    found = competition.propose(write(tmp_path, {"y": cycle("0.5", "2.5")}, {"y": "0"}))
    with pytest.raises(UserError, match="the files are those of numbers") as caught:
        competition.filled(Data(task=TABLES), found)
    assert "kkb fetch" in caught.value.remedy
    assert competition.filled(Data(task=TABLES, truth=NUMBERS), found).target == "y"
    assert competition.filled(Data(task=TABLES, target="y"), found).truth == CLASSES


CELLS = st.one_of(st.sampled_from(["0", "1", "", "a", "b", "a b", "0.5", "nan", "1e400", "[", '["a"]']), st.text(max_size=4))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_files_are_understood_or_refused(tmp_path, data):
    """Never a traceback: whatever stands in the three tables."""
    names = st.lists(st.sampled_from(["id", "key", "x", "y", "z", "a", "b", "0"]), min_size=1, max_size=5, unique=True)
    for file in ("train.csv", "test.csv", "sample_submission.csv"):
        header = data.draw(names)
        row = st.lists(CELLS, min_size=len(header), max_size=len(header))
        competitions.table(tmp_path / file, header, data.draw(st.lists(row, max_size=6)))
    try:
        found = competition.propose(tmp_path)
    except UserError as error:
        assert error.file  # noqa: PT017  either way is right
    else:
        assert found.target
        assert found.metric


SCALES = {
    "fractions": (["0.5", "1", "1"], True),
    "whole numbers, hardly ever the same": ([str(row * row) for row in range(40)], True),
    "grades": ([str(row % 5) for row in range(100)], False),
    "codes of many classes": ([str(row % 30) for row in range(100)], False),
    "codes of many classes with gaps": ([str(7 * (row % 30)) for row in range(100)], False),
    "codes of very many classes": ([str(row % 300) for row in range(900)], False),
    "counts": ([str(row % 300 + row % 300 // 7) for row in range(900)], True),
    "a gap": (["0.5", "", "1"], False),
    "not a number": (["0.5", "nan"], False),
    "names": (["a", "b"], False),
}


@pytest.mark.parametrize("kind", SCALES)
def test_a_scale_has_fractions_or_hardly_ever_the_same_number(kind):
    cells, expected = SCALES[kind]
    assert columns.is_scale(cells) == expected
