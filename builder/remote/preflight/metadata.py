"""Checks of kernel-metadata.json: what the server misunderstands silently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.remote.kernel_folder import METADATA, RETIRED
from builder.remote.preflight.record import MUST, NOTE, SHOULD, Found, Subject, check

RENDER = "run `kkb render` again"
CLIENT = "official client 2.2.5, kernels_push"
KINDS = ("dataset", "competition", "kernel", "model")
HANDLE = re.compile(r"[\w-]+/[a-z0-9-]{5,}")


def _file(subject: Subject) -> Path:
    return subject.folder / METADATA


def _id(subject: Subject) -> str:
    return str(subject.meta.get("id") or "")


@check("metadata-missing", MUST, CLIENT)
def metadata_missing(subject: Subject) -> Iterator[Found]:
    if subject.metadata is None:
        yield Found("there is no readable kernel-metadata.json", RENDER, _file(subject))


@check("id-form", MUST, f"{CLIENT}: owner/slug, slug of 5 characters or more, no version")
def id_form(subject: Subject) -> Iterator[Found]:
    if subject.metadata is not None and not HANDLE.fullmatch(_id(subject)):
        yield Found(f"the id '{_id(subject)}' is not owner/slug", RENDER, _file(subject))


@check("id-number", SHOULD, f"{CLIENT}: id_no wins over id, and a stale one answers 'Notebook not found' (kaggle-cli#545)")
def id_number(subject: Subject) -> Iterator[Found]:
    if subject.meta.get("id_no"):
        yield Found(f"id_no {subject.meta['id_no']} decides which notebook is saved, not the id", "remove id_no", _file(subject))


@check("title-length", MUST, f"{CLIENT}: 5 characters or more; the web form stops at 50")
def title_length(subject: Subject) -> Iterator[Found]:
    title = subject.meta.get("title")
    if subject.metadata is not None and not 5 <= len(str(title or "")) <= 50:
        yield Found(f"the title has {len(str(title or ''))} characters, not 5 to 50", RENDER, _file(subject))


@check("title-slug", MUST, "the server names a notebook after its title; the client only warns (kernels_push)")
def title_slug(subject: Subject) -> Iterator[Found]:
    from slugify import slugify

    title, slug = str(subject.meta.get("title") or ""), _id(subject).rpartition("/")[2]
    if title and slug and slugify(title) != slug:
        yield Found(f"the title '{title}' gives the name '{slugify(title)}', not '{slug}'", RENDER, _file(subject))


@check("code-file", MUST, CLIENT)
def code_file(subject: Subject) -> Iterator[Found]:
    name = subject.meta.get("code_file")
    if subject.metadata is not None and not (name and (subject.folder / str(name)).is_file()):
        yield Found(f"the code file '{name}' is missing", RENDER, _file(subject))


@check("language", MUST, f"{CLIENT}: python, r or rmarkdown")
def language(subject: Subject) -> Iterator[Found]:
    if subject.metadata is not None and subject.meta.get("language") != "python":
        yield Found(f"the language is '{subject.meta.get('language')}', not python", RENDER, _file(subject))


@check("kernel-type", MUST, "a script can end in an error and be reported complete; the type of a kernel can never change")
def kernel_type(subject: Subject) -> Iterator[Found]:
    if subject.metadata is not None and subject.meta.get("kernel_type") != "notebook":
        yield Found(f"the kernel type is '{subject.meta.get('kernel_type')}', not notebook", RENDER, _file(subject))


@check("internet-on", MUST, f"code competitions refuse notebooks with internet; {CLIENT} turns it on when it is not mentioned")
def internet_on(subject: Subject) -> Iterator[Found]:
    if subject.metadata is None:
        return
    if "enable_internet" not in subject.meta:
        yield Found("enable_internet is not written, and the client's default is true", RENDER, _file(subject))
    elif subject.meta["enable_internet"] not in (False, "false"):
        yield Found("the internet is on", "set enable_internet to false", _file(subject))


@check("public", SHOULD, "kaggle.com/docs: sharing code outside of a team during a competition must be public to all")
def public(subject: Subject) -> Iterator[Found]:
    if subject.meta.get("is_private") in (False, "false"):
        yield Found(
            "everybody will be able to read this notebook", "set is_private to true, unless that is meant", _file(subject)
        )


@check("accelerator-retired", MUST, "official client 2.2.5: the server replaces retired shapes silently, two of them by a CPU")
def accelerator_retired(subject: Subject) -> Iterator[Found]:
    shape = str(subject.meta.get("machine_shape") or "")
    if shape.lower() in RETIRED:
        text = f"'{shape}' is retired; the session would run on {RETIRED[shape.lower()]}"
        yield Found(text, "choose another [competition] machine and render again", _file(subject))


@check(
    "accelerator-differs", MUST, "a rerun has the accelerator of the saved version; about a fifth of failed reruns lack the GPU"
)
def accelerator_differs(subject: Subject) -> Iterator[Found]:
    shape = str(subject.meta.get("machine_shape") or "")
    retired = shape.lower() in RETIRED
    if subject.metadata is not None and not retired and shape.lower() != subject.machine.shape.lower():
        text = f"machine_shape is '{shape}', and [competition] machine = '{subject.machine.name}' is '{subject.machine.shape}'"
        yield Found(text, RENDER, _file(subject))


@check("tpu", MUST, "neither ONNX Runtime nor TorchScript runs on a TPU")
def tpu(subject: Subject) -> Iterator[Found]:
    if subject.meta.get("enable_tpu") in (True, "true"):
        yield Found("a TPU is asked for, and no backend uses it", "set enable_tpu to false", _file(subject))


@check("gpu-missing", MUST, "a GPU backend without a GPU falls back to the CPU or fails")
def gpu_missing(subject: Subject) -> Iterator[Found]:
    if subject.metadata is not None and subject.plan and subject.plan.accelerator != "cpu" and not subject.gpu:
        yield Found(f"the plan is made for {subject.plan.accelerator}, and the session has no GPU", RENDER, _file(subject))


@check("gpu-unused", SHOULD, "GPU hours are limited to about 30 a week; a commit run uses them")
def gpu_unused(subject: Subject) -> Iterator[Found]:
    if subject.plan and subject.plan.accelerator == "cpu" and subject.meta.get("enable_gpu") in (True, "true"):
        yield Found(
            "the plan is made for the CPU, and the session takes a GPU", "set [competition] machine = 'cpu'", _file(subject)
        )


@check(
    "competition-source",
    MUST,
    "without the competition as a source there is no test data, and no submission (CreateCodeSubmission)",
)
def competition_source(subject: Subject) -> Iterator[Found]:
    if subject.metadata is not None and subject.competition not in subject.sources("competition"):
        yield Found(f"the data of '{subject.competition}' are not attached", RENDER, _file(subject))


@check("source-form", MUST, "the server drops sources that it cannot read, and runs without them (kaggle-cli#433, #377, #464)")
def source_form(subject: Subject) -> Iterator[Found]:
    forms = {
        "dataset": r"[\w-]+/[\w-]+(/\d+)?",
        "competition": r"[\w-]+",
        "kernel": r"[\w-]+/[\w-]+(/\d+)?",
        "model": r"([^/]+/){4}\d+",
    }
    for kind in KINDS:
        for source in subject.sources(kind):
            prefixed = source.startswith(("datasets/", "c/", "competitions/", "code/", "models/"))
            if prefixed or not re.fullmatch(forms[kind], source):
                yield Found(f"'{source}' is not the name of a {kind}", f"write it without a prefix; {RENDER}", _file(subject))


@check(
    "source-pinned",
    SHOULD,
    "the client takes owner/slug/N, the API's own text does not; old versions were seen not to be attached",
)
def source_pinned(subject: Subject) -> Iterator[Found]:
    for source in subject.sources("dataset"):
        if re.fullmatch(r"[\w-]+/[\w-]+/\d+", source):
            yield Found(
                f"'{source}' names a version, which Kaggle may ignore", "name datasets by their content instead", _file(subject)
            )


@check("source-twice", SHOULD, "a source is mounted once")
def source_twice(subject: Subject) -> Iterator[Found]:
    for kind in KINDS:
        for source, times in Counter(subject.sources(kind)).items():
            if times > 1:
                yield Found(f"{kind} '{source}' is named {times} times", RENDER, _file(subject))


@check("name-clash", MUST, "a notebook and a dataset of one owner cannot share a name (409)")
def name_clash(subject: Subject) -> Iterator[Found]:
    if _id(subject) and _id(subject) in subject.sources("dataset"):
        yield Found(f"the kernel and one of its datasets are both called '{_id(subject)}'", "rename the kernel", _file(subject))


@check("image-foreign", MUST, f"{CLIENT}: Kaggle's own images only")
def image_foreign(subject: Subject) -> Iterator[Found]:
    image = str(subject.meta.get("docker_image") or "")
    if image and "kaggle" not in image:
        yield Found(f"'{image}' is not an image of Kaggle's", "remove docker_image", _file(subject))


@check("image-latest", SHOULD, "the image changes every few weeks, CUDA and Python included (docker-python#896, #1181)")
def image_latest(subject: Subject) -> Iterator[Found]:
    if subject.meta.get("docker_image_pinning_type") == "latest":
        yield Found(
            "the notebook follows the latest image", "pin the image, or leave out docker_image_pinning_type", _file(subject)
        )


@check("image-unpinned", NOTE, "a notebook keeps the image that it was first saved with, unless one is named")
def image_unpinned(subject: Subject) -> Iterator[Found]:
    if subject.metadata is not None and not any(value for key, value in _image(subject.meta)):
        yield Found(
            "no image is named; a new kernel gets the newest one",
            "nothing now; `kaggle kernels pull -m` tells which one a run had",
            _file(subject),
        )


def _image(meta: Any) -> list[tuple[str, Any]]:
    return [(key, meta.get(key)) for key in ("docker_image", "docker_image_pinning_type")]
