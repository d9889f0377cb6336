"""Weights on both carriers, in one part and in several, all the way: bundled, rendered, rehearsed, pushed, run."""

import json
import os
import shutil

import pytest

from builder import delivery, pipeline
from builder.config import FILE
from builder.remote.client import Client
from builder.standin import control
from tests import competitions, records

pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(workspace, animals, tmp_path):
    """A kernel whose competition is on the stand-in, and the client that leads there."""
    made = records.finished(workspace, animals)
    hidden = tmp_path / "hidden"
    shutil.copytree(animals, hidden)
    ids = (animals / "test.csv").read_text().split()[1:]
    competitions.table(hidden / "solution.csv", ["image_id", "label", "Usage"], [(name, "cat", "Public") for name in ids])
    control.up(workspace.standin)
    try:
        control.configure(workspace.standin, processing_s=0.1)
        control.add_competition(workspace.standin, "tiny-animals", data=animals, hidden=hidden, metric="accuracy")
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **control.environment(workspace.standin)}
        with Client(environment) as client:
            yield made, client, environment["KAGGLE_USERNAME"]
    finally:
        control.down(workspace.standin)


@pytest.mark.parametrize(
    ("settings", "kinds"), [('as = "model"\nsplit = "1kB"', (1, 4)), ('as = "model"', (1, 2)), ('split = "1kB"', (5, 0))]
)
def test_what_was_bundled_is_found_where_it_is_mounted(kernel, settings, kinds):
    made, client, owner = kernel
    path = made.folder / FILE
    path.write_text(path.read_text().replace("[bundle]\n", f"[bundle]\n{settings}\n"))
    pipeline.plan(made)
    pipeline.bundle(made, owner, lenient=True)
    pipeline.render(made, owner)
    metadata = json.loads((made.folder / "kernel-metadata.json").read_text())
    assert (len(metadata["dataset_sources"]), len(metadata["model_sources"])) == kinds
    assert all(source.endswith("/onnx/weights/1") for source in metadata["model_sources"])
    assert pipeline.rehearse(made).label == "Scored"
    pushed, uploads = delivery.push(made, client, wait=True)
    assert pushed.version == 1
    assert len(uploads) == sum(kinds)
    assert all(one["uploaded_bytes"] for one in uploads)
    codes = {finding.code for finding in delivery.preflight(made, client) if finding.severity == "must-fix"}
    assert codes <= {"backend-missing"}  # [bundle] wheels = false
