"""A tiny kernel without a fault, and one small harm for each check: that check and no other refuses it."""

import dataclasses
import json
from datetime import datetime
from pathlib import Path

from builder import machines
from builder.remote.account import Quota
from builder.remote.competitions import Competition, Limits
from builder.remote.preflight.record import Online
from builder.remote.runs import Latest
from tests.remote.folders import bundle, kernel

NOW = datetime(2026, 11, 21, 12, 0, 0)  # noqa: DTZ001 - as Kaggle writes it
DIGEST = "0123456789abcdef" * 4
WHEELS = {f"onnxruntime_gpu-1.26.0-cp{tag}-cp{tag}-manylinux_2_27_x86_64.whl": b"wheel" for tag in ("312", "313")}
CONTENT = {"a-f0.onnx": b"model", **WHEELS}
ONLINE = Online(
    username="local",
    competition=Competition("tiny", "Tiny", "accuracy", "2027-01-01T00:00:00.000Z", 5, True, True, False),
    limits=Limits(1, 1, 4, False),
    quota=None,
)


def plan(**changes):
    unit = {
        "member": "v001:a",
        "fold": 0,
        "view": "identity",
        "dataset": "v001:a",
        "file": "a-f0.onnx",
        "backend": "onnxruntime",
        "input": {"height": 8, "width": 8},
        "batch": 8,
        "seconds": 0.01,
        "load_s": 1.0,
    }
    whole = {
        "kernel": "good-name",
        "task": "image-classification",
        "metric": "accuracy",
        "accelerator": "cuda",
        "limit_s": 3600.0,
        "reserve": 0.2,
        "schema": 1,
        "units": [unit],
        "prefixes": [{"weights": [1.0]}],
        "prior": [0.5, 0.5],
        "source": {"competition": "tiny", "test": "test.csv", "sample_submission": "", "pattern": "{id}.png"},
        "answer": {"file": "submission.csv", "id": "id", "form": "labels", "columns": ["label"], "classes": ["0", "1"]},
    }
    return {**whole, **changes}


@dataclasses.dataclass
class Case:
    """What a harm may change. Files are written to disk, the rest goes to `gather` or into what Kaggle says."""

    root: Path
    content: dict = dataclasses.field(default_factory=lambda: dict(CONTENT))
    metadata: dict = dataclasses.field(default_factory=dict)
    plan: dict = dataclasses.field(default_factory=plan)
    program: str = "print('hello')"
    slug: str = "good-name"
    bundle_slug: str | None = None
    title: str | None = None
    options: dict = dataclasses.field(default_factory=dict)
    online: dict = dataclasses.field(default_factory=dict)
    after: list = dataclasses.field(default_factory=list)

    @property
    def kernel(self):
        return self.root / "kernel"

    @property
    def data(self):
        return self.root / "data"

    def write(self):
        """Write the folders; the arguments for `gather`, and what Kaggle says."""
        bundle(self.data, self.content, slug=self.bundle_slug)
        manifest = json.loads((self.data / "manifest.json").read_text())
        (self.data / "manifest.json").write_text(json.dumps({**manifest, "key": "v001:a"}))
        meta = json.loads((self.data / "dataset-metadata.json").read_text())
        if self.title is not None:
            (self.data / "dataset-metadata.json").write_text(json.dumps({**meta, "title": self.title}))
        metadata = {
            "enable_gpu": True,
            "machine_shape": "NvidiaTeslaT4",
            "docker_image_pinning_type": "original",
            "dataset_sources": [meta["id"]],
            **self.metadata,
        }
        kernel(self.kernel, self.slug, program=self.program, digest=DIGEST, **metadata)
        (self.kernel / "plan.json").write_text(json.dumps(self.plan))
        for harm in self.after:
            harm(self)
        said = dataclasses.replace(ONLINE, datasets={meta["id"]: "READY"})
        arguments = {
            "competition": "tiny",
            "file": "submission.csv",
            "machine": machines.load("t4x2"),
            "limit_s": 3600.0,
            "bundles": [self.data],
            "client": None,
            "now": NOW,
            **self.options,
        }
        return arguments, dataclasses.replace(said, **self.online)

    def edit(self, name, **changes):
        """Change kernel-metadata.json or the notebook on disk; None removes a key."""
        file = self.kernel / name
        whole = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


def meta(**changes):
    return lambda case: case.metadata.update(changes)


def edited(**changes):
    return lambda case: case.after.append(lambda c: c.edit("kernel-metadata.json", **changes))


def program(text):
    return lambda case: setattr(case, "program", text)


def planned(**changes):
    return lambda case: setattr(case, "plan", plan(**changes))


def files(**content):
    return lambda case: case.content.update({name.replace("__", "."): data for name, data in content.items()})


def named(name, data=b"x"):
    return lambda case: case.content.update({name: data})


def without(*names):
    return lambda case: [case.content.pop(name) for name in names]


def says(**changes):
    return lambda case: case.online.update(changes)


def option(**changes):
    return lambda case: case.options.update(changes)


def after(action):
    return lambda case: case.after.append(action)


def both(*harms):
    return lambda case: [harm(case) for harm in harms]


CPU_WHEELS = {f"onnxruntime-1.26.0-cp{tag}-cp{tag}-manylinux_2_27_x86_64.whl": b"wheel" for tag in ("312", "313")}
TWO = [{"weights": [1.0]}, {"weights": [0.5, 0.5]}]
SLOW = {**plan()["units"][0], "seconds": 10.0}
LIMITLESS = dataclasses.replace(ONLINE.competition, entered=False)

HARMS = {
    "metadata-missing": after(lambda c: (c.kernel / "kernel-metadata.json").write_text("{")),
    "id-form": both(edited(id="good-name")),
    "id-number": meta(id_no=7),
    "title-length": lambda case: (setattr(case, "slug", "a" * 51), case.metadata.update(title="a" * 51)),
    "title-slug": meta(title="Another Name"),
    "code-file": meta(code_file="missing.ipynb"),
    "language": meta(language="r"),
    "kernel-type": meta(kernel_type="script"),
    "internet-on": meta(enable_internet=True),
    "public": meta(is_private=False),
    "accelerator-retired": meta(machine_shape="NvidiaTeslaP100"),
    "accelerator-differs": meta(machine_shape="NvidiaL4"),
    "tpu": meta(enable_tpu=True),
    "gpu-missing": both(
        meta(enable_gpu=False, machine_shape=""), option(machine=dataclasses.replace(machines.load("cpu"), accelerator="cuda"))
    ),
    "gpu-unused": both(
        meta(machine_shape=""),
        planned(accelerator="cpu"),
        option(machine=machines.load("cpu")),
    ),
    "competition-source": meta(competition_sources=[]),
    "source-form": meta(kernel_sources=["code/local/other"]),
    "source-pinned": after(lambda c: c.edit("kernel-metadata.json", dataset_sources=[f"{own(c)}/3"])),
    "source-twice": after(lambda c: c.edit("kernel-metadata.json", dataset_sources=[own(c)] * 2)),
    "name-clash": after(lambda c: c.edit("kernel-metadata.json", dataset_sources=[own(c), "local/good-name"])),
    "image-foreign": meta(docker_image="docker.io/somebody/image"),
    "image-latest": meta(docker_image_pinning_type="latest"),
    "image-unpinned": edited(docker_image_pinning_type=None),
    "notebook-unreadable": after(lambda c: (c.kernel / "notebook.ipynb").write_text("print(1)")),
    "kernelspec": after(lambda c: c.edit("notebook.ipynb", metadata={})),
    "empty-notebook": after(lambda c: c.edit("notebook.ipynb", cells=[{"cell_type": "markdown", "source": DIGEST}])),
    "syntax": program("print('hello'"),
    "needs-internet": program("!pip install timm"),
    "secret": program("token = 'hf_" + "a1B2" * 9 + "'"),
    "asks": program("name = input('who? ')"),
    "no-digest": after(lambda c: strip_digest(c.kernel / "notebook.ipynb")),
    "classic-path": program("open('/kaggle/input/tiny/test.csv')"),
    "walks-input": program("import os\nlist(os.walk('/kaggle/input'))"),
    "outputs-stored": after(lambda c: store_output(c.kernel / "notebook.ipynb")),
    "bundle-unreadable": after(lambda c: (c.data / "manifest.json").unlink()),
    "bundle-name": lambda case: setattr(case, "title", "tiny"),
    "bundle-differs": after(lambda c: (c.data / "a-f0.onnx").write_bytes(b"another model")),
    "bundle-folder": after(lambda c: (c.data / "folder").mkdir()),
    "bundle-reserved": named("model-metadata.json"),
    "bundle-archive": named("weights.pth"),
    "bundle-many": lambda case: case.content.update({f"{number}.bin": b"x" for number in range(60)}),
    "bundle-large": after(lambda c: pretend(c.data / "manifest.json", 201 << 30)),
    "bundle-empty-file": named("empty.txt", b""),
    "bundle-unattached": after(lambda c: c.edit("kernel-metadata.json", dataset_sources=[])),
    "wheel-python": without("onnxruntime_gpu-1.26.0-cp313-cp313-manylinux_2_27_x86_64.whl"),
    "wheel-platform": named("extra-1.0-cp312.cp313-abi3-win_amd64.whl"),
    "backend-missing": without(*WHEELS),
    "backend-cpu-only": both(without(*WHEELS), lambda case: case.content.update(CPU_WHEELS)),
    "unit-without-file": planned(units=[{**plan()["units"][0], "file": "b-f0.onnx"}, plan()["units"][0]], prefixes=TWO),
    "unused-file": named("z-f9.onnx"),
    "licence": option(licences={"timm/x": "CC BY-NC 4.0"}),
    "plan-unreadable": planned(schema=99),
    "limit-session": both(option(limit_s=13 * 3600.0), planned(limit_s=9 * 3600.0)),
    "limit-differs": planned(limit_s=7200.0),
    "reserve-small": planned(reserve=0.001),
    "first-unit-late": both(option(rows=100_000), planned(units=[SLOW])),
    "plan-partial": both(option(rows=1000), planned(units=[plan()["units"][0], SLOW], prefixes=TWO)),
    "answer-file": option(file="predictions.csv"),
    "answer-type": both(option(file="submission.json"), planned(answer={**plan()["answer"], "file": "submission.json"})),
    "plan-competition": planned(source={**plan()["source"], "competition": "other"}),
    "plan-accelerator": both(planned(accelerator="rocm")),
    "credentials": says(credentials="no token"),
    "owner": says(username="mallory"),
    "dataset-absent": says(datasets={"other/data-set": None}),
    "dataset-failed": says(datasets={"other/data-set": "FAILED"}),
    "dataset-processing": says(datasets={"other/data-set": "BLOBS_RECEIVED"}),
    "dataset-different": says(different={"local/x": "a missing"}),
    "upload": after(lambda c: c.online.update(datasets={own(c): None})),
    "storage": says(stored=199 << 30),
    "competition-refused": says(refused="HTTP 403"),
    "competition-over": says(competition=dataclasses.replace(ONLINE.competition, deadline="2026-11-20T23:59:00Z")),
    "not-joined": says(competition=LIMITLESS, limits=Limits(0, 0, 0, False)),
    "submissions-spent": says(limits=Limits(5, 9, 0, False)),
    "submissions-last": says(limits=Limits(4, 9, 1, False)),
    "quota-spent": says(quota=Quota(108_000.0, 108_000.0, None, None, "2026-11-28")),
    "quota-cost": says(quota=Quota(3600.0, 108_000.0, None, None, "2026-11-28")),
    "run-under-way": says(latest=Latest(3, ""), latest_state="RUNNING"),
    "kernel-type-changed": says(kernel_type="script"),
    "name-taken": says(name_taken=True),
}


def own(case):
    return json.loads((case.data / "dataset-metadata.json").read_text())["id"]


def strip_digest(notebook):
    notebook.write_text(notebook.read_text().replace(DIGEST, "none"))


def store_output(notebook):
    whole = json.loads(notebook.read_text())
    whole["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    notebook.write_text(json.dumps(whole))


def pretend(manifest, size):
    """A manifest and a (sparse) file of a size that nobody has to write."""
    whole = json.loads(manifest.read_text())
    for entry in whole["files"]:
        if entry["name"] == "a-f0.onnx":
            entry["bytes"] = size
    manifest.write_text(json.dumps(whole))
    with (manifest.parent / "a-f0.onnx").open("r+b") as stream:
        stream.truncate(size)
