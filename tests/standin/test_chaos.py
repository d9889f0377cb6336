"""Killed at any moment, the stand-in comes back with everything it had answered for, and with nothing half made."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest
import requests

from builder.standin import control
from builder.standin.home import Home, files_below, read_record
from builder.standin.store import Store
from tests.standin.conftest import COPY_X, DATASETS, MODELS

SEED = 7
KILLS = 8


def work(stand, stop, answered):
    """Create things as fast as they are answered; remember what was."""
    number = 0
    while not stop.is_set():
        number += 1
        with contextlib.suppress(requests.RequestException, ValueError, KeyError, AssertionError):
            files = [{"token": stand.upload(f"f{index}.bin", bytes(2000))} for index in range(3)]
            fields = {"ownerSlug": "local", "slug": f"data-{number}", "title": f"data {number}", "licenseName": "CC0-1.0"}
            if stand.call(DATASETS, "CreateDataset", **fields, files=files)["status"] == "ok":
                answered["dataset"].append(f"data-{number}")
        with contextlib.suppress(requests.RequestException, ValueError, KeyError):
            saved = stand.push("many-versions", COPY_X, kernelExecutionType="QUICK_SAVE")
            answered["kernel"].append(saved["versionNumber"])
        with contextlib.suppress(requests.RequestException, ValueError, KeyError):
            model = stand.call(MODELS, "CreateModel", ownerSlug="local", slug=f"model-{number}", title="t", isPrivate=True)
            answered["model"].append(model["id"])


@pytest.mark.slow
def test_kills_at_random_moments(stand):
    stop, answered = threading.Event(), {"dataset": [], "kernel": [], "model": []}
    worker = threading.Thread(target=work, args=(stand, stop, answered))
    worker.start()
    dice = random.Random(SEED)
    try:
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.05, 1.0))
            os.kill(read_record(Home(stand.home)).pid, signal.SIGKILL)
            control.up(stand.home)
    finally:
        stop.set()
        worker.join(60)
    home, store = Home(stand.home), Store(Home(stand.home).database)
    assert all(answered.values()), "the test must have done something"

    datasets = store.all("SELECT d.slug, v.number, v.files FROM datasets d JOIN dataset_versions v ON v.dataset = d.id")
    assert set(answered["dataset"]) <= {row["slug"] for row in datasets}
    for row in datasets:
        assert len(files_below(home.dataset(row["slug"], row["number"]))) == row["files"] == 3
    versions = [row["number"] for row in store.all("SELECT number FROM kernel_versions ORDER BY number")]
    assert versions == list(range(1, len(versions) + 1))
    assert set(answered["kernel"]) <= set(versions)
    assert len(answered["kernel"]) == len(set(answered["kernel"]))
    for number in versions:
        assert (home.kernel("many-versions", number) / "notebook.ipynb").read_text().startswith("{")
    assert set(answered["model"]) <= {row["id"] for row in store.all("SELECT id FROM models")}
    assert not list(home.incoming.glob("*"))
