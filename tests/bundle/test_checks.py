"""Bad input: a finding with a remedy, and nothing written."""

import dataclasses
import json
from pathlib import Path

import pytest

from builder.bundle import checks, stage
from builder.bundle.record import MOST_BYTES, MOST_FILES, Content, Dataset, split
from builder.config import Bundle
from builder.errors import UserError

from .making import content, dataset

LARGE = Content("resnet-f0-fp32.onnx", Path("large"), MOST_BYTES + 1, "0" * 64)


def with_file(folder, extra):
    made = dataset(folder, {"a-f0.onnx": b"a"})
    return dataclasses.replace(made, files=(*made.files, extra))


def link_out(folder):
    folder.mkdir(parents=True)
    secret = folder.parent / "secret.txt"
    secret.write_text("key")
    (folder / "b.onnx").symlink_to(secret)
    return with_file(folder, Content("b.onnx", folder / "b.onnx", 3, "0" * 64))


BAD = {
    "large": lambda folder: dataclasses.replace(dataset(folder, {}), files=(LARGE,)),
    "slug": lambda folder: dataset(folder, {"a.onnx": b"a"}, stem="res--net"),
    "many": lambda folder: dataset(folder, {f"f{number}.onnx": b"x" for number in range(MOST_FILES)}),
    "case": lambda folder: with_file(folder, content(folder / "more", "A-f0.onnx", b"b")),
    "twice": lambda folder: with_file(folder, content(folder / "more", "a-f0.onnx", b"b")),
    "link": link_out,
    "unpacked": lambda folder: dataset(folder, {"a.PT": b"a"}),
    "reserved": lambda folder: dataset(folder, {"kernel-metadata.json": b"{}"}),
    "file-name": lambda folder: dataset(folder, {"naïve.onnx": b"a"}),
}


@pytest.mark.parametrize("code", BAD)
def test_bad_input_is_found_and_nothing_is_written(tmp_path, workspace, code):
    good, bad = dataset(tmp_path / "good", {"g.onnx": b"g"}, stem="good-one"), BAD[code](tmp_path / "bad")
    found = checks.findings([good, bad], Bundle())
    assert [one.code for one in found] == [code]
    assert all([found[0].remedy, found[0].message, found[0].expected])
    assert set(found[0].record()) == {"severity", "code", "message", "remedy", "file"}
    json.dumps(found[0].record())
    with pytest.raises(UserError) as caught:
        stage.write([good, bad], workspace, "me", Bundle())
    assert caught.value.remedy == found[0].remedy
    assert not workspace.private.exists()


def test_what_kaggle_takes_is_not_found_fault_with(tmp_path):
    wheels = ["onnxruntime-1.26.0-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", "_a-1!2.0+cu1-py3-none-any.whl"]
    made = dataset(tmp_path, {"effb0-f0-fp16.onnx": b"a", "effb0-f0-fp16.onnx.data": b"b"})
    assert checks.findings([made, dataset(tmp_path / "w", dict.fromkeys(wheels, b"x"))], Bundle()) == []


def test_all_reasons_are_counted_and_the_first_is_told(tmp_path):
    made = [BAD["unpacked"](tmp_path / "a"), BAD["slug"](tmp_path / "b")]
    with pytest.raises(UserError, match="1 more such reason"):
        checks.refuse(made, Bundle())


def test_a_link_within_its_folder_is_followed(tmp_path, workspace):
    real = content(tmp_path, "real", b"weights")
    (tmp_path / "a.onnx").symlink_to("real")
    file = dataclasses.replace(real, name="a.onnx", path=tmp_path / "a.onnx")
    (bundled,) = stage.write([Dataset("v001:a", "a-net", "a v001", (file,))], workspace, "me", Bundle())
    there = workspace.datasets / bundled.slug / "a.onnx"
    assert not there.is_symlink()
    assert there.read_bytes() == b"weights"


def test_a_split_makes_a_large_model_small_enough():
    files = tuple(dataclasses.replace(LARGE, name=f"resnet-f{fold}.onnx", bytes=MOST_BYTES // 2) for fold in range(3))
    made = dataclasses.replace(dataset(Path(), {}), files=files)
    assert [one.code for one in checks.findings([made], Bundle())] == ["large"]
    assert checks.findings(split(made, Bundle().split), Bundle()) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"licence": "MIT"}, "one of Kaggle's licences"),
        ({"licence": "cc0-1.0"}, "did you mean 'CC0-1.0'"),
        ({"licence": "other", "as": "model"}, "Kaggle Models can't have this licence"),
    ],
)
def test_a_licence_that_kaggle_does_not_know_is_refused(tmp_path, settings, says):
    with pytest.raises(UserError) as caught:
        checks.refuse([dataset(tmp_path, {"a.onnx": b"a"})], Bundle.model_validate(settings))
    assert says in str(caught.value)


@pytest.mark.parametrize("licence", checks.LICENCES)
def test_every_licence_of_a_dataset_is_taken(tmp_path, licence):
    assert checks.findings([dataset(tmp_path, {"a.onnx": b"a"})], Bundle(licence=licence)) == []
