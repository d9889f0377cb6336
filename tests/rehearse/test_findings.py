"""What a rehearsal says of what it could not hold: the remedy mends what is missing."""

import pytest

from builder.rehearse import findings


@pytest.mark.parametrize(("enforced", "remedy"), [(["wall clock"], "bubblewrap"), (["wall clock", "no network"], "on kaggle")])
def test_a_host_that_is_too_small_is_not_mended_by_a_sandbox(enforced, remedy):
    first, second = findings.unenforced(["4 CPU cores: there are only 2 here", "x"], enforced, "rehearse it on kaggle")
    assert (first.severity, first.code) == ("note", "not-enforced")
    assert "there are only 2" in first.message
    assert remedy in first.remedy
    assert second.remedy == first.remedy
