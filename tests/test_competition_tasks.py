"""Competitions of texts and tables: what is recognised in their files, what is read, and what is refused."""

import pytest

from builder import competition, config
from builder.competition import columns
from builder.config import IMAGES, TABLES, TEXTS, Data
from builder.errors import UserError

from . import competitions, tables

HEAD = '[competition]\nslug = "tiny"\n[data]\n'
MODELS = {TEXTS: "text/linear", TABLES: "table/mlp"}


def a_config(folder, task, more="", cv=""):
    folder.mkdir(parents=True, exist_ok=True)
    model = f'\n{cv}\n[[model]]\nname = "one"\nbackbone = "{MODELS[task]}"\n'
    (folder / "kernel.toml").write_text(f'{HEAD}task = "{task}"\n{more}{model}')
    return config.load(folder)


def review(folder, more="", cv=""):
    return a_config(folder, TEXTS, 'id = "review_id"\ntarget = "label"\ntext = ["document"]\n' + more, cv)


def passenger(folder, more="", cv=""):
    return a_config(folder, TABLES, 'id = "Id"\ntarget = "Survived"\n' + more, cv)


def rewrite(path, change):
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def test_texts_are_recognised_with_the_group_that_keeps_train_and_test_apart(tmp_path):
    found = competition.propose(tables.texts(tmp_path, groups=20))
    assert (found.task, found.text, found.group) == (TEXTS, ("document",), "movie_id")
    assert (found.id, found.target, found.form, found.metric) == ("review_id", "label", "probability", "auc")
    assert (found.image, found.width, found.rows, found.classes) == ("", 0, 120, 2)
    for told in ("document", "8 words", "movie_id"):
        assert told in found.why


def test_a_table_is_recognised_though_names_stand_in_it(tmp_path):
    found = competition.propose(tables.passengers(tmp_path))
    assert (found.task, found.columns) == (TABLES, ("Age", "Sex", "Class", "Name", "Port"))
    assert (found.text, found.group, found.form, found.metric) == ((), "", "labels", "accuracy")
    assert "5 columns" in found.why
    assert "'Name' has 3 words" in found.why


@pytest.mark.parametrize(
    ("words", "beside", "task"), [(8, 3, TEXTS), (8, 8, TABLES), (20, 8, TEXTS), (4, 0, TEXTS), (2, 0, TABLES)]
)
def test_texts_must_be_the_longer_the_more_stands_beside_them(tmp_path, words, beside, task):
    root = tables.texts(tmp_path, words=words)
    for name in ("train.csv", "test.csv"):
        more = [",".join([""] + [f"c{column}" for column in range(beside)]), "".join(f",{column}" for column in range(beside))]
        rewrite(root / name, lambda lines, more=more: [line + more[min(i, 1)] for i, line in enumerate(lines)])
    assert competition.propose(root).task == task


def test_a_text_that_a_person_asks_for_may_be_short_but_not_absent(tmp_path):
    assert competition.propose(tables.texts(tmp_path / "a", words=2), known=Data(task=TEXTS)).text == ("document",)
    root = tables.passengers(tmp_path / "b")
    for name in ("train.csv", "test.csv"):
        rewrite(root / name, lambda lines: [",".join(line.split(",")[:3]) for line in lines])
    rewrite(root / "test.csv", lambda lines: [",".join(line.split(",")[:2]) for line in lines])
    with pytest.raises(UserError, match="no column holds texts") as caught:
        competition.propose(root, known=Data(task=TEXTS))
    assert "Age" in caught.value.found


def test_images_are_recognised_before_all_else(tmp_path):
    root = competitions.write(tmp_path)
    for name in ("train.csv", "test.csv"):
        rewrite(
            root / name,
            lambda lines: [f"{line},{'what a long text stands here too' if i else 'text'}" for i, line in enumerate(lines)],
        )
    found = competition.propose(root)
    assert (found.task, found.metric) == (IMAGES, "accuracy")


def test_a_column_for_each_class_is_scored_by_logloss_unless_they_are_images(tmp_path):
    root = tables.texts(tmp_path / "t")
    rewrite(
        root / "sample_submission.csv", lambda lines: ["review_id,0,1", *(line.replace("0.5", "0.5,0.5") for line in lines[1:])]
    )
    assert competition.propose(root).metric == "logloss"
    assert competition.propose(competitions.write(tmp_path / "i", form="columns")).metric == "accuracy"


@pytest.mark.parametrize("task", [TEXTS, TABLES])
def test_the_task_that_a_person_chose_stays(tmp_path, task):
    for written in (tables.texts(tmp_path / "a", groups=20), tables.passengers(tmp_path / "b")):
        found = competition.propose(written, known=Data(task=task))
        assert found.task == task
        assert bool(found.text) == (task == TEXTS)


def test_a_task_that_nobody_wrote_down_is_not_chosen(tmp_path):
    assert competition.propose(tables.texts(tmp_path), known=Data()).task == TEXTS


def test_images_that_a_person_chose_must_be_there(tmp_path):
    for known in (Data(task=IMAGES), Data(image="{review_id}.png")):
        with pytest.raises(UserError, match="no folder holds an image"):
            competition.propose(tables.texts(tmp_path), known=known)


def test_images_that_no_column_names_are_not_passed_over(tmp_path):
    """Rather than take what stands beside them for a table, say that their names are not understood."""
    root = competitions.write(tmp_path, rows=24)
    for name in ("train.csv", "test.csv"):
        rewrite(root / name, lambda lines: [f"{line},{i % 7 if i else 'age'}" for i, line in enumerate(lines)])
    for number, path in enumerate(sorted((root / "train_images").iterdir())):
        path.rename(path.with_name(f"other{number}.png"))
    with pytest.raises(UserError, match="no folder holds an image") as caught:
        competition.propose(root)
    assert "data.task" in caught.value.remedy


def test_what_kernel_toml_says_already_is_not_proposed_otherwise(tmp_path):
    root = tables.passengers(tmp_path)
    rewrite(root / "train.csv", lambda lines: [f"{line},{'Boat' if i == 0 else i % 2}" for i, line in enumerate(lines)])
    rewrite(root / "sample_submission.csv", lambda lines: [lines[0].replace("Survived", "Answer"), *lines[1:]])
    with pytest.raises(UserError, match="which column is the target"):
        competition.propose(root)
    found = competition.propose(root, known=Data(target="Boat"))
    assert (found.target, "Survived" in found.columns) == ("Boat", False)
    with pytest.raises(UserError, match=r"data\.target names a column") as caught:
        competition.propose(root, known=Data(target="Boatt"))
    assert "'Boat'" in caught.value.remedy


def test_a_scale_is_no_class_unless_a_person_says_so(tmp_path):
    root = tables.passengers(tmp_path)
    competitions.table(root / "train.csv", ["Id", "Survived", "Age"], ([f"{row}", f"{row}.25", "40"] for row in range(60)))
    found = competition.propose(root)
    assert (found.truth, found.classes, found.form, found.metric) == ("numbers", 1, "numbers", "rmse")
    assert competition.propose(root, known=Data(truth="classes")).classes == 60


def test_tables_without_a_column_to_learn_from_say_so(tmp_path):
    root = tables.passengers(tmp_path)
    for name, kept in (("train.csv", 2), ("test.csv", 1)):
        rewrite(root / name, lambda lines, kept=kept: [",".join(line.split(",")[:kept]) for line in lines])
    with pytest.raises(UserError, match="no column to learn from"):
        competition.propose(root, known=Data(task=TABLES))
    with pytest.raises(UserError, match="no folder holds an image"):
        competition.propose(root)


def test_open_keys_are_filled_and_others_stay(tmp_path):
    found = competition.propose(tables.texts(tmp_path, groups=20))
    filled = competition.filled(Data(task=TEXTS, target="mood"), found)
    assert (filled.id, filled.target, filled.text, filled.group) == ("review_id", "mood", ("document",), "")
    assert filled.complete
    with pytest.raises(UserError, match=TEXTS) as caught:
        competition.filled(Data(), found)
    assert "kkb fetch" in caught.value.remedy


WORDS = {
    "a review": (["I liked this film a lot"] * 3, 6),
    "codes": (["PC 17599", "113803", "A/5 21171"], 1),
    "numbers": (["1 2 3 4", "5 6 7 8"], 0),
    "Korean": (["영화의결론 여자라서 행복해요"], 3),
    "Chinese": (["这部电影非常好看"], 4),
    "emoji": (["😀 😀 😀"], 0),
    "nothing": ([], 0),
}


@pytest.mark.parametrize("kind", WORDS)
def test_words_are_counted_in_any_script(kind):
    values, expected = WORDS[kind]
    assert columns.words(values) == pytest.approx(expected, abs=1)


def frame(**cells):
    import pandas as pd

    return pd.DataFrame({name: list(map(str, values)) for name, values in cells.items()})


GROUPS = {
    "a group": ([row % 20 for row in range(100)], ["a", "b", "c"], "g"),
    "values that come again": ([row % 20 for row in range(100)], ["a", "b", "7"], ""),
    "a name for each row": (range(100), ["a", "b", "c"], ""),
    "rarely the same, as tickets are": ([row if row < 60 else 60 + row % 20 for row in range(100)], ["a", "b", "c"], ""),
    "too few to fold": ([row % 4 for row in range(100)], ["a", "b", "c"], ""),
    "measured": ([f"{row % 20}.5" for row in range(100)], ["20.5", "21.5", "22.5"], ""),
    "dates": ([f"2024-01-{row % 20 + 1:02d}" for row in range(100)], ["2024-02-01", "2024-02-02"], ""),
    "gaps": ([row % 20 or "" for row in range(100)], ["a", "b", "c"], ""),
    "nothing to compare with": ([row % 20 for row in range(100)], [], ""),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_a_group_repeats_and_stays_on_one_side(kind):
    mine, theirs, expected = GROUPS[kind]
    assert columns.group(frame(g=mine), frame(g=theirs), ["g"]) == expected


def test_the_coarsest_of_several_groups_is_proposed():
    mine = frame(fine=[row % 40 for row in range(200)], coarse=[row % 20 for row in range(200)])
    assert columns.group(mine, frame(fine=["a", "b"], coarse=["a", "b"]), ["fine", "coarse"]) == "coarse"


def test_texts_are_read_as_they_are_written(tmp_path):
    root = tables.texts(tmp_path / "data", groups=20)
    odd = '"007","m1"," a ""quoted""\ntext, 😀 ",0'
    rewrite(root / "train.csv", lambda lines: [*lines, odd, "NA,m1,,1"])
    rows = competition.train_rows(review(tmp_path / "kernel", 'group = "movie_id"', '[cv]\nscheme = "group"'), root)
    assert rows.ids[-2:] == ("007", "NA")
    assert rows.cells[-2] == {"review_id": "007", "movie_id": "m1", "document": ' a "quoted"\ntext, 😀 '}
    assert rows.cells[-1]["document"] == ""
    assert rows.groups[-2:] == ("m1", "m1")
    assert (rows.paths, rows.times, len(rows.cells)) == ((), (), len(rows.ids))
    assert rows.classes == ("0", "1")


def test_no_row_tells_its_target(tmp_path):
    for kernel, root, target in (
        (review(tmp_path / "r"), tables.texts(tmp_path / "t"), "label"),
        (passenger(tmp_path / "p"), tables.passengers(tmp_path / "s"), "Survived"),
    ):
        rows = competition.train_rows(kernel, root)
        assert all(target not in cells for cells in rows.cells)
        assert len(rows.y) == len(rows.cells) == 120


def test_a_model_of_tables_reads_what_the_test_has_too_without_id_target_and_group(tmp_path):
    root = tables.passengers(tmp_path / "data")
    assert competition.columns_of(passenger(tmp_path / "a"), root) == ("Age", "Sex", "Class", "Name", "Port")
    assert competition.columns_of(passenger(tmp_path / "b", 'columns = ["Sex", "Age"]'), root) == ("Sex", "Age")
    grouped = passenger(tmp_path / "c", 'group = "Port"', '[cv]\nscheme = "group"')
    assert competition.columns_of(grouped, root) == ("Age", "Sex", "Class", "Name")
    (root / "test.csv").unlink()
    assert competition.columns_of(passenger(tmp_path / "a"), root) == ("Age", "Sex", "Class", "Name", "Port")


ABSENT = {
    "text": ('text = ["documant"]', "", "data.text", "did you mean 'document'?"),
    "group": ('text = ["document"]\ngroup = "movieid"', '[cv]\nscheme = "group"', "data.group", "did you mean 'movie_id'?"),
    "time": ('text = ["document"]\ntime = "date"', '[cv]\nscheme = "time"', "data.time", "use one of"),
}


@pytest.mark.parametrize("key", ABSENT)
def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path, key):
    line, cv, named, remedy = ABSENT[key]
    kernel = a_config(tmp_path / "kernel", TEXTS, f'id = "review_id"\ntarget = "label"\n{line}\n', cv)
    with pytest.raises(UserError) as caught:
        competition.train_rows(kernel, tables.texts(tmp_path / "data", groups=20))
    assert named in caught.value.what
    assert remedy in caught.value.remedy
    assert caught.value.file.endswith("train.csv")


def test_a_column_that_the_test_lacks_is_refused_before_anything_is_trained(tmp_path):
    root = tables.passengers(tmp_path / "data")
    rewrite(root / "test.csv", lambda lines: [line.replace("Sex", "Gender") for line in lines])
    with pytest.raises(UserError, match=r"data\.columns names a column") as caught:
        competition.train_rows(passenger(tmp_path / "kernel", 'columns = ["Sex", "Age"]'), root)
    assert caught.value.file.endswith("test.csv")
    with pytest.raises(UserError, match="'Gender'") as caught:
        competition.train_rows(passenger(tmp_path / "kernel"), root)
    assert caught.value.file.endswith("train.csv")


def test_a_row_without_its_group_is_refused(tmp_path):
    root = tables.texts(tmp_path / "data", groups=20)
    rewrite(root / "train.csv", lambda lines: [*lines, "r900,,a text,1"])
    with pytest.raises(UserError, match="1 rows have no movie_id") as caught:
        competition.train_rows(review(tmp_path / "kernel", 'group = "movie_id"', '[cv]\nscheme = "group"'), root)
    assert "row 121" in caught.value.found


def test_rows_with_more_cells_than_the_header_are_not_read_shifted(tmp_path):
    (tmp_path / "t.csv").write_text("id,text,label\n1,a, b,0\n2,c, d,1\n")
    with pytest.raises(UserError, match="more cells than the header"):
        competition.read_table(tmp_path / "t.csv")
