"""The demonstration competition: real digits, split so that no image is in both parts, the same bytes each time."""

import csv
import hashlib
import itertools

import pytest

from builder import competition, config, demo


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return demo.write(tmp_path_factory.mktemp("demo"))


def column(path, name):
    with path.open(newline="") as stream:
        return [row[name] for row in csv.DictReader(stream)]


def digests(folder):
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.png")}


def test_no_image_is_in_both_parts(parts):
    seen = digests(parts.data / "train_images") | digests(parts.data / "test_images")
    assert not seen & digests(parts.hidden / "test_images")
    train, visible = column(parts.data / "train.csv", "image_id"), column(parts.data / "test.csv", "image_id")
    hidden = column(parts.hidden / "test.csv", "image_id")
    assert len({*train, *visible, *hidden}) == len(train) + len(visible) + len(hidden) == 1797


def test_the_parts_have_the_promised_sizes(parts):
    assert len(column(parts.data / "test.csv", "image_id")) == 3
    assert len(column(parts.hidden / "solution.csv", "label")) >= 400
    assert set(column(parts.hidden / "solution.csv", "Usage")) == {"Public", "Private"}
    assert {len(set(column(path, "label"))) for path in (parts.data / "train.csv", parts.hidden / "solution.csv")} == {10}


@pytest.mark.parametrize("part", ["data", "hidden"])
def test_every_row_has_its_image_and_its_answer(parts, part):
    folder = getattr(parts, part)
    ids = column(folder / "test.csv", "image_id")
    assert {path.stem for path in (folder / "test_images").iterdir()} == set(ids)
    assert column(folder / "sample_submission.csv", "image_id") == ids
    assert set(column(folder / "sample_submission.csv", "label")) == {"0"}, "the sample tells nothing"
    assert not (parts.data / "solution.csv").exists()


def test_the_images_tell_nothing_by_their_names(parts):
    """Neighbouring ids have unrelated labels: a split or a label that follows the name would flatter every score."""
    labels = [
        label for _, label in sorted(zip(*(column(parts.data / "train.csv", k) for k in ("image_id", "label")), strict=True))
    ]
    equal = sum(a == b for a, b in itertools.pairwise(labels)) / len(labels)
    assert 0.05 < equal < 0.15


def test_it_is_written_once_and_the_same_each_time(parts, tmp_path):
    again = demo.write(tmp_path)
    for name in ("data", "hidden"):
        one, other = getattr(parts, name), getattr(again, name)
        files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
        assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
        assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    before = (again.data / "train.csv").stat().st_mtime_ns
    assert demo.write(tmp_path) == again
    assert (again.data / "train.csv").stat().st_mtime_ns == before


def test_its_kernel_says_what_its_files_say(parts, workspace):
    demo.prepare(workspace)
    found = config.load(workspace.kernel(demo.KERNEL))
    proposal = competition.propose(parts.data)
    assert (found.data.id, found.data.target, found.data.image, found.data.test_image) == (
        proposal.id, proposal.target, proposal.image, proposal.test_image,
    )  # fmt: skip
    assert found.competition.slug == demo.SLUG
    assert len({model.backbone for model in found.model}) == 2
    assert found.cv.folds == 3


def test_a_kernel_that_a_person_changed_stays(workspace):
    demo.prepare(workspace)
    path = workspace.kernel(demo.KERNEL) / "kernel.toml"
    path.write_text("mine")
    demo.prepare(workspace)
    assert path.read_text() == "mine"
