"""Sixty and more wrong uses, as a new user types them: each is answered on one screen, without a traceback, with the promised
exit code, and the answer ends with what to do."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from builder import cli
from builder.workspace import Workspace
from tests import competitions, records

SCREEN = 24  # lines
WIDTH = 110
KKB = [sys.executable, "-m", "builder.cli"]
HELP = re.compile(r"(?<=to do: ).*(?= --help)")  # names the program as it was started
NAMED = (
    "fetch",
    "train",
    "adopt",
    "export",
    "plan",
    "bundle",
    "render",
    "rehearse",
    "preflight",
    "push",
    "status",
    "logs",
    "output",
)

# What is typed -> (exit code, what the answer must name). In a workspace with one kernel, `animals`, whose files are there.
TYPED = {
    # misspelt commands and options
    "trian animals": (2, "train"),
    "rehears animals": (2, "rehearse"),
    "stand-in up": (2, "standin"),
    "standin start": (2, "--help"),
    "standin stauts": (2, "status"),
    "machine lst": (2, "list"),
    "submit-all animals": (2, "--help"),
    "help": (2, "--help"),
    "version": (2, "--help"),
    "kkb plan animals": (2, "--help"),
    "train animals --resum": (2, "--resume"),
    "train animals --jsn": (2, "--json"),
    "render animals --chek": (2, "--check"),
    "push animals --nowait": (2, "--no-wait"),
    "submit animals --only-if-beter": (2, "--only-if-better"),
    "doctor --ofline": (2, "--offline"),
    "collect --orphan": (2, "--orphans"),
    "init --focre": (2, "--force"),
    "new animals2 --competiton x": (2, "--competition"),
    "preflight animals --off-line": (2, "--offline"),
    # arguments that are missing, too many, or of another type
    "train": (2, "--help"),
    "train animals animals": (2, "--help"),
    "new": (2, "--help"),
    "new photos": (2, "--competition"),
    "new --competition x": (2, "--help"),
    "train animals --fold two": (2, "--fold"),
    "rehearse animals --rows many": (2, "--rows"),
    "rehearse animals --rows 0": (2, "--rows"),
    "rehearse animals --limit soon": (2, "9h, 90min or 45s"),
    "submit animals --reserve -1": (2, "--reserve"),
    "standin up --port http": (2, "--port"),
    "standin up --port 99999": (2, "--port"),
    "standin exec": (2, "--help"),
    "standin exec -- kaggle --version": (2, "kkb standin up"),
    "standin fault": (2, "standin fault --help"),
    "standin fault SaveKernal 503": (2, "did you mean 'SaveKernel'?"),
    "standin add-competition photos --data nowhere.zip --hidden nowhere.zip": (2, "nowhere.zip"),
    "standin add-competition photos --data kernels --hidden kernels --metric acuracy": (2, "did you mean 'accuracy'?"),
    "plan": (2, "kkb plan --help"),
    "machine show": (2, "--help"),
    "ci": (2, "--help"),
    "ci run": (2, "--help"),
    "doctor animals": (2, "--help"),
    # things that are not there
    "train animal": (2, "did you mean 'animals'?"),
    "train Animals": (2, "did you mean 'animals'?"),
    "train kernels/animals": (2, "did you mean 'animals'?"),
    "status dogs-and-cats": (2, "animals"),
    "collect animalz --standin": (2, "did you mean 'animals'?"),
    "ci weights animalz": (2, "did you mean 'animals'?"),
    "ci tiny animalz": (2, "did you mean 'animals'?"),
    "machine show t4x22": (2, "did you mean 't4x2'?"),
    "plan --units nowhere --budget 10 --rows 10": (2, "nowhere"),
    "ci weights animals nowhere.tar": (2, "kkb"),
    "simulate nowhere.json --predictions x.npy --budget 600": (2, "nowhere.json"),
    "rehearse --notebook nowhere.ipynb --competition cifar=kernels": (2, "nowhere.ipynb"),
    "rehearse --notebook kernels/animals/kernel.toml --competition cifar=kernels": (2, ".ipynb or .py"),
    # stages before their turn
    "preflight animals --offline": (2, "kkb"),
    "push animals --standin": (2, "kkb"),
    "submit animals --standin": (2, "kkb"),
    # names that Kaggle would not take, values that are not known
    "new Photos --competition cifar": (2, "kkb new photos"),
    "new cat --competition cifar": (2, "cat-kernel"),
    "new photos --competition https://www.kaggle.com/c/cifar": (2, "slug"),
    "new photos --competition cifar --task image-clasification": (2, "image-classification"),
    "new animals --competition cifar": (2, "exists"),
    # no server
    "fetch animals --standin": (2, "kkb standin up"),
    "collect --standin": (2, "kkb standin up"),
    "standin env": (2, "kkb standin up"),
    "ship animals --standin": (2, "kkb standin up"),
}
# The same, where something has to be loaded or started before it can be refused.
SLOW = {
    "plan animals": (2, "kkb"),
    "export animals": (2, "kkb train animals"),
    "bundle animals": (2, "KAGGLE_API_TOKEN"),
    "render animals": (2, "KAGGLE_API_TOKEN"),
    "bundle animals --owner me": (2, "kkb"),
    "render animals --owner me": (2, "kkb"),
    "rehearse animals": (2, "kkb"),
    "fetch animals": (2, "KAGGLE_API_TOKEN"),
    "collect": (2, "KAGGLE_API_TOKEN"),
    "doctor --standin": (4, "kkb standin up"),
}


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A workspace with one kernel whose data are there, for all: a wrong use changes nothing."""
    root = tmp_path_factory.mktemp("wrong")
    made = Workspace(root / "space")
    records.kernel(made, competitions.write(root / "animals"))
    return made


@pytest.fixture
def home(space, tmp_path, monkeypatch):
    """The same as the current folder, and a home without credentials."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "KKB_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.chdir(space.root)
    before = (space.kernels / "animals" / "kernel.toml").read_text()
    yield space
    (space.kernels / "animals" / "kernel.toml").write_text(before)
    assert {path.name for path in space.root.iterdir()} <= {"kernels", ".kkb"}
    assert {path.name for path in space.kernels.iterdir()} == {"animals"}


def answered(capfd, *typed):
    """(exit code, everything that was shown), after the laws that hold for every answer."""
    capfd.readouterr()
    code = cli.run(list(typed))
    out, err = capfd.readouterr()
    shown = out + err
    assert "Traceback" not in shown
    assert "kkb has a bug" not in shown, shown
    lines = [
        line[start : start + WIDTH] for line in shown.rstrip("\n").split("\n") for start in range(0, max(1, len(line)), WIDTH)
    ]
    assert len(lines) <= SCREEN, f"{len(lines)} lines:\n{shown}"
    assert "to do: " in shown.rstrip("\n").split("\n")[-1] or shown.startswith("Usage: "), (
        f"the last line says what to do:\n{shown}"
    )
    return code, shown


def test_there_are_sixty():
    assert len(TYPED) + len(SLOW) >= 60


@pytest.mark.parametrize("typed", [*TYPED, *(pytest.param(typed, marks=pytest.mark.slow) for typed in SLOW)])
def test_a_wrong_use_is_answered(typed, home, capfd):
    code, names = {**TYPED, **SLOW}[typed]
    found, shown = answered(capfd, *shlex.split(typed))
    assert found == code, shown
    assert names in shown, shown


BROKEN = {
    "": "competition",
    "competition": "kernel.toml",
    "[competition]\nslug = 'x'\nmetrik = 'accuracy'\n": "metric",
    "[competition]\nslug = 'x'\nmetric = 'acuracy'\n[[model]]\nname = 'a'\nbackbone = 'timm/test_resnet'\n": "accuracy",
    "[competition]\nslug = 'x'\nlimit = '9 o clock'\n[[model]]\nname = 'a'\nbackbone = 'timm/test_resnet'\n": "9h",
    "[competition]\nslug = 'x'\nmachine = 't4'\n[[model]]\nname = 'a'\nbackbone = 'timm/test_resnet'\n": "t4x2",
    "[competition]\nslug = 'x'\n[[model]]\nname = 'A B'\nbackbone = 'timm/test_resnet'\n": "model",
    "[competition]\nslug = 'x'\n[[model]]\nname = 'a'\n": "backbone",
    "[competition]\nslug = 'x'\n[model]\nname = 'a'\nbackbone = 'timm/test_resnet'\n": "[[model]]",
    "[competition]\nslug = 'x'\nlimit = 20min\n": "line 3",
    "[competition]\nslug = 'https://kaggle.com/c/x'\n[[model]]\nname = 'a'\nbackbone = 'timm/test_resnet'\n": "address",
    "[competition]\nslug = 'x'\n[[modle]]\nname = 'a'\n": "model",
    "[competition]\nslug = 'x'\n[[model]]\nname = 'a'\nbackbone = 'timm/test_resnet'\n[cv]\nfolds = 1\n": "folds",
    "\x00\x01": "kernel.toml",
}


@pytest.mark.parametrize("text", [*list(BROKEN)[:4], *(pytest.param(text, marks=pytest.mark.slow) for text in list(BROKEN)[4:])])
def test_a_broken_kernel_toml_is_named_with_its_key(text, home, capfd):
    path = home.kernels / "animals" / "kernel.toml"
    path.write_text(text)
    code, shown = answered(capfd, "train", "animals")
    assert code == 2
    assert "kernel.toml" in shown
    assert BROKEN[text] in shown


@pytest.mark.parametrize("command", ["train", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMED if name != "train")])
def test_outside_a_workspace_it_says_how_to_make_a_kernel(command, home, capfd, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, shown = answered(capfd, command, "animals")
    assert code == 2
    assert "kkb new animals --competition SLUG" in shown
    assert list(elsewhere.iterdir()) == [], "a refused command leaves nothing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_that_cannot_be_written(home, capfd, monkeypatch, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, shown = answered(capfd, "init", str(closed))
    assert code == 2
    assert "closed" in shown


@pytest.mark.parametrize("where", ["/proc/kkb-here", "/dev/null/here"])
def test_a_place_where_nothing_can_be_made(where, home, capfd):
    code, shown = answered(capfd, "init", where)
    assert code == 2
    assert where in shown


def test_a_file_where_a_folder_is_wanted(home, capfd, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, shown = answered(capfd, "init", str(tmp_path / "file"))
    assert code == 2
    assert (tmp_path / "file").read_text() == "mine"
    assert "not a folder" in shown


# A cell of train.csv is another one -> what the answer must name.
SPOILT = {
    "a label is missing": ("cat", "", "label"),
    "not a table": ("image_id", "\udcff\udcfe", "kkb fetch"),
    "an id stands twice": ("a001", "a000", "a000"),
    "an id without an image": ("a000", "nobody", "nobody"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_table_is_named_with_its_row(what, home, capfd, tmp_path):
    before, after, names = SPOILT[what]
    root = competitions.write(tmp_path / "animals")
    toml = home.kernels / "animals" / "kernel.toml"
    toml.write_text(competitions.config(root))
    path = root / "train.csv"
    text = path.read_text()
    assert before in text
    path.write_bytes(text.replace(before, after, 1).encode("utf-8", "surrogateescape"))
    code, shown = answered(capfd, "train", "animals")
    assert code == 2, shown
    assert "train.csv" in shown
    assert names in shown


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(home, capfd, monkeypatch):
    """kkb is installed without its extras, which is how `pip install` does it when nobody says more."""
    monkeypatch.setitem(sys.modules, "torch", None)
    code, shown = answered(capfd, "demo")
    assert code == 2, shown
    names_the_extra(shown)


def names_the_extra(shown):
    assert "the extra 'train'" in shown
    assert "-m pip install" in shown.rstrip().split("\n")[-1]


WITHOUT_TORCH = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
from builder.cli import main

main()
"""


@pytest.mark.slow
def test_a_package_that_is_missed_half_way_is_named_alike(home):
    command = [sys.executable, "-c", WITHOUT_TORCH, "train", "animals"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=home.root)
    assert ran.returncode == 2, ran.stderr
    names_the_extra(ran.stderr)


@pytest.mark.slow
def test_an_environment_that_leads_nowhere(home, capfd, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "STAGING")
    code, shown = answered(capfd, "fetch", "animals")
    assert code == 2
    assert "unset KAGGLE_API_ENVIRONMENT" in shown


@pytest.mark.parametrize("typed", ["trian animals", "train", "train animalz", "plan animals", "fetch animals --standin"])
def test_a_program_gets_one_object_with_the_same_answer(typed, home, capfd):
    capfd.readouterr()
    code = cli.run([*typed.split(), "--json"])
    out, err = capfd.readouterr()
    record = json.loads(out)
    assert record["exit_code"] == code == 2
    assert record["message"] in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed", [("trian", "animals"), ("train", "animalz"), ("new", "Photos", "--competition", "x"), ("push", "animals")]
)
def test_the_real_command_says_the_same(typed, home, capfd):
    ran = subprocess.run([*KKB, *typed], capture_output=True, text=True, timeout=120, check=False, cwd=home.root)
    code, shown = answered(capfd, *typed)
    assert ran.returncode == code
    assert HELP.sub("", ran.stdout + ran.stderr) == HELP.sub("", shown)
