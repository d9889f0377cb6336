"""Whatever is killed, stalls or runs late: a valid submission, each sample on one declared prefix."""

import signal
import sys
import textwrap
import time
from pathlib import Path

import kkb_runtime
import numpy as np
import pytest

from .tree import Tree

UNITS = [(0, 0, "identity"), (0, 1, "identity"), (1, 0, "identity")]


def hooks(tree, source):
    """A hooks.py whose load reads the image itself, after `source` had its way with the sample."""
    path = tree.root / "hooks.py"
    head = """
    import os, signal, time
    from pathlib import Path
    import numpy as np
    from PIL import Image

    def load(row, mounts):
        name = row["image_id"]
    """
    tail = '    return {"image": np.asarray(Image.open(mounts.competition / "test_images" / f"{name}.png"))[None]}\n'
    path.write_text(textwrap.dedent(head) + textwrap.indent(textwrap.dedent(source), "    ") + "\n" + tail)
    return str(path)


def prefixes(tree):
    found = [tree.nearest_prefix(row, cells) for row, cells in enumerate(tree.answers().values())]
    assert None not in found, "a sample's answer is no declared prefix"
    assert list(tree.answers()) == tree.ids
    return found


CHAOS = """
import os, random, signal, threading, time

def children():
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            found += open(f"/proc/self/task/{task}/children").read().split()
        except OSError:
            pass  # the thread ended between the list and its file
    return found

def chaos(seed):
    dice = random.Random(seed)
    while not children():  # however slow this machine is to begin
        time.sleep(0.02)
    for _ in range(2):
        time.sleep(dice.uniform(0.1, 1.0))
        if living := children():
            os.kill(int(dice.choice(living)), signal.SIGKILL)

threading.Thread(target=chaos, args=(SEED,), daemon=True).start()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_workers_cost_chunks_at_most(kaggle, rerun, wheel, seed):
    tree = Tree(kaggle, samples=40, units=UNITS)
    slow = hooks(tree, "time.sleep(0.02)")
    source = tree.notebook(tree.with_runtime(wheel), hooks=slow)
    process = tree.start(CHAOS.replace("SEED", str(seed)) + source)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert min(prefixes(tree)) >= 1
    assert any("died" in event for event in tree.record()["events"]), output


def test_a_sample_that_kills_its_worker_is_found_and_the_others_get_everything(kaggle):
    tree = Tree(kaggle, samples=20, units=UNITS, batch=2)
    poison = hooks(tree, 'if name == "013":\n    os.kill(os.getpid(), signal.SIGKILL)')
    result = kkb_runtime.run(tree.plan, tree.datasets, hooks=poison)
    assert prefixes(tree) == [0 if name == "013" else 3 for name in tree.ids]
    assert "sample 13 skipped at unit 1" in result.run["skipped"][0]


def test_a_sample_that_never_ends_is_killed_and_the_others_get_everything(kaggle, rerun):
    tree = Tree(kaggle, samples=6, units=UNITS[:2], batch=1)
    stuck = hooks(tree, 'if name == "003":\n    time.sleep(1000)')
    result = kkb_runtime.run(tree.plan, tree.datasets, hooks=stuck, settings={"stall_s": 1.0})
    assert prefixes(tree) == [0 if name == "003" else 2 for name in tree.ids]
    assert any("did not answer within" in event for event in result.run["events"])


def test_a_sample_that_fails_from_the_second_unit_on_keeps_the_first(kaggle, rerun):
    tree = Tree(kaggle, samples=6, units=UNITS)
    mark = tree.root / "seen"
    late = hooks(
        tree,
        f"""
        if name == "002":
            seen = Path({str(mark)!r})
            if seen.exists():
                raise ValueError("second time")
            seen.touch()
        """,
    )
    result = kkb_runtime.run(tree.plan, tree.datasets, hooks=late)
    assert prefixes(tree) == [1 if name == "002" else 3 for name in tree.ids]
    assert result.run["bad_samples"]["first"] == [{"id": "002", "cause": "unit 2: hooks.load: ValueError: second time"}]


@pytest.fixture(scope="session")
def start_s(wheel, tmp_path_factory):
    """Seconds until this machine has its workers up and one sample answered by everything."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("start") / "kaggle"
        (root / "input").mkdir(parents=True)
        patch.setenv("KKB_KAGGLE", str(root))
        patch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
        tree = Tree(root, samples=2, units=UNITS)
        return kkb_runtime.run(tree.plan, tree.datasets, settings={"workers": 2}).run["clock"]["spent_s"]


@pytest.mark.parametrize("share", [0.2, pytest.param(0.1, marks=pytest.mark.slow), pytest.param(0.6, marks=pytest.mark.slow)])
def test_an_early_deadline_leaves_each_sample_on_one_declared_prefix(kaggle, rerun, start_s, share):
    """The time for a share of the work, after a start that may take three times as long as it did before."""
    seconds = max(0.1, start_s / 10)
    limit = 3 * start_s + share * 180 * seconds / 2
    tree = Tree(kaggle, samples=60, units=UNITS, limit=limit, seconds=seconds)
    result = kkb_runtime.run(tree.plan, tree.datasets, hooks=hooks(tree, f"time.sleep({seconds})"), settings={"workers": 2})
    found = prefixes(tree)
    assert max(found) >= 1
    assert min(found) < 3, "two workers cannot do all of it"
    assert max(found) == 1 or min(found) >= 1, "a sample got a second unit before another had its first"
    assert result.run["clock"]["left_s"] > 0
    assert result.run["dropped"]


@pytest.mark.slow
def test_an_early_deadline_gives_the_doubtful_more(kaggle, rerun, start_s):
    seconds = max(0.15, start_s / 10)
    limit = 60 * 2 * seconds / 2 + start_s  # unit 1 for all and about half of the climbs, however long workers take to start
    tree = Tree(kaggle, samples=60, units=UNITS, limit=limit, seconds=seconds)
    tree.plan["effort"] = {"kind": "tiers", "stops": [1, 3]}
    result = kkb_runtime.run(tree.plan, tree.datasets, hooks=hooks(tree, f"time.sleep({seconds})"), settings={"workers": 2})
    found = np.array(prefixes(tree))
    assert found.min() == 1
    assert found.max() == 3
    doubts = 1 - tree.expected(1).max(axis=1)
    assert doubts[found == 3].mean() > doubts[found == 1].mean()
    assert result.run["clock"]["left_s"] > 0


def test_no_time_at_all_raises(kaggle):
    tree = Tree(kaggle, samples=4, units=UNITS, limit=0.01)
    with pytest.raises(RuntimeError, match="the time was over"):
        kkb_runtime.run(tree.plan, tree.datasets)
    assert not tree.submission.exists()


def test_workers_that_cannot_start_are_given_up(kaggle, monkeypatch):
    tree = Tree(kaggle, samples=4)
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(RuntimeError, match=r"worker 0 died.*retired after 2 lives"):
        kkb_runtime.run(tree.plan, tree.datasets)


def test_a_killed_supervisor_leaves_the_last_finalised_submission_and_no_workers(kaggle, wheel):
    tree = Tree(kaggle, samples=20, units=UNITS)
    stuck = hooks(
        tree,
        f"""
        told = Path({str(kaggle / "pids")!r})
        with told.open("a") as stream:
            stream.write(f"{{os.getpid()}}\\n")
        time.sleep(0.05 if len(told.read_text().splitlines()) <= 20 else 1000)
        """,
    )
    process = tree.start(tree.notebook(tree.with_runtime(wheel), hooks=stuck, settings={"log_s": 0.0}))
    for line in process.stdout:
        if "1.00 of 3 units" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert prefixes(tree) == [1] * 20
    workers = {int(pid) for pid in (kaggle / "pids").read_text().split()}
    assert not [pid for pid in workers if alive(pid)]


def alive(pid):
    """Whether the process still runs; a moment is given to the kernel to tell it of its parent's death."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True
