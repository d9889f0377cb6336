"""Pruning: nothing that may still be mounted can go, whatever is asked; what can go is only ours."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.bundle import prune, stage
from builder.bundle.folders import lock_of
from builder.bundle.prune import Held, Use, judge, leftovers, sweep
from builder.config import Bundle
from builder.errors import GateError, UserError
from builder.workspace import locked

from .making import dataset

DIGITS = [f"{number:012x}" for number in range(6)]
HELD = [
    Held(f"m{number}-{digits}", f"m{number} v001 fold 0 fp32 {digits[:6]}", 10**number) for number, digits in enumerate(DIGITS)
]
OPEN, OVER = "still-open", "long-over"


def over(competition):
    return competition == OVER


def use(kernel, version, *numbers, competition=""):
    return Use(f"me/{kernel}", version, frozenset(HELD[n].slug for n in numbers), frozenset({competition} - {""}))


USES = [
    use("a", 1, 0, competition=OPEN),
    use("a", 2, 1),
    use("a", 3, 2),
    use("b", 1, 3, competition=OVER),
    use("b", 2, 2),
]


def going(uses=USES, named=()):
    return {one.slug for one in judge(HELD, uses, over, named) if one.removable}


def test_only_what_no_version_mounts_goes_unasked():
    assert going() == {HELD[4].slug, HELD[5].slug}


@pytest.mark.parametrize(
    ("number", "state", "named_goes"),
    [(0, "submitted", False), (1, "used", True), (2, "used", False), (3, "submitted", True), (4, "unused", True)],
    ids=["open competition", "older version", "newest version", "closed competition", "unused"],
)
def test_what_is_named_goes_unless_it_may_still_be_mounted(number, state, named_goes):
    slug = HELD[number].slug
    (verdict,) = [one for one in judge(HELD, USES, over, [slug]) if one.slug == slug]
    assert (verdict.state, verdict.removable) == (state, named_goes)
    assert verdict.why
    if named_goes:
        prune.refuse([verdict], [slug])
    else:
        with pytest.raises(GateError) as caught:
            prune.refuse([verdict], [slug])
        assert caught.value.found == verdict.why


def test_what_may_have_been_submitted_somewhere_stays():
    uses = [use("a", 1, 1, competition=prune.UNTOLD), use("a", 2, 2)]
    (verdict,) = [one for one in judge(HELD, uses, lambda _: True, [HELD[1].slug]) if one.slug == HELD[1].slug]
    assert (verdict.state, verdict.removable) == ("used", False)
    assert prune.UNTOLD in verdict.why


def test_everything_that_mounts_it_is_told_newest_first():
    (verdict,) = [one for one in judge(HELD, USES, over) if one.slug == HELD[2].slug]
    assert verdict.used_by == ("me/a version 3", "me/b version 2")


uses_of = st.lists(
    st.builds(
        Use,
        st.sampled_from(["me/a", "me/b"]),
        st.integers(1, 4),
        st.frozensets(st.sampled_from([one.slug for one in HELD]), max_size=3),
        st.frozensets(st.sampled_from([OPEN, OVER]), max_size=2),
    ),
    max_size=8,
)


@given(uses_of, st.sets(st.sampled_from([one.slug for one in HELD])))
def test_laws_of_what_may_go(uses, named):
    """An open competition and a newest version protect, whatever is named; what older versions mount goes only when named."""
    gone = going(uses, named)
    newest = {kernel: max(u.version for u in uses if u.kernel == kernel) for kernel in {u.kernel for u in uses}}
    for one in uses:
        if OPEN in one.competitions or one.version == newest[one.kernel]:
            assert not gone & one.slugs
        assert not (gone - named) & one.slugs
    assert gone <= going([], named)


def test_a_use_that_is_older_than_another_never_frees():
    for extra in itertools.product([1, 2, 3], range(6)):
        assert going([*USES, use("a", *extra)]) <= going()


@pytest.mark.parametrize(
    "held",
    [
        Held("my-data", "my data", 1),
        Held("my-data-0123456789ab", "My own title", 1),
        Held("my-data-0123456789ab", "my data 012345-2", 1),
        Held("my-data-0123456789ab-2", "my data 012345", 1),
        Held("0123456789ab", "x 012345", 1),
    ],
)
def test_what_only_looks_like_ours_is_left_out(held):
    assert judge([held], [], over) == []
    with pytest.raises(UserError, match="not a dataset that kkb made"):
        judge([held], [], over, [held.slug])


def test_every_dataset_that_kkb_names_is_recognised(tmp_path):
    made = dataset(tmp_path, {"a.onnx": b"a"}, "a" * 30)
    for number in (1, 2, 11):
        one = dataclasses.replace(made, number=number, about="long " * 20)
        assert prune.is_ours(Held(one.slug, one.title, one.bytes))


def test_a_misspelt_name_is_corrected():
    with pytest.raises(UserError) as caught:
        judge(HELD, [], over, [HELD[1].slug[:-1]])
    assert "did you mean" in caught.value.remedy


# ---- at home


@pytest.fixture
def home(tmp_path, workspace):
    """A used and an unused dataset folder, two interrupted uploads, an interrupted write, and somebody else's folder."""
    used, idle = dataset(tmp_path / "u", {"u.onnx": b"u"}, "used"), dataset(tmp_path / "i", {"i.onnx": b"idle"}, "idle")
    stage.write([used, idle], workspace, "me", Bundle())
    for name in (f".{used.slug}.upload-0123456789abcdef", f".{idle.slug}.upload-fedcba9876543210", f".{idle.slug}.ab12_x9z"):
        (workspace.datasets / name).mkdir()
        (workspace.datasets / name / "state.json").write_text("{}")
    (workspace.datasets / "notes").mkdir()
    return workspace, used, idle


def names(found):
    return {one.path.name for one in found}


def test_leftovers_are_what_no_plan_and_no_process_needs(home):
    workspace, used, idle = home
    busy = workspace.datasets / f".{idle.slug}.upload-fedcba9876543210"
    with locked(busy / "lock"):
        found = leftovers(workspace.datasets, {used.slug})
    assert names(found) == {idle.slug, f".{used.slug}.upload-0123456789abcdef", f".{idle.slug}.ab12_x9z"}


def test_without_knowing_the_plans_whole_folders_stay(home):
    workspace, used, idle = home
    assert not names(leftovers(workspace.datasets, None)) & {used.slug, idle.slug}


def test_links_give_nothing_back(home):
    workspace, used, idle = home
    (found,) = [one for one in leftovers(workspace.datasets, {used.slug}) if one.path.name == idle.slug]
    labels = [found.path / name for name in ("manifest.json", "dataset-metadata.json")]
    assert found.bytes == sum(path.stat().st_size for path in labels)


def test_sweeping_removes_what_it_was_given_and_the_weights_stay(home):
    workspace, used, idle = home
    found = leftovers(workspace.datasets, {used.slug})
    assert sweep(found, lock_of(workspace)) == found
    assert {path.name for path in workspace.datasets.iterdir()} == {used.slug, "notes"}
    assert idle.files[0].path.read_bytes() == b"idle"


def test_an_upload_that_began_since_it_was_listed_stays(home):
    workspace, _, idle = home
    upload = workspace.datasets / f".{idle.slug}.upload-fedcba9876543210"
    found = leftovers(workspace.datasets, None)
    with locked(upload / "lock"):
        gone = sweep(found, lock_of(workspace))
    assert upload.is_dir()
    assert upload not in {one.path for one in gone}


def test_nothing_is_swept_while_a_bundle_is_written(home):
    workspace, _, _ = home
    with locked(lock_of(workspace)), pytest.raises(UserError, match="another kkb"):
        sweep(leftovers(workspace.datasets, None), lock_of(workspace))


def test_a_link_is_not_followed(home, tmp_path):
    workspace, used, _ = home
    (tmp_path / "precious").mkdir()
    (workspace.datasets / f"gone-{DIGITS[1]}").symlink_to(tmp_path / "precious")
    assert f"gone-{DIGITS[1]}" not in names(leftovers(workspace.datasets, {used.slug}))


def test_no_folder_nothing_left(tmp_path):
    assert leftovers(tmp_path / "none", set()) == []
