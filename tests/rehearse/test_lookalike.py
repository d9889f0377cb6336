"""Hidden sets out of visible ones, and the judgement by the sample."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from builder.rehearse import judge, lookalike
from builder.scoring import Rejected
from tests.rehearse import pets
from tests.rehearse.test_faults import contents


def column(path: Path, name: str) -> list[str]:
    with path.open() as stream:
        return [row[name] for row in csv.DictReader(stream)]


def test_every_id_is_new_and_tables_and_files_agree(tmp_path: Path) -> None:
    visible = pets.competition(tmp_path / "pets")
    before = contents(visible)
    made = lookalike.make(visible, tmp_path / "hidden")
    ids = column(made.folder / "sample_submission.csv", "id")
    assert (made.rows, made.why_visible, len(set(ids))) == (50, "", 50)
    assert not set(ids) & set(pets.IDS)
    assert column(made.folder / "test.csv", "id") == ids
    assert {path.stem for path in (made.folder / "test_files").iterdir()} == set(ids)
    assert (made.folder / "train_files" / "100.txt").read_text() == "pet 100"
    assert (made.folder / "train.csv").read_bytes() == (visible / "train.csv").read_bytes()
    assert contents(visible) == before


@pytest.mark.parametrize(
    ("visible", "pattern"),
    [
        (["1", "2"], r"\d+"),
        (["007", "012"], r"\d{3}"),
        (["0a1b", "9f00"], r"[0-9a-f]{4}"),
        (["Ab-1.png", "Cd-2.png"], r"[A-Z][a-z]-\d\.png"),
        (["test/x1", "test/y2"], r"test/[a-z]\d"),
        (["é", "ü"], r"..+"),
    ],
)
def test_new_ids_look_like_the_old_ones(visible: list[str], pattern: str) -> None:
    import re

    rounds = lookalike.renamed(visible, 20)
    new = [name for names in rounds for name in names.values()]
    assert len(new) == len(set(new)) == 20
    assert not set(new) & set(visible)
    assert all(re.fullmatch(pattern, name) for name in new)


def test_few_rows_become_ten_times_as_many_and_many_a_tenth_more() -> None:
    assert [lookalike.rows_wanted(rows) for rows in (1, 3, 100, 1000, 20_000)] == [10, 30, 1000, 1100, 22_000]


def test_several_rows_of_one_id_stay_together(tmp_path: Path) -> None:
    visible = tmp_path / "visible"
    visible.mkdir()
    (visible / "sample_submission.csv").write_text("id,y\na1,0\nb2,0\n")
    (visible / "test.csv").write_text("id,step\na1,0\na1,1\nb2,0\n")
    made = lookalike.make(visible, tmp_path / "hidden", rows=4)
    ids = column(made.folder / "test.csv", "id")
    assert sorted(ids.count(name) for name in set(ids)) == [1, 1, 2, 2]
    assert set(ids) == set(column(made.folder / "sample_submission.csv", "id"))


def test_ids_that_stand_nowhere_else_leave_the_visible_set(tmp_path: Path) -> None:
    visible = tmp_path / "visible"
    visible.mkdir()
    (visible / "sample_submission.csv").write_text("row,y\na_x,0\n")
    (visible / "test.csv").write_text("id\na\n")
    made = lookalike.make(visible, tmp_path / "hidden")
    assert made.folder == visible
    assert "row" in made.why_visible


def test_a_folder_of_one_row_comes_under_its_new_name(tmp_path: Path) -> None:
    visible = tmp_path / "visible"
    visible.mkdir()
    (visible / "sample_submission.csv").write_text("id,y\ns1,0\n")
    (visible / "series" / "s1" / "deep").mkdir(parents=True)
    (visible / "series" / "s1" / "deep" / "s1.dcm").write_text("pixels")
    made = lookalike.make(visible, tmp_path / "hidden", rows=2)
    for name in column(made.folder / "sample_submission.csv", "id"):
        assert (made.folder / "series" / name / "deep" / "s1.dcm").read_text() == "pixels"


SAMPLE, TRAIN = "id,label,p\n1,0,0.5\n2,0,0.5\n", "id,label,p\n8,cat,1\n9,dog,0\n7,cat,0\n6,dog,1\n"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("id,label,p\n1,cat,0.5\n2,dog,1e-3\n", ""),
        ("p,id,label\n0.5,2,cat\n1,1,dog\n", ""),
        ("id,label,p\n1,cat,\n2,dog,1\n", judge.SCORING_ERROR),
        ("id,label,p\n1,cat,high\n2,dog,1\n", judge.SCORING_ERROR),
        ("id,label,p\n1,bird,0\n2,dog,1\n", judge.SCORING_ERROR),
        ("id,label,p\n1,cat,0\n", judge.FORMAT_ERROR),
        ("id,label,p\n1,cat,0\n1,cat,0\n", judge.FORMAT_ERROR),
        ("id,label,p\n1,cat,0\n3,cat,0\n", judge.FORMAT_ERROR),
        ("id,label\n1,cat\n2,cat\n", judge.FORMAT_ERROR),
        ("", judge.FORMAT_ERROR),
        (None, judge.NOT_FOUND),
    ],
)
def test_judgement(tmp_path: Path, text: str | None, label: str) -> None:
    """The sample's zeros stand for words, as the training table shows."""
    (tmp_path / "working").mkdir()
    (tmp_path / "sample_submission.csv").write_text(SAMPLE)
    (tmp_path / "train.csv").write_text(TRAIN)
    if text is not None:
        (tmp_path / "working" / "submission.csv").write_text(text)
    form = judge.form_of(tmp_path)
    if label:
        with pytest.raises(Rejected) as raised:
            judge.judge(tmp_path / "working", "submission.csv", form)
        assert raised.value.label == label
    else:
        assert judge.judge(tmp_path / "working", "submission.csv", form) == 2


TOPICS = "id,topics\n7,war love\n8,love\n9,\n10,fun war\n11,love fun\n12,fun\n13,war\n14,fun war love\n15,love\n16,war\n"
BREEDS = "id,topics\n7,Great Dane\n8,Sheep Dog\n9,Great Dane\n10,Sheep Dog\n"
REMARKS = "id,topics\n7,the cat sat on the mat\n8,on the mat the cat sat\n9,the mat\n10,a cat on a mat\n"
RANKED = "id,topics\n7,a\n8,b\n9,c\n10,a\n11,b\n12,c\n"


@pytest.mark.parametrize(
    ("train", "shown", "given", "fits"),
    [
        (TOPICS, "war", "love war fun", True),  # in an order of its own, and together as in no training row
        (TOPICS, "war", "", True),
        (TOPICS, "war", "peace", False),
        (BREEDS, "Great Dane", "Sheep Dog", True),
        (BREEDS, "Great Dane", "Sheep Dane", False),
        (REMARKS, "the mat", "something else", True),
        (RANKED, "a b", "c a", True),
        (RANKED, "a b", "c d", False),
        (RANKED, "a", "c a", False),
    ],
    ids=["new set", "no label", "new label", "classes with blanks", "no class", "texts", "ranked", "new rank", "one of each row"],
)
def test_label_strings_are_judged_label_by_label(tmp_path: Path, train: str, shown: str, given: str, fits: bool) -> None:
    (tmp_path / "train.csv").write_text(train)
    (tmp_path / "sample_submission.csv").write_text(f"id,topics\n1,{shown}\n")
    (tmp_path / "submission.csv").write_text(f"id,topics\n1,{given}\n")
    form = judge.form_of(tmp_path)
    if fits:
        assert judge.judge(tmp_path, "submission.csv", form) == 1
        return
    with pytest.raises(Rejected, match=r"classes of train\.csv") as raised:
        judge.judge(tmp_path, "submission.csv", form)
    assert raised.value.label == judge.SCORING_ERROR


def test_a_sample_without_rows_asks_for_a_file_without_rows(tmp_path: Path) -> None:
    (tmp_path / "sample_submission.csv").write_text("id,y\n")
    (tmp_path / "submission.csv").write_text("id,y\n")
    assert judge.judge(tmp_path, "submission.csv", judge.form_of(tmp_path)) == 0
