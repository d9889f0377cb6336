"""kkb adopt as a person and a program see it: tables and notes, one JSON object, exit codes."""

import json

import numpy as np
import pytest

from builder.cli import run
from tests.train import elsewhere

pytestmark = pytest.mark.slow  # adoption itself has its fast cases in tests/train

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def trained_elsewhere(tmp_path_factory):
    made = elsewhere.make(tmp_path_factory.mktemp("elsewhere"))
    made.save()
    made.save_folds()
    np.save(made.root / "oof.npy", made.oof())
    np.save(made.root / "bgr.npy", made.oof(elsewhere.Recipe(color="bgr")))
    return made


def kkb(there, monkeypatch, capfd, *arguments):
    """Exit code, stdout and stderr of `kkb` in that workspace."""
    monkeypatch.chdir(there.root)
    code = run(list(arguments))
    told = capfd.readouterr()
    return code, told.out, told.err


def test_a_version_is_made_once_and_shown(trained_elsewhere, monkeypatch, capfd):
    there = trained_elsewhere
    there.config('oof = "oof.npy"', cv="[cv]\nfolds = 2")
    code, out, err = kkb(there, monkeypatch, capfd, "adopt", "net")
    assert (code, out) == (0, "")
    assert "adopt: weights/net/v001, 48 rows, 2 folds" in err
    assert "w/net-f1.pth" in err
    assert "note: net: its folds are assumed to be those that [cv] makes" in err
    code, out, err = kkb(there, monkeypatch, capfd, "adopt", "net", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["version"], found["fresh"]) == ("v001", False)
    (model,) = found["models"]
    assert [fold["origin"] for fold in model["folds"]] == ["w/net-f0.pth", "w/net-f1.pth"]
    assert model["compared"]["largest"] < 1e-3
    assert any("assumed" in note for note in found["notes"])


def test_other_preprocessing_ends_at_the_gate(trained_elsewhere, monkeypatch, capfd):
    trained_elsewhere.config('oof = "bgr.npy"\nfolds = "folds.csv"')
    code, out, err = kkb(trained_elsewhere, monkeypatch, capfd, "adopt", "net", "--json")
    assert code == 3
    found = json.loads(out)
    assert found["error"] == "GateError"
    assert "[model.input] of 'net': color = \"bgr\"" in found["remedy"]
    assert "Traceback" not in err


def test_a_kernel_without_checkpoints_is_the_user_s_fault(trained_elsewhere, monkeypatch, capfd):
    trained_elsewhere.config("checkpoints = ''")
    code, _, err = kkb(trained_elsewhere, monkeypatch, capfd, "adopt", "net")
    assert code == 2
    assert "kkb train net" in err
