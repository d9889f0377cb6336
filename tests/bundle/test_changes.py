"""What changed since the last push: by digest where that is all there is, by file where the manifest is still here."""

import pytest

from builder.bundle import stage
from builder.bundle.changes import diff, slug_of, stem_of
from builder.config import Bundle

from .making import dataset

OLD = {"resnet-f0-fp32.onnx": b"zero", "resnet-f1-fp32.onnx": b"one"}
NEW = {"resnet-f0-fp32.onnx": b"ZERO", "resnet-f2-fp32.onnx": b"two"}


@pytest.fixture
def then(tmp_path):
    return dataset(tmp_path / "then", OLD)


@pytest.fixture
def now(tmp_path):
    return dataset(tmp_path / "now", NEW)


def test_before_the_first_push_everything_is_new(now, tmp_path):
    (row,) = diff([now], [], tmp_path)
    assert (row.state, row.slug, row.was, row.upload, row.added) == ("new", now.slug, "", now.bytes, tuple(NEW))


def test_nothing_changed_nothing_to_upload(now, tmp_path):
    for handle in (f"me/{now.slug}", f"me/{now.slug}/onnx/weights/1", now.slug):
        (row,) = diff([now], [handle], tmp_path)
        assert (row.state, row.upload, row.added, row.removed, row.altered) == ("same", 0, (), (), ())


def test_files_are_named_while_the_pushed_folder_is_here(then, now, workspace):
    stage.write([then], workspace, "me", Bundle())
    (row,) = diff([now], [f"me/{then.slug}"], workspace.datasets)
    assert (row.state, row.slug, row.was, row.upload) == ("changed", now.slug, then.slug, now.bytes)
    assert row.added == ("resnet-f2-fp32.onnx",)
    assert row.removed == ("resnet-f1-fp32.onnx",)
    assert row.altered == ("resnet-f0-fp32.onnx",)


def test_elsewhere_only_the_digests_differ(then, now, tmp_path):
    (row,) = diff([now], [f"me/{then.slug}"], tmp_path)
    assert (row.state, row.was, row.added) == ("changed", then.slug, None)
    assert row.record()["altered"] is None


def test_one_of_ten_models_changed(tmp_path):
    def ten(changed):
        files = {number: {f"m{number}.onnx": b"!" if number == changed else b"."} for number in range(10)}
        return [dataset(tmp_path / f"{number}{changed}", made, f"model-{number}") for number, made in files.items()]

    before, after = ten(None), ten(3)
    rows = diff(after, [one.slug for one in before], tmp_path)
    assert [row.slug for row in rows if row.upload] == [after[3].slug]
    assert [row.state for row in rows].count("same") == 9


def test_what_is_no_longer_used_is_gone(then, tmp_path):
    (row,) = diff([], [f"me/{then.slug}"], tmp_path)
    assert (row.state, row.slug, row.was, row.upload) == ("gone", "", then.slug, 0)


def test_parts_of_one_model_are_told_apart(tmp_path):
    one, two = (dataset(tmp_path / str(n), {f"m-f{n}.onnx": bytes([n])}, "model") for n in range(2))
    three, four = (dataset(tmp_path / str(n), {f"m-f{n}.onnx": bytes([n])}, "model") for n in (2, 3))
    rows = diff([three, two, four], [one.slug, two.slug], tmp_path)
    assert [(row.state, row.was) for row in rows] == [("changed", one.slug), ("same", two.slug), ("new", "")]


@pytest.mark.parametrize("text", ["not json", "[]", '{"files": 3}', '{"files": [{"name": "a"}]}'])
def test_a_broken_manifest_is_none(then, now, workspace, text):
    (workspace.datasets / then.slug).mkdir(parents=True)
    (workspace.datasets / then.slug / "manifest.json").write_text(text)
    (row,) = diff([now], [then.slug], workspace.datasets)
    assert row.added is None


@pytest.mark.parametrize(
    ("slug", "stem"),
    [
        ("effb0-0123456789ab", "effb0"),
        ("kkb-wheels-cp312-0123456789ab-2", "kkb-wheels-cp312"),
        ("a-b-0123456789ab", "a-b"),
        ("effb0", None),
        ("effb0-0123456789a", None),
        ("effb0-0123456789ABC", None),
        ("0123456789ab", None),
        ("my-data-20260101", None),
    ],
)
def test_slugs_of_ours_are_recognised(slug, stem):
    assert stem_of(slug) == stem
    assert slug_of(f"me/{slug}") == slug
