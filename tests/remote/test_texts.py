"""Diagnosis, submission forms and log streams: pure text."""

from types import SimpleNamespace

import pytest

from builder.errors import RunError, UserError
from builder.remote import diagnosis, forms
from builder.remote.runs import parse_log
from builder.remote.streams import events

LOG = [
    {"stream_name": "stdout", "time": 1.0, "data": "loading\n"},
    {
        "stream_name": "stderr",
        "time": 2.0,
        "data": "nbclient.exceptions.CellExecutionError: An error occurred while executing the following cell:\n"
        "------------------\nmodel = load()\nmodel.run()\n------------------\n\n",
    },
    {"stream_name": "stderr", "time": 2.1, "data": "\x1b[0;31mModuleNotFoundError\x1b[0m: No module named 'timm'\n"},
]


def test_a_log_gives_the_error_the_cell_and_the_remedy():
    found = diagnosis.of_log(LOG)
    assert found.error == "ModuleNotFoundError: No module named 'timm'"
    assert found.cell == "model = load()\nmodel.run()"
    assert found.meaning == "a package is not in the image: timm"
    assert "requirements" in found.remedy


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB", "GPU ran out of memory"),
        ("RuntimeError: Found no NVIDIA driver on your system", "has none"),
        ("MemoryError: Unable to allocate 12 GiB", "session ran out of memory"),
        ("nbclient.exceptions.DeadKernelError: Kernel died", "session ran out of memory"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/kaggle/input/x/y.csv'", "/kaggle/input/x/y.csv"),
        ("urllib3.exceptions.NameResolutionError: Temporary failure in name resolution", "internet"),
        ("nbclient.exceptions.CellTimeoutError: A cell timed out", "time limit"),
        ("SystemExit: 1", "ended the program"),
        ("ValueError: the reason", "raised an error"),
        ("nothing to see", "does not show why"),
    ],
)
def test_what_a_line_means(line, meaning):
    found = diagnosis.of_log([{"data": "before\n"}, {"data": line + "\n"}])
    assert meaning in found.meaning
    assert found.remedy


def test_the_last_error_decides_not_an_earlier_warning():
    found = diagnosis.of_log([{"data": "UserWarning: No module named 'apex'\nValueError: the reason\n"}])
    assert found.error == "ValueError: the reason"


def test_every_label_of_kaggle_has_a_meaning():
    for label in diagnosis.LABELS:
        assert diagnosis.of_submission(f"{label}.").meaning == diagnosis.LABELS[label][0]
    assert diagnosis.of_submission("Something new").remedy


def sheet(path, *rows):
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def sample(tmp_path):
    return sheet(tmp_path / "sample.csv", "id,a,b", "1,0,0", "2,0,0")


def test_a_file_that_fits_has_its_rows_counted_in_any_order(tmp_path, sample):
    assert forms.check(sheet(tmp_path / "s.csv", "id,a,b", "2,0.5,0.5", "1,1,0"), sample) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("id,a", "1,0", "2,0"), "other columns"),
        (("id,b,a", "1,0,0", "2,0,0"), "other columns"),
        (("id,a,b", "1,0,0"), "number of rows"),
        (("id,a,b", "1,0,0", "1,0,0"), "an id twice"),
        (("id,a,b", "1,0,0", "3,0,0"), "lacks ids"),
        (("id,a,b", "1,0,0", "2,,0"), "empty value"),
        (("id,a,b", "1,0,0", "2,NaN,0"), "empty value"),
        (("id,a,b", "1,0,0", "2,0"), "cannot be read"),
        (("",), "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, sample, rows, message):
    with pytest.raises(RunError, match=message) as caught:
        forms.check(sheet(tmp_path / "s.csv", *rows), sample)
    assert caught.value.exit_code == 5


def test_a_missing_sample_is_the_users(tmp_path, sample):
    with pytest.raises(UserError, match="sample submission"):
        forms.check(sample, tmp_path / "nothing.csv")


def test_a_log_is_kaggles_array_or_lines():
    assert parse_log('[{"stream_name": "stdout", "time": 0.5, "data": "x\\n"}]') == [
        {"stream_name": "stdout", "time": 0.5, "data": "x\n"}
    ]
    assert [entry["data"] for entry in parse_log("one\ntwo")] == ["one\n", "two"]
    assert parse_log("") == []


def answer(kind, lines):
    text = "\n".join(lines)
    return SimpleNamespace(headers={"Content-Type": kind}, text=text, iter_lines=lambda **_: iter(lines))


def test_a_live_stream_ends_at_its_sentinel():
    lines = ['data: {"data": "a"}', "", "data: plain", ": ping", "data: END_OF_LOG", 'data: {"data": "never"}']
    assert [entry["data"] for entry in events(answer("text/event-stream", lines))] == ["a", "plain\n"]


def test_a_stream_without_its_sentinel_broke():
    with pytest.raises(ConnectionError):
        list(events(answer("text/event-stream; charset=utf-8", ['data: {"data": "a"}'])))


def test_a_finished_log_is_one_array():
    assert list(events(answer("application/json", ['[{"data": "a"}, {"data": "b"}]']))) == [{"data": "a"}, {"data": "b"}]
