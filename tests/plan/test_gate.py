"""The ensemble's rung of parity: what exports may lose together, and when nothing can be said."""

import numpy as np
import pytest

from builder.errors import GateError
from tests import records

from .test_heads import Case as Numbers
from .test_heads import counts
from .test_stage import CLASSES, Case


def right_in(case, count):
    """Probabilities of one model that is right in the first `count` rows, and wrong in the others."""
    right = np.arange(len(case.codes)) < count
    return np.where(np.eye(2, dtype=bool)[np.where(right, case.codes, 1 - case.codes)], 0.9, 0.1).astype(np.float32)


def finished(workspace, root, *, sources, exports, allowed):
    """A model that was right in `sources` rows as it was trained, and in `exports` rows as it was exported; and its version."""
    case = Case(workspace, root, f"\n[export]\nmax_score_drop = {allowed}\n")
    oof, told = {"resnet": {"identity": right_in(case, sources)}}, {"ids": case.ids, "folds": case.folds, "labels": case.labels}
    version = records.version(case.config, workspace, 1, oof, classes=CLASSES, **told)
    case.exports[version.version] = records.export(case.config, version, {"resnet": {"identity": right_in(case, exports)}})
    return case, version


def test_a_loss_of_more_than_is_allowed_is_refused_in_words(workspace, animals):
    case, _ = finished(workspace, animals, sources=45, exports=30, allowed=0.2499)
    with pytest.raises(GateError) as caught:
        case.plan()
    for words in ("lost score", "-0.25000 on 60 rows", "a loss of at most 0.2499", "max_score_drop"):
        assert words in str(caught.value)
    assert not (workspace.kernel("animals") / "plan.json").exists()


@pytest.mark.parametrize(("exports", "allowed"), [(30, 0.25), (45, 0.0), (60, 0.0)])
def test_what_is_allowed_and_what_is_won_is_planned(workspace, animals, exports, allowed):
    case, _ = finished(workspace, animals, sources=45, exports=exports, allowed=allowed)
    assert case.plan()[0].plan.units


def test_sources_that_were_not_asked_are_no_loss(workspace, animals):
    case, version = finished(workspace, animals, sources=45, exports=30, allowed=0.0)
    version.oof("resnet", "identity").unlink()
    assert case.plan()[0].plan.units


def test_rows_that_no_model_left_out_are_no_loss(workspace, animals):
    case, _ = finished(workspace, animals, sources=45, exports=30, allowed=0.0)
    for array in case.exports["v001"].folder.rglob("*.npy"):
        np.save(array, np.full_like(np.load(array), np.nan))
    assert case.plan()[0].plan.units


def numbers_off(workspace, root, *, sources, exports, allowed):
    """A kernel of numbers: its one model missed each by `sources` as it was trained, and by `exports` as it was exported."""
    more = f"\n[export]\nmax_score_drop = {allowed}\n"
    case = Numbers(workspace, root, {"count": counts}, truth="numbers", metric="rmse", sample={"count": "0"}, more=more)
    case.add(1, (1.0,))
    (member,), y = case.members, case.read.y.reshape(-1, 1).astype(np.float32)
    np.save(member.version.oof("m0", "identity"), y + np.float32(sources))
    np.save(member.export.oof("m0", "identity"), y + np.float32(exports))
    return case


@pytest.mark.parametrize(
    ("sources", "exports", "most"), [(2.0, 2.75, "0.5"), (0.0, 0.125, "0")], ids=["more than a share", "a share of nothing"]
)
def test_numbers_may_lose_a_share_of_their_error_and_no_more(workspace, tmp_path, sources, exports, most):
    case = numbers_off(workspace, tmp_path, sources=sources, exports=exports, allowed=0.25)
    with pytest.raises(GateError) as caught:
        case.plan()
    assert caught.value.expected == f"a loss of at most {most}"


@pytest.mark.parametrize(("sources", "exports"), [(2.0, 2.25), (2.0, 1.0), (0.0, 0.0)])
def test_numbers_that_lose_less_than_that_share_are_planned(workspace, tmp_path, sources, exports):
    assert numbers_off(workspace, tmp_path, sources=sources, exports=exports, allowed=0.25).plan().units
