"""What is sent: the rendered notebook, whole, between two cells; private, without internet, never mistaken for the real one."""

import json
from pathlib import Path

import nbformat
import pytest

from builder.afar import parcel, scenery
from builder.errors import UserError
from builder.render.stage import digest_in
from builder.workspace import read_json, write_json


def pack(kernel, plan, rows=20):
    return parcel.pack(kernel, plan, {f"a{at:03d}": at % 2 for at in range(60)}, rows, environment={})


def test_the_notebook_is_the_rendered_one_between_two_cells(kernel, plan):
    sent = pack(kernel, plan)
    rendered, found = (read_json(folder / "notebook.ipynb", remedy="") for folder in (kernel.folder, sent.folder))
    nbformat.validate(nbformat.from_dict(found))
    assert found["metadata"] == rendered["metadata"]
    sources = ["".join(cell["source"]) for cell in found["cells"]]
    assert sources[2] == Path(scenery.__file__).read_text("utf-8"), "verbatim"
    assert sources[4:-1] == ["".join(cell["source"]) for cell in rendered["cells"]][1:]
    assert sources[-1].startswith("leave_scene(TOLD, 'submission.csv', ")
    assert "kkb-rehearsal `" + sent.digest in sources[0]
    assert sent.digest in sources[1]
    assert digest_in(kernel.folder) not in json.dumps(found), "nobody may take it for the version that is submitted"


def test_the_metadata_are_those_of_the_kernel_under_another_name(kernel, plan):
    path = kernel.folder / "kernel-metadata.json"
    write_json(
        path, read_json(path, remedy="") | {"is_private": False, "enable_internet": True, "docker_image": "gcr.io/x@sha256:1"}
    )
    before, after = read_json(path, remedy=""), read_json(pack(kernel, plan).folder / "kernel-metadata.json", remedy="")
    assert after["id"] == "local/animals-rehearsal"
    assert (after["title"], after["is_private"], after["enable_internet"]) == ("animals-rehearsal", True, False)
    kept = before.keys() - {"id", "title", "is_private", "enable_internet"}
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}


def test_the_same_rehearsal_has_the_same_bytes_and_another_one_has_not(kernel, plan):
    first = pack(kernel, plan)
    text = (first.folder / "notebook.ipynb").read_bytes()
    again = pack(kernel, plan)
    assert (again.folder / "notebook.ipynb").read_bytes() == text
    assert again.digest == first.digest != pack(kernel, plan, rows=21).digest
    assert again.hidden.rows == 20
    assert "label" in again.hidden.solution.read_text()
    assert not again.hidden.solution.is_relative_to(again.folder), "the truth is not in what is sent"


@pytest.mark.parametrize("name", ["abcde", "a" * 40, "a" * 41, "ab-" * 16 + "ab"])
def test_every_name_has_a_slug_of_its_own(name):
    from slugify import slugify

    slug = parcel.slug_of(name)
    assert slug.endswith("-rehearsal")
    assert len(slug) <= 50
    assert slugify(slug) == slug
    assert slug != parcel.slug_of(name[:-1] + "x")


def test_another_kernel_of_that_name_is_not_overwritten(kernel, plan):
    (kernel.workspace.kernels / "animals-rehearsal").mkdir()
    with pytest.raises(UserError, match="take the place of another kernel"):
        pack(kernel, plan)
