"""A stand-in with a tiny competition, and the official client as a process of its own."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests

from builder.standin import control
from builder.standin.home import Home, read_record

COMPETITION = "tiny-comp"
COMPETITIONS = "competitions.CompetitionApiService"
DATASETS = "datasets.DatasetApiService"
KERNELS = "kernels.KernelsApiService"
MODELS = "models.ModelApiService"
NO_PROXIES = {"http": "", "https": ""}
HIDDEN_ROWS = 10
COPY_X = """
import csv, os
root = "/kaggle/input/competitions/tiny-comp"
rows = list(csv.DictReader(open(root + "/test.csv")))
print("files:", sorted(os.listdir(root)))
print("rows:", len(rows))
with open("submission.csv", "w") as sink:
    sink.write("id,label\\n")
    for row in rows:
        sink.write(f"{row['id']},{row['x']}\\n")
"""


def write_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(",".join(str(value) for value in row) for row in [header, *rows]) + "\n")


def write_competition(folder, *, hidden_rows=HIDDEN_ROWS):
    """`data/` and `hidden/`: the label of a row is its x, so a notebook that copies x scores 1."""
    data, hidden = folder / "data", folder / "hidden"
    write_table(data / "train.csv", ("id", "x", "label"), [(n, n % 2, n % 2) for n in range(8)])
    write_table(data / "test.csv", ("id", "x"), [(100 + n, n % 2) for n in range(3)])
    write_table(data / "sample_submission.csv", ("id", "label"), [(100 + n, 0) for n in range(3)])
    write_table(hidden / "test.csv", ("id", "x"), [(100 + n, n % 2) for n in range(hidden_rows)])
    write_table(hidden / "sample_submission.csv", ("id", "label"), [(100 + n, 0) for n in range(hidden_rows)])
    solution = [(100 + n, n % 2, "Public" if n < hidden_rows // 2 else "Private") for n in range(hidden_rows)]
    write_table(hidden / "solution.csv", ("id", "label", "Usage"), solution)
    return data, hidden


def write_dataset(folder, slug, files):
    """A folder for `kaggle datasets create -p`."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"id": f"local/{slug}", "title": slug.replace("-", " "), "licenses": [{"name": "CC0-1.0"}]}
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def notebook(source):
    """A notebook of one cell, as JSON."""
    cell = {"cell_type": "code", "id": "only", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": [cell], "metadata": spec, "nbformat": 4, "nbformat_minor": 5})


def write_kernel(folder, slug, source, **metadata):
    """A folder for `kaggle kernels push -p`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notebook.ipynb").write_text(notebook(source))
    values = {
        "id": f"local/{slug}",
        "title": slug.replace("-", " "),
        "code_file": "notebook.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "enable_internet": False,
        "competition_sources": [COMPETITION],
    }
    (folder / "kernel-metadata.json").write_text(json.dumps({**values, **metadata}))
    return folder


@dataclass(frozen=True)
class Stand:
    """A stand-in's folder and a client's HOME."""

    home: Path
    scratch: Path
    overrides: tuple[tuple[str, str], ...] = ()

    def environment(self):
        base = {"PATH": os.environ["PATH"], "HOME": str(self.scratch), "TMPDIR": str(self.scratch)}
        return {**base, **control.environment(self.home), **dict(self.overrides)}

    def using(self, **overrides):
        return replace(self, overrides=tuple(overrides.items()))

    def kaggle(self, *arguments, check=True):
        """One run of the official command line client."""
        command = [sys.executable, "-m", "kaggle", *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment(), cwd=self.scratch, capture_output=True, text=True, timeout=120, check=False
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def sdk(self, *, token=None, key=None):
        """The client's own lower half in this process: same messages, no process start. Talks to the port without a proxy."""
        from kagglesdk.kaggle_client import KaggleClient
        from kagglesdk.kaggle_env import KaggleEnv

        record = read_record(Home(self.home))
        client = KaggleClient(env=KaggleEnv.LOCAL, username=record.username, password=key or record.key, api_token=token)
        http = client.http_client()
        assert http._endpoint == "http://localhost"
        http._endpoint = record.url
        http._init_session()
        http._session.trust_env = False
        return client

    def call(self, service, method, **fields):
        """One call of the API with JSON names, the message classes' own coding; returns the answer as JSON names."""
        return self.raw(service, method, fields).json()

    def raw(self, service, method, fields, **options):
        """The HTTP answer of one call."""
        record = read_record(Home(self.home))
        with requests.Session() as session:
            session.trust_env = False
            session.auth = options.pop("auth", (record.username, record.key))
            return session.post(f"{record.url}/api/v1/{service}/{method}", json=fields, timeout=60, **options)

    def upload(self, name, content):
        """Upload one blob; returns its token."""
        started = self.call("blobs.BlobApiService", "StartBlobUpload", type="DATASET", name=name, contentLength=len(content))
        assert requests.put(started["createUrl"], data=content, timeout=60, proxies=NO_PROXIES).status_code == 200
        return started["token"]

    def create_dataset(self, slug, files):
        """Create a dataset and wait until it is ready; returns the answer."""
        tokens = [{"token": self.upload(name, content)} for name, content in files.items()]
        names = {"ownerSlug": "local", "slug": slug, "title": slug.replace("-", " "), "licenseName": "CC0-1.0"}
        answer = self.call(DATASETS, "CreateDataset", **names, isPrivate=True, files=tokens)
        if answer.get("status") == "ok":
            self.until(
                lambda: self.call(DATASETS, "GetDatasetStatus", ownerSlug="local", datasetSlug=slug).get("status") == "READY"
            )
        return answer

    def push(self, slug, source, /, **fields):
        """Save a kernel; returns the answer."""
        values = {"slug": f"local/{slug}", "newTitle": slug.replace("-", " "), "text": notebook(source), "language": "python"}
        values |= {"kernelType": "notebook", "isPrivate": True, "competitionDataSources": [COMPETITION]}
        return self.call(KERNELS, "SaveKernel", **{**values, **fields})

    def submit(self, slug, version=1, message="m", file="submission.csv"):
        """Submit a saved version; returns the HTTP answer."""
        fields = {"competitionName": COMPETITION, "kernelOwner": "local", "kernelSlug": slug, "kernelVersion": version}
        return self.raw(COMPETITIONS, "CreateCodeSubmission", {**fields, "fileName": file, "submissionDescription": message})

    def status(self, slug, version=None):
        """Status message of a version, or of the newest."""
        label = {"versionLabel": f"v{version}"} if version else {}
        return self.call(KERNELS, "GetKernelSessionStatus", userName="local", kernelSlug=slug, **label)

    def until(self, question, limit=60):
        """Ask until the answer is true."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            answer = question()
            if answer:
                return answer
            time.sleep(0.1)
        raise AssertionError("waited too long")

    def finished(self):
        """The kernels' states once none is queued or running."""

        def quiet():
            states = control.status(self.home)["kernels"]
            return states if not {"QUEUED", "RUNNING"} & set(states) else None

        return self.until(quiet)

    def scored(self):
        """The submissions' states once none is pending."""

        def quiet():
            states = control.status(self.home)["submissions"]
            return states if "PENDING" not in states else None

        return self.until(quiet)

    def submissions(self):
        """All submissions, newest first."""
        return self.call(COMPETITIONS, "ListSubmissions", competitionName=COMPETITION).get("submissions", [])


@pytest.fixture(scope="session")
def competition_files(tmp_path_factory):
    return write_competition(tmp_path_factory.mktemp("competition"))


@pytest.fixture
def stand(tmp_path, competition_files):
    """A fresh stand-in that runs, with the tiny competition and quick datasets."""
    yield from _stand(tmp_path, competition_files)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, competition_files):
    """One stand-in for the tests of a module that don't get in each other's way."""
    yield from _stand(tmp_path_factory.mktemp("shared"), competition_files)


def _stand(folder, competition_files):
    home, scratch = folder / "home", folder / "scratch"
    scratch.mkdir()
    control.configure(home, processing_s=0.3)
    data, hidden = competition_files
    control.add_competition(home, COMPETITION, data=data, hidden=hidden, metric="accuracy", limit_s=120, kind="any")
    control.up(home)
    try:
        yield Stand(home, scratch)
    finally:
        control.down(home)
