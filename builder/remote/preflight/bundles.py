"""Checks of the dataset folders: what would be left out, exploded, refused, or not fit the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from builder.remote import staging
from builder.remote.preflight.record import MUST, NOTE, SHOULD, Found, LocalBundle, Subject, check

MOST_FILES = 50
LARGEST = 200 << 30
EXPLODED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".7z", ".rar", ".pt", ".pth")
PLATFORM = re.compile(r"manylinux_(\d+)_(\d+)_x86_64")
# Old names of the same thing: the glibc that they promise.
MANYLINUX = {"manylinux1_x86_64": (2, 5), "manylinux2010_x86_64": (2, 12), "manylinux2014_x86_64": (2, 17)}
BACKENDS = {"onnx": "onnxruntime", "torchscript": "torch", "torch": "torch", "openvino": "openvino"}
MODELS = (".onnx", ".ts.bin", ".lgb.txt", ".xgb.json")
NON_COMMERCIAL = re.compile(r"\b(nc|non-?commercial|research[- ]only|no[- ]derivatives)\b", re.IGNORECASE)


def _again(subject: Subject) -> str:
    return f"run `kkb bundle {subject.folder.name}` again"


def _sound(subject: Subject) -> list[LocalBundle]:
    return [bundle for bundle in subject.bundles if not bundle.problem]


@check("bundle-unreadable", MUST, "official client 2.2.5, dataset_create_new: id, title and one licence are required")
def bundle_unreadable(subject: Subject) -> Iterator[Found]:
    for bundle in subject.bundles:
        if bundle.problem:
            yield Found(f"not a dataset folder: {bundle.problem}", _again(subject), bundle.folder)


@check(
    "bundle-name",
    MUST,
    "official client 2.2.5: dataset slug and title have 6 to 50 characters; server: a-z, 0-9, - (kaggle-cli#381)",
)
def bundle_name(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        slug = "".join(bundle.name.split("/")[1:2])
        if not staging.SLUG.fullmatch(slug):
            yield Found(f"the slug '{slug}' is not 6 to 50 of a-z, 0-9 and '-'", _again(subject), bundle.folder)
        if not 6 <= len(bundle.title) <= 50:
            yield Found(f"the title has {len(bundle.title)} characters, not 6 to 50", _again(subject), bundle.folder)


@check("bundle-differs", MUST, "a dataset is recognised by its manifest; one that lies can never be")
def bundle_differs(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        found = {name: size for name, size in bundle.files.items() if size >= 0}
        text = staging.difference(found, bundle.manifest)
        if text:
            yield Found(f"the folder is not what its manifest says: {text}", _again(subject), bundle.folder / staging.MANIFEST)


@check("bundle-folder", MUST, "official client: --dir-mode skip is the default, sub-folders are left out with exit code 0")
def bundle_folder(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        for name, size in bundle.files.items():
            if size < 0:
                yield Found(f"the folder '{name}' would be left out", "put its files at the top", bundle.folder / name)


@check("bundle-reserved", MUST, "official client: these names are never uploaded")
def bundle_reserved(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        for name in bundle.files:
            if staging.RESERVED.fullmatch(name):
                yield Found(f"'{name}' would be left out", "give it another name", bundle.folder / name)


@check(
    "bundle-archive", MUST, "kaggle.com/docs/datasets: archives are unpacked on upload; .pt and .pth explode into folders (2026)"
)
def bundle_archive(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        for name in bundle.files:
            if name.lower().endswith(EXPLODED):
                yield Found(
                    f"'{name}' would not arrive as a file", "ship .onnx, .safetensors, .bin or .whl", bundle.folder / name
                )


@check("bundle-many", MUST, "kaggle.com/docs/datasets: at most 50 top-level files")
def bundle_many(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        if len(bundle.files) + 1 > MOST_FILES:
            yield Found(
                f"{len(bundle.files) + 1} files, at most {MOST_FILES} are taken", "drop models from the plan", bundle.folder
            )


@check("bundle-large", MUST, "kaggle.com/docs/datasets: at most 200 GB a dataset")
def bundle_large(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        size = sum(size for size in bundle.manifest.values())
        if size > LARGEST:
            yield Found(
                f"{size / 1e9:.0f} GB, at most {LARGEST / 1e9:.0f} GB are taken", "drop models from the plan", bundle.folder
            )


@check("bundle-empty-file", SHOULD, "official client: an empty file is sent without a length, which storage may refuse")
def bundle_empty_file(subject: Subject) -> Iterator[Found]:
    for bundle in _sound(subject):
        for name, size in bundle.files.items():
            if size == 0:
                yield Found(f"'{name}' is empty", "leave it out", bundle.folder / name)


@check("bundle-unattached", MUST, "what is not in dataset_sources or model_sources is not mounted")
def bundle_unattached(subject: Subject) -> Iterator[Found]:
    attached = {"/".join(source.split("/")[:2]) for source in subject.sources("dataset")}
    attached |= {source.rpartition("/")[0] for source in subject.sources("model")}
    for bundle in _sound(subject):
        if subject.metadata is not None and bundle.name not in attached:
            yield Found(f"'{bundle.name}' is not a source of the kernel", "run `kkb render` again", bundle.folder)


@check("wheel-python", MUST, "the image's Python decides; notebooks keep the image they were first saved with")
def wheel_python(subject: Subject) -> Iterator[Found]:
    wanted = {f"cp{python.replace('.', '')}" for python in subject.machine.python}
    for family, wheels in _families(subject).items():
        covered = {tag for name in wheels for tag in _python_tags(name, wanted)}
        missing = sorted(wanted - covered)
        if missing:
            text = f"no wheel of '{family}' fits {', '.join(missing)}, which '{subject.machine.name}' may have"
            yield Found(text, "add the wheels of these Pythons ([bundle] requirements)", next(iter(wheels.values())))


@check("wheel-platform", MUST, "Kaggle runs Ubuntu 22.04 (glibc 2.35) on x86_64")
def wheel_platform(subject: Subject) -> Iterator[Found]:
    for wheels in _families(subject).values():
        for name, path in wheels.items():
            if not any(_runs_on_linux(tag) for tag in name.removesuffix(".whl").split("-")[-1].split(".")):
                yield Found(f"'{name}' is made for another system", "bundle the manylinux wheel", path)


@check("backend-missing", MUST, "onnxruntime is in neither of Kaggle's images (freeze of August 2026)")
def backend_missing(subject: Subject) -> Iterator[Found]:
    if subject.plan is None or len(_sound(subject)) < len(subject.bundles):
        return
    for backend in sorted({unit.backend for unit in subject.plan.units}):
        package = BACKENDS.get(backend, backend)
        names = [*subject.machine.packages, *(family.split(" ")[0] for family in _families(subject))]
        if not any(name.replace("_", "-").split("-")[0] == package for name in names):
            text = f"the plan needs {package}, which is neither in the image of '{subject.machine.name}' nor in a bundle"
            yield Found(text, f"add {package} to [bundle] requirements", subject.folder / "plan.json")


@check("backend-cpu-only", SHOULD, "the plain onnxruntime wheel has no CUDA provider: a silent fall-back to the CPU")
def backend_cpu_only(subject: Subject) -> Iterator[Found]:
    names = {family.split(" ")[0] for family in _families(subject)}
    if subject.plan and subject.plan.accelerator == "cuda" and "onnxruntime" in names and "onnxruntime_gpu" not in names:
        yield Found("the plan is made for CUDA, and the bundled onnxruntime is the CPU one", "bundle onnxruntime-gpu")


@check("unit-without-file", MUST, "the run stops at a model that is not mounted")
def unit_without_file(subject: Subject) -> Iterator[Found]:
    if subject.plan is None or not subject.bundles or len(_sound(subject)) < len(subject.bundles):
        return
    held = {(bundle.key, name) for bundle in _sound(subject) for name in bundle.manifest}
    for key, name in sorted({(unit.dataset, unit.file) for unit in subject.plan.units} - held):
        yield Found(f"no bundle '{key}' holds '{name}', which the plan uses", _again(subject), subject.folder / "plan.json")


@check("unused-file", NOTE, "every byte of a source is mounted before the run starts")
def unused_file(subject: Subject) -> Iterator[Found]:
    if subject.plan is None:
        return
    used = {(unit.dataset, unit.file) for unit in subject.plan.units}
    for bundle in _sound(subject):
        idle = sorted(n for n in bundle.manifest if n.endswith(MODELS) and (bundle.key, n) not in used)
        if idle:
            yield Found(f"the plan does not use {', '.join(idle[:5])}", "nothing, or bundle again", bundle.folder)


@check("licence", SHOULD, "most rules ask for external data and models that everybody may use")
def licence(subject: Subject) -> Iterator[Found]:
    for name, text in sorted(subject.licences.items()):
        if NON_COMMERCIAL.search(text):
            yield Found(f"the weights of '{name}' have the licence '{text}'", "read the rules, or use another backbone")


def _families(subject: Subject) -> dict[str, dict[str, Path]]:
    """Wheels of all bundles by name and version: `numpy 2.1.3` -> {file name: path}."""
    found: dict[str, dict[str, Path]] = {}
    for bundle in _sound(subject):
        for name in bundle.manifest:
            parts = name.removesuffix(".whl").split("-")
            if name.endswith(".whl") and len(parts) >= 5:
                found.setdefault(f"{parts[0].lower()} {parts[1]}", {})[name] = bundle.folder / name
    return found


def _python_tags(wheel: str, wanted: set[str]) -> set[str]:
    """Which of the `wanted` tags (cp312, ...) a wheel runs on."""
    *_, pythons, abi, _platform = wheel.removesuffix(".whl").split("-")
    tags = pythons.split(".")
    if "py3" in tags or "py2.py3" in pythons:
        return wanted
    if "abi3" in abi.split("."):
        lowest = min(int(tag[2:][1:] or 0) for tag in tags if tag.startswith("cp3"))
        return {tag for tag in wanted if int(tag[3:]) >= lowest}
    return wanted & set(tags)


def _runs_on_linux(platform: str) -> bool:
    if platform in {"any", "linux_x86_64"}:
        return True
    match = PLATFORM.fullmatch(platform)
    glibc = (int(match[1]), int(match[2])) if match else MANYLINUX.get(platform)
    return glibc is not None and glibc <= (2, 35)
