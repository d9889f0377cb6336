"""kernel.toml: durations, defaults, and for each fault a message with file, key and remedy, and exit code 2."""

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import cli, config
from builder.errors import ConfigError

KERNELS = Path(__file__).parent / "kernels"
BROKEN = sorted(path.parent for path in KERNELS.glob("*/kernel.toml"))
SMALL = '[competition]\nslug = "tiny-animals"\n\n[[model]]\nname = "resnet"\nbackbone = "timm/test_resnet"\n'


def loaded(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.toml").write_text(text)
    return config.load(folder)


@given(st.integers(0, 99), st.integers(0, 999), st.integers(1, 9999))
def test_durations_add_up(hours, minutes, seconds):
    expected = hours * 3600 + minutes * 60 + seconds
    for text in (f"{hours}h{minutes}min{seconds}s", f"{hours}h {minutes}m {seconds}s", f" {hours} h {minutes} min {seconds} s "):
        assert config.seconds(text) == expected
    assert config.seconds(seconds) == seconds
    assert config.seconds(f"{seconds / 4}h") == pytest.approx(seconds * 900)


@pytest.mark.parametrize(
    "text", ["", "9", "h", "nine hours", "9x", "-9h", "9h!", "9hours", True, "0s", 0, -5, "9999h9999999h", None, []]
)
def test_what_is_no_duration_is_refused_and_told_how_to_write_one(text):
    with pytest.raises(ValueError, match="expected a duration"):
        config.seconds(text)


@given(st.floats(0, 99.99))
def test_shares_are_written_as_percent_or_as_numbers(percent):
    assert config.fraction(f"{percent}%") == pytest.approx(percent / 100)
    assert config.fraction(percent / 100) == pytest.approx(percent / 100)


@pytest.mark.parametrize("text", ["150%", "-1%", "100%", "five", "", 1, "nan", "5%%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ValueError, match="expected a share"):
        config.fraction(text)


def test_defaults_are_those_of_the_design(tmp_path):
    found = loaded(tmp_path, SMALL)
    assert (found.competition.metric, found.competition.file, found.competition.limit) == ("accuracy", "submission.csv", 9 * 3600)
    assert (found.cv.scheme, found.cv.folds) == ("stratified", 5)
    assert (found.data.train, found.data.test, found.data.sample_submission) == ("train.csv", "test.csv", "sample_submission.csv")
    assert (found.export.format, found.inference.views, found.inference.reserve) == ("onnx", ("identity",), 0.05)
    assert found.export.max_score_drop == 0.0005
    assert found.data_root(tmp_path) == tmp_path / ".kkb/data/tiny-animals"
    assert not found.data.complete


def test_a_config_is_frozen(tmp_path):
    found = loaded(tmp_path, SMALL)
    with pytest.raises(ValueError, match="frozen"):
        found.competition.slug = "other"


def test_durations_and_shares_are_read_where_they_stand(tmp_path):
    text = SMALL.replace('slug = "tiny-animals"', 'slug = "tiny-animals"\nlimit = "1h30min"') + '[inference]\nreserve = "12%"\n'
    found = loaded(tmp_path, text)
    assert (found.competition.limit, found.inference.reserve) == (5400.0, 0.12)


def test_identity_is_always_the_first_view(tmp_path):
    found = loaded(tmp_path, SMALL + '[inference]\nviews = ["hflip", "identity", "rot90"]\n')
    assert found.inference.views == ("identity", "hflip", "rot90")


def test_every_view_of_the_runtime_is_one_of_the_config(tmp_path):
    from builder.runtime import views

    names = [*views.TURNS, "left5", "hflip@center90@288"]
    assert loaded(tmp_path, SMALL + f"[inference]\nviews = {json.dumps(names)}\n").inference.views == tuple(names)


def header(folder, key):
    text = (folder / "kernel.toml").read_text()
    return re.search(rf"^# {key}: (.+)$", text, re.MULTILINE).group(1)


@pytest.mark.parametrize("folder", BROKEN, ids=lambda path: path.name)
def test_a_broken_kernel_names_file_key_and_remedy(folder):
    with pytest.raises(ConfigError) as caught:
        config.load(folder)
    error = caught.value
    assert error.file == str(folder / "kernel.toml")
    for part in header(folder, "names").split(", "):
        assert part in str(error)
    assert header(folder, "remedy") in error.remedy


@pytest.mark.parametrize("folder", BROKEN, ids=lambda path: path.name)
def test_a_broken_kernel_ends_a_command_with_2(folder, workspace, capsys):
    shutil.copytree(folder, workspace.kernels / folder.name)
    assert cli.run(["train", folder.name, "--json"]) == 2
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["exit_code"], record["error"]) == (2, "ConfigError")
    assert record["file"].endswith(f"kernels/{folder.name}/kernel.toml")
    assert "Traceback" not in err
    assert "to do:" in err


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="missing file") as caught:
        config.load(tmp_path / "digits")
    assert "kkb new digits" in caught.value.remedy


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "kernel.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        config.load(tmp_path)


def test_the_fault_that_is_explained_does_not_depend_on_the_order_of_tables(tmp_path):
    head, model = SMALL.split("\n\n", 1)
    wrong = "[train]\nepohcs = 3\n"
    messages = set()
    for number, text in enumerate((f"{head}\n\n{wrong}\n{model}", f"{model}\n{wrong}\n{head}\n")):
        with pytest.raises(ConfigError) as caught:
            loaded(tmp_path / str(number), text)
        messages.add(caught.value.what)
    assert len(messages) == 1
