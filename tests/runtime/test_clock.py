"""Time counts from the session's start in a batch session, from now elsewhere."""

import os

import pytest
from kkb_runtime import clock

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def proc(tmp_path):
    """A /proc of a machine that is up for 5000 s."""

    def make(**ages):
        (tmp_path / "uptime").write_text("5000.00 100.00\n")
        for pid, age in ages.items():
            folder = tmp_path / pid.strip("p")
            folder.mkdir()
            start = int((5000 - age) * TICKS)
            (folder / "stat").write_text(f"1 (a (b) c) S {' '.join(['0'] * 18)} {start} 0 0\n")
        return tmp_path

    return make


def test_left_is_limit_less_reserve_less_spent():
    time = [100.0]
    watch = clock.Clock.begin(60.0, 0.05, age=10.0, now=lambda: time[0])
    assert (watch.spent(), watch.left()) == (10.0, 47.0)
    assert watch.fits(47.0)
    assert not watch.fits(47.1)
    time[0] += 50
    assert watch.left() == -3.0


def test_a_reserve_of_one_or_more_is_seconds():
    assert clock.Clock.begin(60.0, 5.0, now=lambda: 0.0).left() == 55.0
    assert clock.Clock.begin(60.0, 1.0, now=lambda: 0.0).left() == 59.0
    assert clock.Clock.begin(60.0, 1.5, now=lambda: 0.0).left() == 58.5


@pytest.mark.parametrize("environ", [{}, {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}])
def test_an_interactive_session_starts_now(environ, proc):
    assert clock.session_age(60.0, environ, proc(p1=50)) == 0.0


def test_a_batch_session_is_as_old_as_its_container(proc):
    ages = {"p1": 500, f"p{os.getpid()}": 400}
    assert clock.session_age(3600.0, {clock.RUN_TYPE: "Batch"}, proc(**ages)) == pytest.approx(500, abs=0.1)


def test_a_pid_1_that_is_older_than_the_limit_is_not_ours(proc):
    ages = {"p1": 4000, f"p{os.getpid()}": 40}
    assert clock.session_age(3600.0, {clock.RUN_TYPE: "Batch"}, proc(**ages)) == pytest.approx(40, abs=0.1)


def test_a_pid_1_that_is_as_old_as_the_limit_is_not_ours(proc):
    ages = {"p1": 3600, f"p{os.getpid()}": 40}
    assert clock.session_age(3600.0, {clock.RUN_TYPE: "Batch"}, proc(**ages)) == 40.0


def test_a_process_is_as_old_as_proc_says_whatever_it_is_called(proc):
    root = proc(p7=0.5)
    assert clock.process_age(7, root) == 0.5
    told = (root / "7" / "stat").read_bytes()
    (root / "7" / "stat").write_bytes(told.replace(b"(a (b) c)", b"(\xff caf\xe9) \xfe)"))
    assert clock.process_age(7, root) == 0.5
    (root / "uptime").write_text("4000.00 100.00\n")  # began after the machine was asked how long it is up: just now
    assert clock.process_age(7, root) == 0.0


def test_without_proc_a_session_starts_now(tmp_path):
    assert clock.session_age(3600.0, {clock.RUN_TYPE: "Batch"}, tmp_path) == 0.0


def test_a_rehearsal_may_say_when_it_began(proc, monkeypatch):
    monkeypatch.setattr(clock.time, "time", lambda: 1000.0)
    told = {began: {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "KKB_SESSION_START": began} for began in ("700.0", "999.5", "1001.0")}
    root = proc(p1=500)
    assert [clock.session_age(60.0, environ, root) for environ in told.values()] == [300.0, 0.5, 0.0]


def test_our_own_age_is_plausible(monkeypatch):
    assert 0 < clock.process_age(os.getpid()) < 24 * 3600
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.delenv("KKB_SESSION_START", raising=False)
    assert 0 < clock.session_age(24 * 3600.0) < 24 * 3600
