import contextlib
import itertools
import os
import time
from pathlib import Path

import pytest

from builder.remote.client import Client
from builder.standin import control
from tests.remote import folders
from tests.remote.scripted import Scripted, Time

COUNTER = itertools.count(1)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory):
    """A scripted server and the real client in front of it, both for all tests: starting a client costs half a second."""
    home = tmp_path_factory.mktemp("scripted")
    with Scripted() as server, Client({"PATH": os.environ["PATH"], **server.environment(home)}, dice=lambda: 0.5) as client:
        yield server, client, home


@pytest.fixture
def talk(scripted):
    """`client, server, ticks = talk(script)`: the real client, a scripted server, and a clock that only sleeping moves.

    With a timeout or further variables the client is one of its own.
    """
    server, shared, home = scripted
    with contextlib.ExitStack() as stack:

        def start(script, *, fresh=False, timeout_s=20.0, **environment):
            server.play(script)
            ticks = Time()
            client = shared
            if fresh or environment:
                everything = {"PATH": os.environ["PATH"], **server.environment(home, **environment)}
                client = stack.enter_context(Client(everything, timeout_s=timeout_s, dice=lambda: 0.5))
            client.sleep, client.clock, client.notes = ticks.sleep, ticks.clock, []
            return client, server, ticks

        yield start
        server.play({})


@pytest.fixture
def children():
    """The pids of our children now."""

    def pids():
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    return pids


@pytest.fixture(scope="session")
def kaggle(tmp_path_factory):
    """The stand-in, with one competition, for all tests of this folder."""
    root = tmp_path_factory.mktemp("standin")
    home = root / "home"
    control.up(home)
    try:
        control.configure(home, processing_s=0.3, runners=2, cpu_sessions=10_000)
        visible, hidden = folders.competition(root / "competition")
        control.add_competition(
            home, folders.COMPETITION, data=visible, hidden=hidden, metric="accuracy", limit_s=120, daily=1000
        )
        yield home
    finally:
        control.down(home)


@pytest.fixture
def faults(kaggle):
    """Ask the stand-in for a fault: `faults("SaveKernel", "drop-after", times=1)`. By the end of the test it must have struck."""
    yield lambda *args, **options: control.set_fault(kaggle, *args, **options)
    assert control.clear_faults(kaggle) == 0, "a fault never struck"


@pytest.fixture(scope="session")
def client(kaggle, tmp_path_factory):
    """The real client against the stand-in, with short waits, for all tests."""
    environment = {"HOME": str(tmp_path_factory.mktemp("home")), "PATH": os.environ["PATH"], **control.environment(kaggle)}
    with Client(environment, timeout_s=30.0, sleep=lambda seconds: time.sleep(min(seconds, 0.3))) as opened:
        yield opened


@pytest.fixture
def unique():
    """A name that no other test uses."""
    return f"t{next(COUNTER)}"
