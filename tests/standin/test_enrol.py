"""A competition is taken whole or not at all, and its solution stays out of both mounts."""

import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from builder.errors import UserError
from builder.standin import control
from builder.standin.home import Home, files_below
from tests.standin.conftest import write_competition, write_table


@pytest.fixture
def parts(tmp_path):
    return write_competition(tmp_path / "competition")


def add(tmp_path, parts, **changes):
    values = {"slug": "tiny-comp", "data": parts[0], "hidden": parts[1], "metric": "accuracy", **changes}
    return control.add_competition(tmp_path / "home", **values)


def names(folder):
    return [path.as_posix() for path in files_below(folder)]


def test_the_mounts_hold_what_they_should(tmp_path, parts):
    (parts[0] / "train_images").mkdir()
    (parts[0] / "train_images/1.png").write_bytes(b"1")
    (parts[1] / "test_images").mkdir()
    (parts[1] / "test_images/100.png").write_bytes(b"100")
    assert add(tmp_path, parts)["rows"] == 10
    home = Home((tmp_path / "home").resolve())
    assert names(home.visible("tiny-comp")) == ["sample_submission.csv", "test.csv", "train.csv", "train_images/1.png"]
    expected = ["sample_submission.csv", "test.csv", "test_images/100.png", "train.csv", "train_images/1.png"]
    assert names(home.hidden("tiny-comp")) == expected
    assert (home.hidden("tiny-comp") / "test.csv").read_text() == (parts[1] / "test.csv").read_text()
    assert (home.visible("tiny-comp") / "test.csv").read_text() == (parts[0] / "test.csv").read_text()
    # What both share lies on the disk once.
    assert (home.hidden("tiny-comp") / "train.csv").samefile(home.visible("tiny-comp") / "train.csv")


@pytest.mark.parametrize("wrapped", [False, True])
def test_zips_are_taken_like_folders(tmp_path, parts, wrapped):
    root = "." if not wrapped else None
    archives = []
    for part in parts:
        base = part if not wrapped else part.parent
        archives.append(shutil.make_archive(str(tmp_path / part.name), "zip", base, root or part.name))
    assert add(tmp_path, archives_as_paths(archives))["rows"] == 10


def archives_as_paths(archives):
    return tuple(Path(name) for name in archives)


def test_adding_the_same_again_changes_nothing_and_other_data_replaces_it(tmp_path, parts):
    assert add(tmp_path, parts)["changed"]
    assert not add(tmp_path, parts)["changed"]
    assert add(tmp_path, parts, daily=7)["changed"]
    write_competition(parts[0].parent, hidden_rows=20)
    again = add(tmp_path, parts, daily=7)
    assert (again["changed"], again["rows"]) == (True, 20)
    assert len(control.status(tmp_path / "home")["competitions"]) == 1


def test_an_existing_folder_is_closed_to_other_users(tmp_path, parts):
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o755)
    add(tmp_path, parts)
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["secret.txt", "deep/secret.txt", "secrets", "linked/secret.txt", ".cache/deep/secret.txt"])
def test_a_link_out_of_the_folder_is_refused_by_name(tmp_path, parts, name):
    (tmp_path / "secret.txt").write_text("secret")
    link = parts[0] / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path if name == "secrets" else tmp_path / "secret.txt")
    if name.startswith(".cache"):
        (parts[0] / "through").symlink_to(".cache/deep")  # a name that is left out, reached by another
    with pytest.raises(UserError, match="a link leads out of the folder") as caught:
        add(tmp_path, parts)
    assert caught.value.found == f"{name} -> {link.readlink()}"
    assert list((tmp_path / "home" / "competitions").glob("*")) == []


def test_a_link_that_leads_nowhere_is_refused_by_name(tmp_path, parts):
    (parts[1] / "dangling").symlink_to("missing")
    with pytest.raises(UserError, match=r"nowhere\n.*dangling -> missing"):
        add(tmp_path, parts)


def test_links_within_the_folder_are_followed_and_what_is_left_out_may_lead_anywhere(tmp_path, parts):
    (parts[0] / ".blobs").mkdir()
    (parts[0] / ".blobs/1").write_text("one")
    (parts[0] / "one.txt").symlink_to(".blobs/1")
    (parts[0] / ".elsewhere").symlink_to("/etc")
    add(tmp_path, parts)
    copied = Home((tmp_path / "home").resolve()).visible("tiny-comp")
    assert (copied / "one.txt").read_text() == "one"
    assert names(copied) == ["one.txt", "sample_submission.csv", "test.csv", "train.csv"]


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt", "a/.."])
def test_a_zip_entry_that_leads_out_is_refused_by_name(tmp_path, parts, name):
    zipped = Path(shutil.make_archive(str(tmp_path / "data"), "zip", parts[0]))
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(UserError, match="leads out") as caught:
        add(tmp_path, (zipped, parts[1]))
    assert caught.value.found == name
    assert list((tmp_path / "home" / "competitions").glob("*")) == []


def test_a_zip_entry_with_dots_in_its_name_is_a_name(tmp_path, parts):
    (parts[0] / "a..b").mkdir()
    (parts[0] / "a..b/..c").write_text("c")
    assert add(tmp_path, (Path(shutil.make_archive(str(tmp_path / "data"), "zip", parts[0])), parts[1]))["train_files"] == 4


def without(name):
    return lambda _, hidden: (hidden / name).unlink()


def solution(header, rows):
    return lambda _, hidden: write_table(hidden / "solution.csv", header, rows)


GOOD = [(100 + n, n % 2, "Public" if n < 5 else "Private") for n in range(10)]
FAULTS = {
    "no solution": (without("solution.csv"), "solution.csv"),
    "no hidden test": (without("test.csv"), "test.csv"),
    "no hidden sample": (without("sample_submission.csv"), "sample_submission.csv"),
    "no visible sample": (lambda data, _: (data / "sample_submission.csv").unlink(), "sample_submission.csv"),
    "solution among the visible": (
        lambda data, hidden: shutil.copy(hidden / "solution.csv", data / "solution.csv"),
        "solution.csv",
    ),
    "an id too many": (solution(("id", "label", "Usage"), [*GOOD, (999, 0, "Public")]), "999"),
    "an id too few": (solution(("id", "label", "Usage"), GOOD[:9]), "109"),
    "an id twice": (solution(("id", "label", "Usage"), [*GOOD[:9], GOOD[0]]), "more than once"),
    "no usage": (solution(("id", "label", "use"), GOOD), "Usage"),
    "wrong usage": (solution(("id", "label", "Usage"), [(key, label, "Open") for key, label, _ in GOOD]), "Open"),
    "no label": (solution(("id", "Usage"), [(key, usage) for key, _, usage in GOOD]), "label"),
    "a row without truth": (solution(("id", "label", "Usage"), [*GOOD[:9], (109, " ", "Private")]), "109"),
    "nothing to score": (solution(("id", "label", "Usage"), [(key, label, "Ignored") for key, label, _ in GOOD]), "Ignored"),
    "truth in other columns": (solution(("id", "p", "q", "Usage"), [(key, 0, 1, use) for key, _, use in GOOD]), "p, q"),
    "another id column": (solution(("key", "label", "Usage"), GOOD), "key"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_refused_by_name_and_leaves_nothing(tmp_path, parts, fault):
    spoil, word = FAULTS[fault]
    spoil(*parts)
    with pytest.raises(UserError) as caught:
        add(tmp_path, parts)
    assert word in str(caught.value)
    assert control.status(tmp_path / "home")["competitions"] == []
    assert list((tmp_path / "home" / "competitions").glob("*")) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"metric": "accurcy"}, "accuracy"),
        ({"machine": "gpu9"}, "machine"),
        ({"limit_s": 0}, "limit"),
        ({"daily": 0}, "limit"),
        ({"kind": "notebok"}, "notebook"),
        ({"submission_file": "out/submission.csv"}, "submission file"),
        ({"data": "nowhere.zip"}, "nowhere.zip"),
        ({"slug": "ünï"}, "ünï"),
        ({"slug": "tiny_comp"}, "tiny_comp"),
        ({"slug": "tiny-comp\n"}, "a to z"),
        ({"slug": "../tiny"}, "../tiny"),
        ({"slug": "-"}, "a to z"),
    ],
)
def test_wrong_values_are_refused_by_name(tmp_path, parts, changes, word):
    if "data" in changes:
        changes["data"] = tmp_path / changes["data"]
    with pytest.raises(UserError) as caught:
        add(tmp_path, parts, **changes)
    assert word in str(caught.value)


def test_a_broken_zip_is_refused(tmp_path, parts):
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match="cannot be unpacked"):
        add(tmp_path, parts, data=tmp_path / "broken.zip")


def test_a_label_without_a_column_is_refused(tmp_path, parts):
    header = ("id", "zero", "two")
    write_table(parts[0] / "sample_submission.csv", header, [(100, 0.5, 0.5)])
    write_table(parts[1] / "sample_submission.csv", header, [(100 + n, 0.5, 0.5) for n in range(10)])
    write_table(parts[1] / "solution.csv", ("id", "label", "Usage"), [(100 + n, "one", "Public") for n in range(10)])
    with pytest.raises(UserError, match="no column"):
        add(tmp_path, parts)


IDS = [100 + n for n in range(10)]
PARTS = ["Public"] * 5 + ["Private"] * 5


def forms(parts, sample, truth, *, test="id"):
    """Write samples, test tables and the solution: header and cells of a row; `truth` of each row."""
    (header, cells), (key, *names) = sample, truth[0]
    for folder, ids in ((parts[0], IDS[:3]), (parts[1], IDS)):
        write_table(folder / "test.csv", (test, "x"), [(name, 1) for name in ids])
        write_table(folder / "sample_submission.csv", header, [row for name in ids for row in cells(name)])
    rows = [(*row, use) for name, use in zip(IDS, PARTS, strict=True) for row in truth[1](name)]
    write_table(parts[1] / "solution.csv", (key, *names, "Usage"), rows)
    return parts


def one(*values):
    return lambda name: [(name, *values)]


def of(name):
    """The class of a row."""
    return name % 2


FORMS = {
    "labels": ("accuracy", (("id", "y"), one(0)), (("id", "y"), lambda name: [(name, of(name))])),
    "words": ("f1_macro", (("id", "y"), one("cat")), (("id", "y"), lambda name: [(name, ("cat", "dog")[of(name)])])),
    "probability": ("auc", (("id", "y"), one(0.5)), (("id", "y"), lambda name: [(name, of(name))])),
    "columns": ("logloss", (("id", "b", "a"), one(0.5, 0.5)), (("id", "y"), lambda name: [(name, "ab"[of(name)])])),
    "several truths": (
        "auc",
        (("id", "p", "q"), one(0.5, 0.5)),
        (("id", "q", "p"), lambda name: [(name, of(name), 1 - of(name))]),
    ),
    "targets": ("mean(rmse)", (("id", "p", "q"), one(0, 0)), (("id", "p", "q"), lambda name: [(name, 1.5, name)])),
    "label strings": ("f1_samples", (("id", "y"), one("a b")), (("id", "y"), lambda name: [(name, ("a", "b a")[of(name)])])),
    "no label at all": ("f1_samples", (("id", "y"), one("a")), (("id", "y"), lambda name: [(name, ("a", "")[of(name)])])),
    "a ranking": ("map@3", (("id", "y"), one("a b c")), (("id", "y"), lambda name: [(name, "ab"[of(name)])])),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_taken(tmp_path, parts, form):
    metric, sample, truth = FORMS[form]
    forms(parts, sample, truth)
    assert add(tmp_path, parts, metric=metric)["rows"] == 10


@pytest.mark.parametrize("key", ["{name}_{label}", "{label}-{name}", "{name}{label}"])
def test_the_long_form_is_taken_when_its_ids_are_made_of_those_of_the_test(tmp_path, parts, key):
    def keys(name):
        return [key.format(name=name, label=label) for label in ("big_cat", "dog")]

    long = ("key", "y"), lambda name: [(spelled, 0.5) for spelled in keys(name)]
    truth = ("key", "y"), lambda name: list(zip(keys(name), (of(name), 1 - of(name)), strict=True))
    assert add(tmp_path, forms(parts, long, truth, test="scan"), metric="auc")["rows"] == 20


def test_long_ids_of_something_else_are_refused(tmp_path, parts):
    rows = ("key", "y"), lambda name: [(f"{name}_{label}", 0.5) for label in ("cat", "dog")]
    truth = ("key", "y"), lambda name: [(f"{name}_{label}", of(name)) for label in ("cat", "dog")]
    forms(parts, rows, truth, test="scan")
    write_table(parts[1] / "test.csv", ("scan", "x"), [(name, 1) for name in [*IDS[:9], 999]])
    with pytest.raises(UserError, match="lacks the id column") as caught:
        add(tmp_path, parts, metric="auc")
    assert "joins with classes" in caught.value.expected


@pytest.mark.parametrize(
    ("metric", "sample", "truth", "word"),
    [
        ("auc", one(0.5), lambda name: [(name, ("no", "yes")[of(name)])], "0 and 1"),
        ("logloss", one(0.3), lambda name: [(name, name % 3)], "0 and 1"),
        ("auc", one(0.5), lambda name: [(name, int(name < 105))], "a class is missing"),
        ("rmse", one(0.5), lambda name: [(name, ("no", "yes")[of(name)])], "number"),
        ("mcc", one("nan"), lambda name: [(name, of(name))], "nan"),
        ("metric.py:mine", one(0.5), lambda name: [(name, of(name))], "metric.py"),
    ],
)
def test_what_the_metric_cannot_score_is_refused(tmp_path, parts, metric, sample, truth, word):
    with pytest.raises(UserError) as caught:
        add(tmp_path, forms(parts, (("id", "y"), sample), (("id", "y"), truth)), metric=metric)
    assert word in str(caught.value)
    assert str(parts[1]) in str(caught.value) or metric == "metric.py:mine"
    assert list((tmp_path / "home" / "competitions").glob("*")) == []


@pytest.mark.parametrize(("slug", "metric", "rows"), [("nsmc", "auc", 3000), ("titanic", "accuracy", 191)])
def test_real_competitions_without_images_are_taken(tmp_path, slug, metric, rows):
    data = Path(__file__).parents[3] / "shared" / "data"
    if not (data / f"{slug}.zip").is_file():
        pytest.skip(f"{slug}.zip is not here")
    added = add(tmp_path, (data / f"{slug}.zip", data / f"{slug}-hidden.zip"), slug=slug, metric=metric)
    assert (added["rows"], added["train_files"], added["hidden_files"]) == (rows, 3, 3)
