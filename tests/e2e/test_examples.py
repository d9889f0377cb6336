"""The examples in kernels/: each goes from its kernel.toml to a score on the stand-in, small; and the few commands that takes.

Only sizes are changed (tests/examples/small.py), and where weights from elsewhere are needed, a loop that knows nothing of us
makes them here.
"""

from __future__ import annotations

import json
import runpy
import shutil

import numpy as np
import pytest
from PIL import Image

from builder import competition
from builder import config as configs
from builder.ci import tiny
from builder.recipes import table
from builder.runtime import hooks
from tests import competitions
from tests.examples import small

from .test_demo import KKB, Shell

ADOPTED, TEXT, TABLE, CPU = "adopted-checkpoint", "text-reviews", "table-passengers", "cpu-openvino"
EXAMPLES = (ADOPTED, TEXT, TABLE, CPU)
SCREEN, WIDTH = 40, 130  # lines, characters
MOST_COMMANDS = 8
FOLDS, STEPS = 2, 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_every_example_is_tried_here():
    found = {path.parent.name for path in small.KERNELS.glob("*/kernel.toml")}
    assert set(EXAMPLES) == set(small.SMALL)
    assert set(EXAMPLES) <= found


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fits_a_screen_and_explains_itself(name):
    lines = (small.KERNELS / name / "kernel.toml").read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= SCREEN
    assert max(map(len, lines)) <= WIDTH
    assert len([line for line in lines if "# " in line]) >= 6
    config = configs.load(small.KERNELS / name)
    assert config.data.complete, "nothing is left to what only the files can tell"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_reads_its_competition(name, tmp_path):
    seen, _ = small.write(name, tmp_path)
    folder = small.copy(name, tmp_path / "kernels")
    config = configs.load(folder)
    rows = competition.train_rows(config, seen)
    assert len(rows.ids) == small.TRAIN
    assert sorted(rows.classes) == sorted(small.SMALL[name].classes)
    assert all(path.is_file() for path in rows.paths)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_can_be_checked_on_a_pull_request(name, tmp_path):
    """`kkb ci tiny` makes a competition of noise from nothing but the kernel's folder."""
    made = tiny.make(small.KERNELS / name, tmp_path)
    config = configs.load(made.workspace.kernels / name)
    assert competition.train_rows(config, made.data).ids


def test_columns_of_ones_own_are_made_for_any_rows(tmp_path):
    """Cells as the competition has them, with gaps; and rows whose cabins nobody can read."""
    seen, _ = small.write(TABLE, tmp_path)
    found, config = hooks.load(str(small.KERNELS / TABLE / "hooks.py")), configs.load(small.KERNELS / TABLE)
    frame = competition.read_table(seen / "train.csv")
    recipe = table.table(frame, config.data.columns, found)
    assert {"deck", "side", "part", "spent", "bills"} <= {feature["column"] for feature in recipe["features"]}
    odd = frame.head(3).assign(Cabin=["", "no cabin", "B/x/P/S"], Spa=["", "much", "1e3"])
    made = found.transform(odd, recipe["state"])
    assert made["part"].isna().all()
    assert made["deck"].tolist() == ["", "no cabin", "B"]
    assert found.fit(odd) == {"cuts": []}


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A shell whose stand-in has the competitions of all examples."""
    pytest.importorskip("torch")
    home = tmp_path_factory.mktemp("examples")
    made = Shell(home)
    made.kkb("standin", "up")
    for name in EXAMPLES:
        seen, kept = small.write(name, home / name)
        settings = configs.load(small.KERNELS / name).competition
        made.kkb("standin", "add-competition", settings.slug, "--data", str(seen), "--hidden", str(kept),
                 "--metric", settings.metric, "--limit", "20min", "--daily", "5")  # fmt: skip
    yield made
    made.run(*KKB, "standin", "down", check=False)


def shipped(shell, name):
    """The record of a kernel that was shipped from its kernel.toml to its score."""
    shell.run(*KKB, "fetch", name, "--standin")
    record = shell.kkb("ship", name, "--standin")
    assert record["label"] == "Scored"
    assert {"plan", "render", "rehearse", "push", "submit"} <= set(record["seconds"])
    assert json.loads((shell.folder / "kernels" / name / "plan.json").read_text())["units"]
    shell.run(*KKB, "render", name, "--check")
    return record


def run_of(shell, name):
    return json.loads((shell.folder / ".kkb/runs" / name / "v1/run.json").read_text())


@pytest.mark.slow
def test_texts_are_counted_and_read(shell):
    small.copy(TEXT, shell.folder / "kernels")
    record = shipped(shell, TEXT)
    assert record["score"] < np.log(3), "better than equal odds"
    version = json.loads((shell.folder / f"weights/{TEXT}/v001/version.json").read_text())
    assert [model["name"] for model in version["models"]] == ["linear", "gru"]


@pytest.mark.slow
def test_tables_are_answered_by_trees_and_a_network(shell):
    pytest.importorskip("lightgbm")
    pytest.importorskip("xgboost")
    small.copy(TABLE, shell.folder / "kernels")
    assert shipped(shell, TABLE)["score"] > 0.6
    version = json.loads((shell.folder / f"weights/{TABLE}/v001/version.json").read_text())
    assert [model["name"] for model in version["models"]] == ["lightgbm", "xgboost", "mlp"]
    recipe = json.loads((shell.folder / f"weights/{TABLE}/v001/source/lightgbm/recipe.json").read_text())
    assert recipe["hooked"]


@pytest.mark.slow
def test_images_are_answered_by_openvino_alone(shell):
    pytest.importorskip("openvino")
    small.copy(CPU, shell.folder / "kernels")
    shipped(shell, CPU)
    run = run_of(shell, CPU)
    assert {price["backend"] for price in run["prices"]} == {"openvino"}
    assert all(probe["ok"] for probe in run["probes"]), "at home and in the notebook it answers alike"
    assert run["accelerator"]["used"] == "cpu"


@pytest.fixture(scope="module")
def elsewhere(shell):
    """Weights of two folds, from a loop that knows nothing of us: the accuracy that it found on rows that they did not see."""
    import torch

    seen, classes = shell.folder.parent / ADOPTED / "data", small.SMALL[ADOPTED].classes
    build = runpy.run_path(str(small.KERNELS / ADOPTED / "models.py"))["build"]
    rows = competition.read_table(seen / "train.csv")
    pixels = np.stack([np.asarray(Image.open(seen / "train_images" / name)) for name in rows["image_id"]]) / 255.0
    x = torch.tensor((pixels - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)
    y = torch.tensor([classes.index(label) for label in rows["label"]])
    fold = np.arange(len(rows)) // len(classes) % FOLDS
    folder, right = shell.folder / "elsewhere", 0
    folder.mkdir()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other are slow where others want the cores, too
    for number in range(FOLDS):
        torch.manual_seed(number)
        model, mine = build(len(classes), "test_efficientnet"), torch.tensor(fold != number)
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(STEPS):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[mine]), y[mine]).backward()
            optimiser.step()
        with torch.inference_mode():
            right += int((model.eval()(x[~mine]).argmax(1) == y[~mine]).sum())
        state = {f"model.{key}": value for key, value in model.state_dict().items()}
        torch.save({"epoch": STEPS, "state_dict": state, "hyper_parameters": {"lr": 3e-3}}, folder / f"effb0-gem-f{number}.ckpt")
    torch.set_num_threads(threads)
    competitions.table(folder / "folds.csv", ["image_id", "fold"], zip(rows["image_id"], fold.tolist(), strict=True))
    return right / len(rows)


@pytest.mark.slow
def test_eight_commands_from_new_to_a_rehearsed_notebook(shell, elsewhere):
    """As a person types them, with one edit in between that says where the weights are, as in the example; then to the score."""
    typed = []

    def kkb(command, *words):
        typed.append(command)
        return shell.kkb(command, ADOPTED, *words)

    example = small.copy(ADOPTED, shell.folder / "examples")
    config, given = configs.load(example), (example / "kernel.toml").read_text()
    kkb("new", "--competition", config.competition.slug)
    kkb("fetch", "--standin")
    mine = shell.folder / "kernels" / ADOPTED
    proposed = (mine / "kernel.toml").read_text()
    (mine / "kernel.toml").write_text(proposed[: proposed.index("[cv]")] + given[given.index("[[model]]") :])
    shutil.copyfile(example / "models.py", mine / "models.py")
    assert configs.load(mine).data.model_dump(exclude_defaults=True) == config.data.model_dump(exclude_defaults=True)
    (adopted,) = kkb("adopt")["models"]
    kkb("export")
    kkb("plan")
    kkb("bundle", "--standin")
    kkb("render", "--standin")
    rehearsed = kkb("rehearse")
    assert len(typed) <= MOST_COMMANDS
    assert adopted["score"] == pytest.approx(elsewhere, abs=0.03), "but for rows on the border between two classes"
    assert rehearsed["label"] == "Scored"
    assert rehearsed["cv"] == pytest.approx(adopted["score"])
    record = shipped(shell, ADOPTED)
    assert {stage for stage, fresh in record["fresh"].items() if fresh} == {"push", "output", "submit"}
