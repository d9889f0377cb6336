import json

import pytest

from builder.errors import UserError
from builder.remote import kernel_folder
from tests.remote.folders import kernel


def test_a_good_folder_is_read(tmp_path):
    found = kernel_folder.read(kernel(tmp_path, "good-name", dataset_sources=["local/one"]))
    assert (found.name, found.datasets, found.competitions) == ("local/good-name", ("local/one",), ("tiny",))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"title": "Another Name"}, "'another-name'"),
        ({"title": ""}, "names a kernel after its title"),
        ({"id": "good-name"}, "not the metadata of a kernel"),
        ({"machine_shape": "NvidiaTeslaP100"}, "retired"),
        ({"machine_shape": "TpuV232"}, "no accelerator at all"),
        ({"dataset_sources": ["local/good-name"]}, "same name"),
        ({"code_file": "missing.ipynb"}, "missing file"),
    ],
)
def test_what_kaggle_would_misunderstand_is_refused(tmp_path, metadata, message):
    with pytest.raises(UserError, match=message):
        kernel_folder.read(kernel(tmp_path, "good-name", **metadata))


@pytest.mark.parametrize(("slug", "title"), [("kkb", "Kkb"), ("a" * 51, "a" * 51)])
def test_a_title_that_is_too_short_or_long_is_refused(tmp_path, slug, title):
    with pytest.raises(UserError, match="5 to 50"):
        kernel_folder.read(kernel(tmp_path, slug, title=title))


def test_a_notebook_is_the_same_however_its_json_is_written(tmp_path):
    source = kernel_folder.read(kernel(tmp_path, "good-name")).source
    notebook = json.loads(source)
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        cell["outputs"] = [{"output_type": "stream"}]
    assert kernel_folder.same(source, json.dumps(notebook, indent=1))
    notebook["cells"][0]["source"].append("1 + 1")
    assert not kernel_folder.same(source, json.dumps(notebook))
    assert not kernel_folder.same(source, "print('a script')")
