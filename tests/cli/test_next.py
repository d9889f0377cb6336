"""From `kkb new` to a rehearsed notebook with an adopted checkpoint, by what each command says comes next, and nothing else."""

import csv
import os
import re

import pytest

from builder.standin import control
from tests import competitions

from .typed import run

MOST = 8  # commands
NEXT = re.compile(r"next: kkb ([^,\n]+)")
ADOPT = re.compile(r"then: kkb (adopt [a-z-]+)")
ADDED = """
checkpoints = "elsewhere/resnet-f{fold}.pth"
folds = "elsewhere/folds.csv"
"""


def bring_weights(root, data):
    """What a stranger has: two checkpoints, and which rows each did not see."""
    import timm
    import torch

    (root / "elsewhere").mkdir()
    for fold in range(2):
        torch.manual_seed(fold)
        torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), root / "elsewhere" / f"resnet-f{fold}.pth")
    with (data / "train.csv").open() as stream:
        ids = [row["image_id"] for row in csv.DictReader(stream)]
    with (root / "elsewhere" / "folds.csv").open("w") as stream:
        stream.writelines(["id,fold\n", *(f"{one},{number % 2}\n" for number, one in enumerate(ids))])


@pytest.fixture
def standin(workspace, tmp_path, monkeypatch):
    """A workspace without data or credentials, and its stand-in with a competition."""
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    data, hidden = competitions.write(tmp_path / "data"), competitions.write(tmp_path / "hidden", visible=8)
    rows = [(f"t{number:03d}", ("cat", "dog")[number % 2], ("Public", "Private")[number % 4 // 2]) for number in range(8)]
    competitions.table(hidden / "solution.csv", ["image_id", "label", "Usage"], rows)
    control.add_competition(workspace.standin, "creatures", data=data, hidden=hidden, metric="accuracy", kind="any")
    control.up(workspace.standin)
    try:
        yield data
    finally:
        control.down(workspace.standin)


@pytest.mark.slow
def test_what_each_command_says_comes_next_leads_to_a_rehearsed_notebook(workspace, standin, capsys):
    pytest.importorskip("torch")
    bring_weights(workspace.root, standin)
    typed, words = [], "new animals --competition creatures --yes"
    while words:
        typed.append(words.split(maxsplit=1)[0])
        code, _, err = run(capsys, *words.split())
        assert code == 0, f"kkb {words}\n{err}"
        if typed[-1] == "rehearse":
            break
        words = (ADOPT.search(err) or NEXT.search(err))[1]
        if typed[-1] == "fetch":
            assert words == "adopt animals"
            path = workspace.kernels / "animals" / "kernel.toml"
            text = path.read_text()
            assert "[[model]]" in text
            own = re.sub(r"^(backbone = .*)$", lambda found: found[1] + ADDED.rstrip(), text, flags=re.MULTILINE)
            path.write_text(own + "\n[bundle]\nwheels = false\n")  # no index is asked: the stand-in's image is this machine
    assert typed == ["new", "fetch", "adopt", "export", "plan", "bundle", "render", "rehearse"]
    assert len(typed) <= MOST
    assert "next: kkb push animals --standin" in err
