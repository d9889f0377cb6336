"""Weights as every trainer leaves them arrive under the module's own names; anything else is refused, and no code of it runs."""

import argparse
import collections
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builder import checkpoints
from builder.errors import UserError

torch = pytest.importorskip("torch")


def network(classes=5, seed=0):
    torch.manual_seed(seed)
    body = collections.OrderedDict(
        conv=torch.nn.Conv2d(3, 4, 3), norm=torch.nn.BatchNorm2d(4), flat=torch.nn.Flatten(), head=torch.nn.Linear(4, classes)
    )
    return torch.nn.Sequential(body)


def state(seed=0):
    return dict(network(seed=seed).state_dict())


def under(prefix, found):
    return {prefix + name: tensor for name, tensor in found.items()}


def loaded(path, module=None, classes=5):
    """The weights that a module has after loading, and the notes."""
    module = module or network(seed=9)
    notes = checkpoints.load(module, path, classes)
    return module.state_dict(), notes


def refused(path, module=None, classes=5):
    with pytest.raises(UserError) as caught:
        checkpoints.load(module or network(seed=9), path, classes)
    assert caught.value.file
    assert caught.value.remedy
    return caught.value


WRAPPED = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {}}},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.5},
    "net": lambda s: {"net": s, "acc": 91.2},
    "data-parallel": lambda s: {"state_dict": under("module.", s)},
    "compiled": lambda s: under("_orig_mod.", s),
    "compiled-inside": lambda s: {"state_dict": under("model._orig_mod.", s)},
    "backbone": lambda s: under("backbone.", s),
    "lightning": lambda s: {
        "state_dict": under("model.", s) | {"criterion.weight": torch.ones(5)},
        "hyper_parameters": argparse.Namespace(lr=1e-3, where=Path("somewhere")),
        "callbacks": {"ModelCheckpoint": {"best_model_score": np.float64(0.5)}},
        "loops": collections.defaultdict(list, {"a": [1]}),
    },
    "fastai": lambda s: {"model": under("0.", s), "opt": {"state": [], "hypers": [{"lr": 0.1}]}},
    "timm": lambda s: {"state_dict": state(7), "state_dict_ema": under("module.", s), "args": argparse.Namespace(model="x")},
    "ema": lambda s: {"model": state(7), "ema": s},
    "ema-beside": lambda s: under("net.", state(7)) | under("ema_net.module.", s) | {"ema_net.n_averaged": torch.tensor(3)},
    "swa": lambda s: under("module.", s) | {"n_averaged": torch.tensor(3)},
    "tools": lambda s: s | {"total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1)},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", WRAPPED)
def test_the_wrappers_of_the_usual_frameworks_are_understood(tmp_path, kind, legacy):
    path = tmp_path / "weights.ckpt"
    torch.save(WRAPPED[kind](state()), path, _use_new_zipfile_serialization=not legacy)
    found, notes = loaded(path)
    for name, tensor in state().items():
        assert torch.equal(found[name], tensor), name
    assert ("averaged" in " ".join(notes)) == (kind in {"timm", "ema", "ema-beside"})
    if kind == "lightning":
        assert "criterion.weight" in " ".join(notes)


def test_a_module_with_a_wrapper_of_its_own_takes_plain_weights(tmp_path):
    torch.save(WRAPPED["data-parallel"](state()), tmp_path / "w.pt")
    found, _ = loaded(tmp_path / "w.pt", torch.nn.ModuleDict({"inner": network(seed=9)}))
    assert torch.equal(found["inner.head.weight"], state()["head.weight"])


def test_half_precision_is_widened_and_said(tmp_path):
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state().items()}, tmp_path / "w.pth")
    found, notes = loaded(tmp_path / "w.pth")
    assert found["conv.weight"].dtype == torch.float32
    assert "float16" in notes[0]


def test_what_is_saved_is_read_back_and_is_no_pickle(tmp_path):
    module = network()
    module.twin = torch.nn.Linear(4, 5)
    module.twin.weight = module.head.weight  # memory that two tensors share
    checkpoints.save(module, tmp_path / "w.safetensors")
    found = checkpoints.read(tmp_path / "w.safetensors").tensors
    assert found.keys() == module.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())
    assert (tmp_path / "w.safetensors").read_bytes()[8:9] == b"{"


class Runs:
    """A pickle that runs a command when it is opened."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch '{self.proof}'",)


class Evaluates(Runs):
    def __reduce__(self):
        return eval, (f"open({str(self.proof)!r}, 'w')",)


@pytest.mark.parametrize("kind", [Runs, Evaluates])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_wants_to_run_code_is_named_and_nothing_runs(tmp_path, kind, form):
    path, evil = tmp_path / "weights.pth", {"state_dict": state(), "x": kind(tmp_path / "proof")}
    if form == "pickle":
        path.write_bytes(pickle.dumps(evil["x"]))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "zip")
    error = refused(path)
    assert not (tmp_path / "proof").exists()
    assert ("posix.system" if kind is Runs else "builtins.eval") in error.found
    assert "nothing of it was run" in error.what


def test_no_stand_in_is_made_for_what_only_looks_harmless(tmp_path):
    """Names near those of the trainers' own objects."""

    class Sly(Runs):
        def __reduce__(self):
            return np.load, (str(self.proof),)

    torch.save({"state_dict": state(), "args": Sly(tmp_path / "proof")}, tmp_path / "w.pth")
    assert "numpy" in refused(tmp_path / "w.pth").found


def test_a_whole_pickled_model_is_told_from_a_state_dict(tmp_path):
    torch.save(network(), tmp_path / "w.pth")
    error = refused(tmp_path / "w.pth")
    assert "whole pickled model" in error.found
    assert "state_dict" in error.remedy


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_truncated_file_is_said_to_be_one(tmp_path, share, suffix):
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save(state(), path)
    else:
        checkpoints.save(network(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    error = refused(path)
    assert error.what == "the checkpoint cannot be read"
    assert f"{path.stat().st_size}" in error.found
    assert "again" in error.remedy


def test_a_file_that_kaggle_unpacked_is_recognised_and_can_be_packed_again(tmp_path):
    torch.save(state(), tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        archive.extractall(tmp_path / "unpacked")
    folder = next((tmp_path / "unpacked").iterdir())
    for place in (tmp_path / "net.pth", tmp_path / "other" / "net.pth"):
        place.parent.mkdir(exist_ok=True)
        folder.rename(place)
        error = refused(place)
        assert "Kaggle" in error.what
        assert "data.pkl" in error.found
        folder = place
    # As the remedy says: the folder itself is the archive's top.
    with zipfile.ZipFile(tmp_path / "again.ckpt", "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent))
    assert torch.equal(loaded(tmp_path / "again.ckpt")[0]["head.bias"], state()["head.bias"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<html>not found</html>", "start with"),
        (b"", "start with"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, told):
    (tmp_path / "w.pth").write_bytes(content)
    assert told in refused(tmp_path / "w.pth").found


def test_a_missing_file_names_its_neighbour(tmp_path):
    torch.save(state(), tmp_path / "net-f0.pth")
    assert "net-f0.pth" in refused(tmp_path / "net_f0.pth").remedy


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_is_no_checkpoint(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "w.pt")
    assert "TorchScript" in refused(tmp_path / "w.pt").found


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"state_dict": {}}])
def test_a_file_without_weights_says_what_it_has(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    assert "no weights inside" in refused(tmp_path / "w.pth").found


def test_a_head_of_another_size_is_explained_by_its_classes(tmp_path):
    torch.save(network(classes=1000).state_dict(), tmp_path / "w.pth")
    error = refused(tmp_path / "w.pth")
    assert "1000 outputs" in error.found
    assert "5 classes" in error.expected


def test_missing_and_surplus_keys_are_named_with_the_nearest(tmp_path):
    found = state()
    found["heads.weight"] = found.pop("head.weight")
    torch.save(found, tmp_path / "w.pth")
    error = refused(tmp_path / "w.pth")
    assert "1 missing keys ['head.weight' (nearest: 'heads.weight')]" in error.found
    assert "1 surplus keys ['heads.weight' (nearest: 'head.weight')]" in error.found


def test_another_architecture_is_called_one(tmp_path):
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5), torch.nn.Linear(5, 6))
    torch.save(other.state_dict(), tmp_path / "w.pth")
    assert "another architecture" in refused(tmp_path / "w.pth").what


def test_weights_that_are_not_finite_are_refused(tmp_path):
    found = state()
    found["conv.weight"][0] = float("nan")
    torch.save(found, tmp_path / "w.pth")
    assert "conv.weight" in refused(tmp_path / "w.pth").found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_packed_weights_are_refused(tmp_path):
    found = state()
    found["conv.weight"] = found["conv.weight"].to_sparse()
    torch.save(found, tmp_path / "w.pth")
    assert "conv.weight" in refused(tmp_path / "w.pth").found
