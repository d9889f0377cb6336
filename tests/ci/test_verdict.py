"""Whose turn it is: exit codes as verdicts, and what a job's summary shows."""

import json

import pytest

from builder import errors
from builder.ci import verdict


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (errors.UserError, verdict.YOURS),
        (errors.GateError, verdict.YOURS),
        (errors.RunError, verdict.YOURS),
        (errors.RemoteError, verdict.INFRASTRUCTURE),
        (errors.WaitError, verdict.INFRASTRUCTURE),
        (errors.KkbError, verdict.OURS),
    ],
)
def test_every_error_has_a_verdict(error, whose):
    assert verdict.verdict(error.exit_code) == whose
    shown = verdict.summary(["push", "x"], error.exit_code, error("it failed", found="a", remedy="do this").record())
    assert shown.startswith(f"### `kkb push x`: {whose}\n")
    assert "**to do**: do this" in shown


@pytest.mark.parametrize("code", [-9 + 256, 137, 143, 77])
def test_what_the_system_killed_is_infrastructure(code):
    assert verdict.verdict(code) == verdict.INFRASTRUCTURE


def test_lists_become_tables_that_nothing_breaks_out_of():
    rows = [{"kernel": "a|b", "state": "ERROR\nx", "nested": {"no": 1}, "none": None}] * 30
    shown = verdict.summary(["collect"], 5, {"runs": rows, "found": "<img src=x> ![a](b)"})
    assert "| kernel | state | none |" in shown
    assert "a\\|b | ERROR x |  |" in shown
    assert "... and 10 more" in shown
    assert "<img" not in shown
    assert "![a]" not in shown


def test_an_annotation_is_one_line_and_names_what_to_do():
    line = verdict.annotation(["push", "x"], 3, {"message": "refused: 100%\nsurely", "remedy": "kkb plan x"})
    assert line == "::error title=kkb push%3A yours::refused: 100%25%0Asurely; kkb plan x"
    assert verdict.annotation(["push"], 0, {}) == ""
    finding = {"severity": "must-fix", "code": "c", "message": "m", "remedy": "r"}
    told = verdict.annotation(["preflight"], 3, {"findings": [{**finding, "severity": "note"}, finding]})
    assert told.endswith("::c: m (to do: r)")


def test_a_record_without_anything_is_still_a_verdict():
    assert "infrastructure" in verdict.summary(["push"], 4, {})
    assert json.dumps(verdict.summary([], 0, {}))
