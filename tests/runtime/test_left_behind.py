"""What a worker forks ends with the run, however the run ends."""

import signal
import time

import kkb_runtime
import pytest

from .test_faults import UNITS, alive, hooks
from .tree import Tree

FORKS = """
child = os.fork()
if child == 0:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    time.sleep(300)
    os._exit(0)
with Path({told!r}).open("a") as stream:
    stream.write(f"{{child}} {{os.getpid()}}\\n")
{then}
"""


def forking(tree, then=""):
    """A hooks.py whose load forks a child that would outlive its worker, and where the pids of both are written."""
    told = tree.root / "pids"
    return hooks(tree, FORKS.format(told=str(told), then=then)), told


def pids(told):
    return [int(pid) for pid in told.read_text().split()]


def test_a_forked_child_does_not_outlive_a_good_run(kaggle):
    tree = Tree(kaggle, samples=2, units=UNITS)
    path, told = forking(tree)
    kkb_runtime.run(tree.plan, tree.datasets, path)
    assert len(pids(told)) >= 4
    assert not [pid for pid in pids(told) if alive(pid)]


@pytest.mark.slow
def test_a_worker_that_dies_leaves_no_child(kaggle, rerun):
    tree = Tree(kaggle, samples=2, units=UNITS)
    path, told = forking(tree, 'if name == "001":\n    os.kill(os.getpid(), signal.SIGKILL)')
    kkb_runtime.run(tree.plan, tree.datasets, path)
    assert list(tree.answers()) == tree.ids
    assert not [pid for pid in pids(told) if alive(pid)]


@pytest.mark.slow
def test_an_interrupted_notebook_ends_its_workers_and_their_children(kaggle, wheel):
    tree = Tree(kaggle, samples=20, units=UNITS)
    path, told = forking(tree, "time.sleep(300)")
    # Jobs in the background of a shell ignore interrupts, and what they start inherits that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = tree.start(tree.notebook(tree.with_runtime(wheel), hooks=path, settings={"workers": 2}))
    signal.signal(signal.SIGINT, ours)
    for _ in range(1200):
        if process.poll() is not None or (told.exists() and len(pids(told)) == 4):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # to it alone: its workers have groups of their own
    output = process.communicate(timeout=60)[0]
    assert "KeyboardInterrupt" in output
    assert len(pids(told)) == 4
    assert not [pid for pid in pids(told) if alive(pid)]
