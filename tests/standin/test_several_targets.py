"""Competitions of several labels, of numbers and of several heads: what is added, and the scores of files that are submitted."""

import pytest
import requests

from builder.errors import UserError
from builder.standin import control
from builder.standin.home import Home
from tests.standin.conftest import COMPETITIONS, NO_PROXIES, write_table

PARTS = ("Public", "Public", "Private", "Private")
# slug -> metric, columns of the submission, cells of the sample, the truth of each row, the answer to each row, both scores.
TINY = {
    "tiny-tags": (  # labels in columns: AUC of p 1 and of q 1, then of p 0 and of q 1/2
        "mean(auc)", ("p", "q"), (0.5, 0.5),
        [(1, 0), (0, 1), (1, 1), (0, 0)],
        [(0.9, 0.2), (0.1, 0.3), (0.4, 0.6), (0.7, 0.6)],
        ("1.00000", "0.25000"),
    ),
    "tiny-words": (  # names of labels: F1 of the rows 1 and 2/3, then 0 and 1
        "f1_samples", ("tags",), ("sky",),
        [("sky sea",), ("sea",), ("dog",), ("sky",)],
        [("sea sky",), ("sea dog",), ("sky sea",), ("sky",)],
        ("0.83333", "0.50000"),
    ),
    "tiny-price": (  # a number: roots of (1 + 9) / 2 and of (0 + 4) / 2
        "rmse", ("price",), (0,),
        [(1.5,), (10,), (-2,), (0.25,)],
        [(2.5,), (7,), (-2,), (2.25,)],
        ("2.23607", "1.41421"),
    ),
    "tiny-sizes": (  # two numbers: mean of the columns' absolute differences
        "mean(mae)", ("h", "w"), (0, 0),
        [(1, 10), (2, 20), (3, 30), (4, 40)],
        [(2, 10), (2, 26), (3, 31), (3, 40)],
        ("1.75000", "0.50000"),
    ),
    "tiny-heads": (  # classes of two targets: accuracy 1/2 and 1, then 1 and 1/2
        "accuracy", ("kind", "size"), ("cat", 1),
        [("cat", 1), ("dog", 3), ("cat", 2), ("eel", 1)],
        [("cat", 1), ("cat", 3), ("cat", 2), ("eel", 3)],
        ("0.75000", "0.75000"),
    ),
    "tiny-graded": (  # each its own metric. kind: cat 2/3 and dog 0; then cat and eel 1. size: 1; then 1 - 0.5 / 0.5
        "kind=f1_macro, size=kappa", ("kind", "size"), ("cat", 1),
        [("cat", 1), ("dog", 3), ("cat", 2), ("eel", 1)],
        [("cat", 1), ("cat", 3), ("cat", 2), ("eel", 2)],
        ("0.66667", "0.50000"),
    ),
}  # fmt: skip


def write(folder, slug):
    """The two parts of a competition: three visible rows, four hidden ones."""
    _, columns, cells, truth, _, _ = TINY[slug]
    for part, ids in (("data", "xyz"), ("hidden", "abcd")):
        write_table(folder / part / "test.csv", ("id", "age"), [(name, 1) for name in ids])
        write_table(folder / part / "sample_submission.csv", ("id", *columns), [(name, *cells) for name in ids])
    rows = zip("abcd", truth, PARTS, strict=True)
    write_table(folder / "hidden" / "solution.csv", ("id", *columns, "Usage"), [(name, *row, usage) for name, row, usage in rows])
    write_table(folder / "data" / "train.csv", ("id", "age", *columns), [(f"r{n}", n, *row) for n, row in enumerate(truth)])
    return folder / "data", folder / "hidden"


def add(home, folder, slug, **changes):
    data, hidden = write(folder, slug)
    return control.add_competition(
        home, slug, **{"data": data, "hidden": hidden, "metric": TINY[slug][0], "kind": "any", **changes}
    )


@pytest.mark.parametrize("slug", TINY)
def test_a_submitted_file_gets_the_score_that_is_computed_by_hand(shared, tmp_path, slug):
    _, columns, _, _, answers, scores = TINY[slug]
    assert add(shared.home, tmp_path, slug)["rows"] == 4
    rows = [(name, *row) for name, row in zip("abcd", answers, strict=True)]
    write_table(tmp_path / "submission.csv", ("id", *columns), reversed(rows))
    content = (tmp_path / "submission.csv").read_bytes()
    facts = {"competitionName": slug, "fileName": "submission.csv", "contentLength": len(content)}
    started = shared.call(COMPETITIONS, "StartSubmissionUpload", **facts)
    requests.put(started["createUrl"], data=content, timeout=60, proxies=NO_PROXIES)
    told = {"competitionName": slug, "blobFileTokens": started["token"], "submissionDescription": "m"}
    assert shared.raw(COMPETITIONS, "CreateSubmission", told).status_code == 200
    shared.scored()
    [entry] = shared.call(COMPETITIONS, "ListSubmissions", competitionName=slug)["submissions"]
    assert (entry["publicScore"], entry["privateScore"]) == scores
    board = shared.call(COMPETITIONS, "GetLeaderboard", competitionName=slug)["submissions"]
    assert [row["score"] for row in board] == [scores[0]]


FAULTS = {
    "a target that there is not": ("kind=accuracy, sise=accuracy", "sise"),
    "a target without a metric": ("kind=accuracy", "size"),
    "a metric that there is not": ("kind=accuracy, size=accurcy", "did you mean 'accuracy'"),
    "a metric of numbers": ("rmse", "no number"),
    "a metric of labels": ("kind=f1_samples, size=f1_samples", "f1_samples"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_metric_that_does_not_fit_the_truth_is_refused(tmp_path, fault):
    metric, word = FAULTS[fault]
    with pytest.raises(UserError) as caught:
        add(tmp_path / "home", tmp_path, "tiny-heads", metric=metric)
    assert word in str(caught.value)
    assert not list((tmp_path / "home" / "competitions").glob("*"))


SPOILT = {
    "a row without truth": (("kind", "size"), {2: ("cat", " ")}, "id c"),
    "truth of other columns": (("kind", "sort"), {}, "kind, sort"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_truth_that_is_none_is_refused_by_name(tmp_path, fault):
    columns, changed, word = SPOILT[fault]
    data, hidden = write(tmp_path, "tiny-heads")
    rows = [changed.get(place, row) for place, row in enumerate(TINY["tiny-heads"][3])]
    table = [(name, *row, usage) for name, row, usage in zip("abcd", rows, PARTS, strict=True)]
    write_table(hidden / "solution.csv", ("id", *columns, "Usage"), table)
    with pytest.raises(UserError) as caught:
        control.add_competition(tmp_path / "home", "tiny", data=data, hidden=hidden, metric="accuracy")
    assert word in str(caught.value)
    assert caught.value.file == str(hidden)


def test_the_truth_stays_out_of_what_can_be_downloaded(tmp_path):
    add(tmp_path / "home", tmp_path, "tiny-heads")
    home = Home((tmp_path / "home").resolve())
    names = {path.name for part in (home.visible("tiny-heads"), home.hidden("tiny-heads")) for path in part.rglob("*")}
    assert names == {"train.csv", "test.csv", "sample_submission.csv"}
    assert home.solution("tiny-heads").is_file()
