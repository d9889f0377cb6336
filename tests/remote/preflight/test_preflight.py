import dataclasses

import pytest

from builder import machines
from builder.remote import datasets
from builder.remote.preflight import CHECKS, MUST, NOTE, SHOULD, gather, run
from builder.remote.retry import Polling
from tests.remote.preflight.cases import HARMS, NOW, Case


def look(case):
    arguments, said = case.write()
    subject = gather(case.kernel, **arguments)
    return run(dataclasses.replace(subject, online=said))


def test_a_kernel_without_a_fault_has_no_finding(tmp_path):
    assert look(Case(tmp_path)) == []


@pytest.mark.parametrize("code", CHECKS)
def test_each_check_refuses_one_tiny_kernel_that_no_other_refuses(tmp_path, code):
    case = Case(tmp_path)
    HARMS[code](case)
    found = look(case)
    assert {finding.code for finding in found} == {code}
    for finding in found:
        assert finding.severity == CHECKS[code].severity
        assert finding.message
        assert finding.remedy
        assert len(finding.fact) > 15
        assert set(finding.record()) == {"severity", "code", "message", "remedy", "file", "fact"}


def test_there_are_many_checks_of_each_severity():
    severities = [registered.severity for registered in CHECKS.values()]
    assert len(CHECKS) >= 60
    assert min(severities.count(severity) for severity in (MUST, SHOULD, NOTE)) >= 5


def test_the_worst_comes_first(tmp_path):
    case = Case(tmp_path)
    for code in ("outputs-stored", "public", "internet-on"):
        HARMS[code](case)
    assert [finding.severity for finding in look(case)] == [MUST, SHOULD, NOTE]


def test_a_broken_folder_makes_findings_and_no_exception(tmp_path):
    (tmp_path / "empty").mkdir()
    subject = gather(
        tmp_path / "empty",
        competition="tiny",
        file="submission.csv",
        machine=machines.load("cpu"),
        limit_s=3600.0,
        bundles=[tmp_path / "nothing"],
        client=None,
        now=NOW,
    )
    assert {finding.code for finding in run(subject)} == {"metadata-missing", "plan-unreadable", "bundle-unreadable"}


def test_what_kaggle_says_is_gathered(client, tmp_path, unique):
    case = Case(tmp_path, slug=f"looked-at-{unique}", bundle_slug=f"looked-at-data-{unique}")
    arguments, _ = case.write()
    before = run(gather(case.kernel, **{**arguments, "client": client}))
    assert {"upload", "quota-cost"} <= {finding.code for finding in before}
    datasets.ensure(client, case.data, polling=Polling(shortest_s=0.05, longest_s=0.3))
    subject = gather(case.kernel, **{**arguments, "client": client})
    assert [finding.code for finding in run(subject)] == ["quota-cost"]
    assert (subject.online.username, subject.online.competition.daily) == ("local", 1000)
    assert subject.online.stored > 0


def test_a_competition_that_is_not_there_is_a_finding(client, tmp_path):
    arguments, _ = Case(tmp_path).write()
    found = run(gather(tmp_path / "kernel", **{**arguments, "client": client, "competition": "never-was"}))
    assert "competition-refused" in {finding.code for finding in found}
