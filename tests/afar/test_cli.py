"""`kkb rehearse NAME --on kaggle --standin` as one types it: leave, come back, read the verdict."""

import json

import pytest

from builder import cli
from builder.standin import control

from .conftest import host

pytestmark = pytest.mark.slow


@pytest.fixture
def stand(kernel, tmp_path):
    """The workspace's own stand-in, with the tiny competition."""
    home = kernel.workspace.standin
    host(home, kernel.root, tmp_path / "hosted")
    try:
        yield home
    finally:
        control.down(home)


def test_leaving_and_coming_back(stand, capsys):
    def run(*typed):
        code = cli.run(["rehearse", "animals", "--on", "kaggle", "--standin", "--rows", "20", "--json", *typed])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out), err

    code, left, err = run("--no-wait")
    assert (code, left["kernel"], left["kernel_version"]) == (0, "local/animals-rehearsal", 1)
    assert "come back with the same command" in err
    code, found, err = run()
    assert (code, found["label"], found["rows"], found["status"], found["kernel_version"]) == (0, "Scored", 20, "COMPLETE", 1)
    assert {"label", "score", "rows", "seconds", "peak_mb", "disk_mb", "findings", "enforced", "not_enforced", "forecast"} <= set(
        found
    )
    assert "NOT enforced here: the machine cpu" in err
    assert run("--no-wait")[1] == found, "what is over is shown without waiting"
