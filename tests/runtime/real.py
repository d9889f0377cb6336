"""Real runs, as real processes, that are killed and stopped at random; and what is wrong with what they leave behind."""

import json
import random
import shutil
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from .tree import Tree

UNITS = [(0, 0, "identity"), (0, 1, "identity"), (1, 0, "identity"), (1, 1, "identity")]
SAMPLES, BATCH = 24, 4
QUEUE = {"kind": "queue", "stops": [1, 2, 4], "worth": [2.0, 1.0], "doubts": [0.0, 1.0], "shape": [0.5, 2.0]}
EFFORTS = (None, {"kind": "static", "stops": [1, 2, 3, 4]}, {"kind": "tiers", "stops": [2, 4]}, QUEUE)

LOAD = """
import time
from pathlib import Path
import numpy as np
from PIL import Image

def load(row, mounts):
    with open({told!r}, "a") as stream:
        stream.write(row["image_id"] + "\\n")
    time.sleep({pause})
    path = mounts.competition / "test_images" / (row["image_id"] + ".png")
    return {{"image": np.asarray(Image.open(path))[None]}}
"""

CHAOS = """
import json, os, random, signal, threading, time

def children():
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            found += open(f"/proc/self/task/{{task}}/children").read().split()
        except OSError:
            pass  # the thread ended between the list and its file
    return [int(pid) for pid in found]

def chaos(dice):
    early = dice.random() < 0.2  # most acts meet work, some a start
    while not (children() if early else os.path.exists({told!r})):
        time.sleep(0.02)
    for what in {acts!r}:
        time.sleep(dice.uniform(0.02, 0.5))
        open({done!r}, "a").write(what + "\\n")
        if what == "end":
            os.kill(os.getpid(), signal.SIGKILL)
        elif living := children():
            os.kill(dice.choice(living), signal.SIGKILL if what == "kill" else signal.SIGSTOP)

threading.Thread(target=chaos, args=(random.Random({seed}),), daemon=True).start()
"""


@dataclass
class Real:
    """What a real run met and left: `lines` are the rows of its submission by sample and prefix."""

    seed: int
    killed: int = 0
    stalled: int = 0
    ended: int = 0
    lost: float = 0.0  # tasks that were done again, per kill or stop
    lines: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)


def real_run(folder, seed, wheel):
    """One run below `folder`, which is removed afterwards."""
    dice, run = random.Random(seed), Real(seed)
    acts = dice.choice([["kill"], ["kill", "kill"], ["kill", "kill"], ["stop"], ["end"], ["kill", "end"]])
    short = dice.random() < 0.2
    tree = Tree(folder / "kaggle", samples=SAMPLES, units=UNITS, batch=BATCH, limit=12.0 if short else 600.0, seconds=0.01)
    tree.plan["effort"] = EFFORTS[seed % len(EFFORTS)]
    told, done, hooks = folder / "told", folder / "done", folder / "hooks.py"
    hooks.write_text(LOAD.format(told=str(told), pause=0.15 if short else 0.01))
    chaos = CHAOS.format(acts=acts, seed=seed, done=str(done), told=str(told))
    source = tree.notebook(tree.with_runtime(wheel), hooks=str(hooks), settings={"stall_s": 1.0, "workers": 2, "log_s": 0.0})
    process = tree.start(textwrap.dedent(chaos) + source, env={"KAGGLE_IS_COMPETITION_RERUN": "1"})
    output = process.communicate(timeout=120)[0]
    met = done.read_text().split() if done.exists() else []
    run.killed, run.stalled, run.ended = met.count("kill"), met.count("stop"), met.count("end")
    nothing = short and process.returncode == 1 and "the time was over" in output and not tree.submission.exists()
    if not nothing:  # on a busy machine the time may be over before any answer: a run must say so, and leave no file
        _judge(run, tree, process.returncode, output, told, short=short)
    shutil.rmtree(folder)
    return run


def _judge(run, tree, code, output, told, *, short):
    if code != (-9 if run.ended else 0):
        run.faults.append(f"seed {run.seed}: ended with {code}: {output[-1500:]}")
        return
    answers, found = tree.answers(), []
    if list(answers) != tree.ids:
        run.faults.append(f"seed {run.seed}: other ids")
    for row, (name, cells) in enumerate(answers.items()):
        found.append(tree.nearest_prefix(row, cells))
        run.lines[name, found[-1]] = tuple(cells)
    if None in found:
        run.faults.append(f"seed {run.seed}: an answer is no declared prefix")
    elif max(found) > 1 and min(found) < 1:
        run.faults.append(f"seed {run.seed}: a sample got more before all had unit 1")
    if run.ended or not told.exists():
        return
    if not short and min(found) < len(UNITS):
        run.faults.append(f"seed {run.seed}: not all units ran: {found}; {tree.record()['events']}")
    again = len(told.read_text().split()) - sum(found)
    run.lost = again / BATCH / max(1, run.killed + run.stalled)
    if run.lost > 1 and not short:
        run.faults.append(f"seed {run.seed}: {again} samples done again: {tree.record()['events']}")
    if json.loads((Path(tree.root) / "working" / "run.json").read_text())["status"] != "complete":
        run.faults.append(f"seed {run.seed}: not complete")


def conflicts(runs):
    """Samples that have different answers for the same progress in different runs."""
    seen, out = {}, []
    for run in runs:
        for key, line in run.lines.items():
            if seen.setdefault(key, line) != line:
                out.append((run.seed, key, line, seen[key]))
    return out
