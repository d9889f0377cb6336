"""The notebook: same bytes for same input, valid, carrying its digest, its code saying exactly the values it was given."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import machines
from builder.bundle.record import Content, Dataset
from builder.config import Competition
from builder.errors import GateError, UserError
from builder.render import stage
from builder.runtime.contract import Answer, Input, Plan, Prefix, Source, Unit, datasets_from_json
from builder.workspace import write_text

GOLDEN = Path(__file__).parent / "golden"
COMPETITION = Competition(slug="tiny-animals", limit="20min", machine="cpu")
HOSTILE = [
    "plain", "it's", 'say "so"', "back\\slash", "C:\\new", "{{ plan }}", "{% raw %}", "{# no #}", "a'''b", 'a"""b', "née", "猫",
    "🐈", "new\nline", "tab\t", "\u2028", "$HOME", "`ls`", "%magic", "!shell", "<b>", "| pipe |", "#", "", "\x00", "\x7f", "None",
    "'", "\\",
]  # fmt: skip


def unit(fold, member="v001:resnet"):
    return Unit(
        member=member,
        fold=fold,
        view="identity",
        dataset=member,
        file=f"{member.partition(':')[2]}-f{fold}-fp32.onnx",
        backend="onnxruntime",
        input=Input(32, 32),
        batch=32,
        seconds=0.0012345,
        load_s=0.05,
    )


def a_plan(**changes):
    made = Plan(
        kernel="animals",
        task="image-classification",
        metric="accuracy",
        accelerator="cpu",
        limit_s=1200.0,
        reserve=0.05,
        source=Source("tiny-animals", "test.csv", "sample_submission.csv", "test_images/{image_id}.png"),
        answer=Answer("submission.csv", "image_id", "labels", ("label",), ("cat", "dog")),
        units=(unit(0), unit(1)),
        prefixes=(Prefix((1.0,), 1.25, 0.9), Prefix((0.5, 0.5), 1.1, 0.91)),
        prior=(0.5, 0.5),
        notes=("v001:effnet identity left out: logloss +0.00001 for 1.00 ms per sample",),
        expected={"score": 0.9, "low": 0.85, "high": 0.95, "prices_from": "a test"},
    )
    return dataclasses.replace(made, **changes)


WEIGHTS = tuple(Content(f"resnet-f{fold}-fp32.onnx", Path("x"), 3, f"{fold}" * 64) for fold in (0, 1))
WHEEL = (Content("kkb_runtime-0-py3-none-any.whl", Path("z"), 3, "2" * 64),)
DATASETS = (Dataset("v001:resnet", "resnet", "resnet v001", WEIGHTS), Dataset("runtime", "kkb-runtime", "kkb runtime", WHEEL))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=15,
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "animals"
    path.mkdir()
    return path


def render(folder, plan=None, owner="me", competition=COMPETITION, datasets=DATASETS):
    return stage.render(plan or a_plan(), datasets, folder, owner, competition)


def cells(rendered):
    return [cell["source"] for cell in nbformat.reads(rendered.notebook, as_version=4).cells]


def code_cells(rendered):
    return [cell.source for cell in nbformat.reads(rendered.notebook, as_version=4).cells if cell.cell_type == "code"]


def values(rendered):
    """What the assignments of the notebook say, by evaluating their literals alone."""
    found = {}
    for source in cells(rendered):
        if re.search(r"^(PLAN|LIMIT_S) = ", source, re.MULTILINE):
            for node in ast.parse(source).body:
                if isinstance(node, ast.Assign):
                    found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def test_the_golden_files(folder):
    """To accept a change on purpose: KKB_WRITE_GOLDEN=1 pytest tests/render, then read the difference that git shows."""
    rendered = render(folder)
    # Not called notebook.ipynb, because formatters would put it right.
    for path, text in ((GOLDEN / "notebook.json", rendered.notebook), (GOLDEN / stage.METADATA, rendered.metadata)):
        if os.environ.get("KKB_WRITE_GOLDEN"):
            write_text(path, text)
        assert path.read_text("utf-8") == text


def test_same_input_same_bytes(folder, tmp_path):
    elsewhere = tmp_path / "deep" / "animals"
    elsewhere.mkdir(parents=True)
    assert render(folder) == render(elsewhere)


def test_the_notebook_is_valid_and_says_which_kernel_runs_it(folder):
    notebook = nbformat.reads(render(folder).notebook, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.language == "python"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_every_code_cell_is_python_without_magic(folder):
    for cell in nbformat.reads(render(folder).notebook, as_version=4).cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)


def test_the_plan_in_the_notebook_is_the_plan(folder):
    found = values(render(folder))
    assert Plan.from_json(found["PLAN"]) == a_plan()
    assert set(datasets_from_json(found["DATASETS"])) == {"v001:resnet", "runtime"}
    assert found["LIMIT_S"] == 1200.0


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_value_is_never_code(folder, name):
    """Class names, file names and notes come from files of strangers: the notebook says them, and does not run them."""
    answer = Answer("submission.csv", f"id {name}", "columns", (name, "other"), (name, "other"))
    plan = a_plan(
        kernel=f"x {name}", answer=answer, notes=(name,), source=Source(f"t{name}", "test.csv", "", f"{name}{{image_id}}")
    )
    rendered = render(folder, plan)
    statements = [[type(node) for node in ast.parse(code).body] for code in code_cells(rendered)]
    assert statements == [[type(node) for node in ast.parse(code).body] for code in code_cells(render(folder))]
    assert Plan.from_json(values(rendered)["PLAN"]) == plan
    nbformat.validate(nbformat.reads(rendered.notebook, as_version=4))


@settings(max_examples=60)
@given(JSON)
def test_a_literal_evaluates_to_its_value(value):
    assert ast.literal_eval(stage.literal(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_has_no_literal_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        stage.literal(value)


def test_a_prefix_without_a_predicted_score_is_rendered_too(folder):
    """The contract allows it: a model that was trained elsewhere may have no out-of-fold predictions."""
    plan = a_plan(prefixes=(Prefix((1.0,)), Prefix((0.5, 0.5))))
    assert Plan.from_json(values(render(folder, plan))["PLAN"]) == plan


def test_the_digest_is_in_the_notebook_and_is_found_there(folder):
    rendered = render(folder)
    rendered.write(folder)
    assert stage.digest_in(folder) == rendered.digest
    assert rendered.notebook.count(rendered.digest) == 1
    assert re.fullmatch("[0-9a-f]{64}", rendered.digest)


@pytest.mark.parametrize(
    "change",
    [
        {"plan": a_plan(limit_s=1201.0)},
        {"plan": a_plan(prior=(0.4, 0.6))},
        {"owner": "you"},
        {"datasets": (*DATASETS[:1], dataclasses.replace(DATASETS[1], stem="kkb-other"))},
    ],
    ids=["limit", "prior", "owner", "dataset"],
)
def test_another_notebook_has_another_digest(folder, change):
    assert render(folder, **change).digest != render(folder).digest


def test_a_note_that_looks_like_a_digest_is_not_taken_for_it(folder):
    rendered = render(folder, a_plan(notes=(f"kkb digest `{'a' * 64}`",)))
    rendered.write(folder)
    assert stage.digest_in(folder) == rendered.digest


def test_a_folder_without_a_notebook_names_the_command(folder):
    with pytest.raises(UserError, match="no rendered notebook") as caught:
        stage.digest_in(folder)
    assert caught.value.remedy == "kkb render animals"


def test_the_metadata_is_what_a_code_competition_takes(folder):
    found = json.loads(render(folder).metadata)
    assert found["enable_internet"] is False
    assert found["is_private"] is True
    assert found["id"] == "me/animals"
    assert found["code_file"] == stage.NOTEBOOK
    assert (found["language"], found["kernel_type"]) == ("python", "notebook")
    assert found["dataset_sources"] == [f"me/{dataset.slug}" for dataset in DATASETS]
    assert found["competition_sources"] == ["tiny-animals"]
    assert found["enable_gpu"] is False


@pytest.mark.parametrize("machine", machines.names())
def test_the_metadata_asks_for_the_machine(folder, machine):
    found = json.loads(render(folder, competition=Competition(slug="tiny-animals", machine=machine)).metadata)
    facts = machines.load(machine)
    assert found["enable_gpu"] == (facts.accelerator == "cuda")
    assert found.get("machine_shape", "") == facts.shape


def test_the_title_becomes_the_slug(folder):
    """On Kaggle the title decides: a title that slugifies to something else makes another kernel."""
    from slugify import slugify

    found = json.loads(render(folder).metadata)
    assert slugify(found["title"]) == found["id"].partition("/")[2]


def test_the_official_client_reads_the_metadata_as_it_is_meant(folder):
    """Every key is one that the client's own source reads."""
    import inspect

    from kaggle.api.kaggle_api_extended import KaggleApi

    source = inspect.getsource(KaggleApi.kernels_push)
    for key in json.loads(render(folder).metadata):
        assert re.search(rf"""['"]{key}['"]""", source), key


@pytest.mark.parametrize("name", ["cats", "Animals", "my animals", "a" * 51, "under_score"])
def test_a_folder_whose_name_is_no_slug_is_refused(tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(UserError, match="slug"):
        render(path)


def test_a_kernel_may_not_be_called_like_one_of_its_datasets(tmp_path):
    path = tmp_path / DATASETS[0].slug
    path.mkdir()
    with pytest.raises(UserError, match="share the slug"):
        render(path)


def test_writing_twice_writes_once(folder):
    rendered = render(folder)
    assert sorted(rendered.write(folder)) == [stage.METADATA, stage.NOTEBOOK]
    before = (folder / stage.NOTEBOOK).stat().st_mtime_ns
    assert rendered.write(folder) == []
    assert (folder / stage.NOTEBOOK).stat().st_mtime_ns == before


def test_check_passes_what_is_fresh_and_writes_nothing(folder):
    rendered = render(folder)
    rendered.write(folder)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    rendered.check(folder)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before


@pytest.mark.parametrize("name", [stage.NOTEBOOK, stage.METADATA])
@pytest.mark.parametrize("damage", ["missing", "edited"])
def test_check_names_the_file_that_is_stale(folder, name, damage):
    rendered = render(folder)
    rendered.write(folder)
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_text((folder / name).read_text() + " ")
    with pytest.raises(GateError, match=re.escape(name)) as caught:
        rendered.check(folder)
    assert caught.value.exit_code == 3
    assert "kkb render animals" in caught.value.remedy
    assert (folder / name).exists() == (damage == "edited")


HOOKS = '''"""Hooks with what templates and magics trip over: {{ braces }}, {% tags %}, 'quotes', \\\\ backslashes, é."""


def merge(item_probs):
    """Mean of the items."""
    return item_probs.mean(axis=0)
'''


def hooks_cell(rendered):
    (found,) = [source for source in cells(rendered) if "merge" in source]
    return found


def test_hooks_travel_verbatim_in_a_cell_of_their_own(folder, tmp_path, monkeypatch):
    (folder / "hooks.py").write_text(HOOKS, encoding="utf-8")
    source = hooks_cell(render(folder))
    magic, _, body = source.partition("\n")
    assert magic == f"%%writefile {stage.HOOKS_PATH}"
    assert body.strip() == HOOKS.strip()
    assert ast.dump(ast.parse(body)) == ast.dump(ast.parse(HOOKS))


def test_without_hooks_there_is_no_such_cell(folder):
    with_hooks = len(cells(render(folder)))
    (folder / "hooks.py").write_text(HOOKS, encoding="utf-8")
    assert len(cells(render(folder))) == with_hooks + 1


def test_changed_hooks_are_another_notebook(folder):
    (folder / "hooks.py").write_text(HOOKS, encoding="utf-8")
    first = render(folder).digest
    (folder / "hooks.py").write_text(HOOKS + "\n# changed\n", encoding="utf-8")
    assert render(folder).digest != first


def test_the_bootstrap_travels_verbatim(folder):
    from importlib import resources

    source = (resources.files("builder.runtime") / "bootstrap.py").read_text("utf-8").strip()
    assert source in cells(render(folder))


def test_the_table_of_units_survives_what_markdown_means(folder):
    """A member is named after models of a person: one row per unit, whatever is in the names."""
    table = [line for line in cells(render(folder))[0].splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(a_plan().units)
    assert len({line.count("|") for line in table}) == 1
