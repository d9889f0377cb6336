"""The notebook's one call: from the mounted test set to submission.csv, inside the limit.

Expects: the plan and the dataset list (contract.py), everything mounted below KKB_KAGGLE or /kaggle.
Produces: in the working folder, `submission.csv` (from the first minute to the end, replaced whole) and `run.json`; progress as
    plain lines on stdout.
Never: owns an accelerator, runs a model, or lets a constant pass for a result: when no sample was answered it removes the
    submission and raises.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import combine, devices, inputs, launch, mounts, probe, record, submission, weights
from . import hooks as hooks_module
from .backends import BackendError
from .chunks import chunk_size
from .clock import Clock, session_age
from .contract import Plan, datasets_from_json
from .effort import doubt
from .engine import Engine
from .progress import Progress
from .result import Result
from .schedule import Schedule
from .state import Settings, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

RERUN = "KAGGLE_IS_COMPETITION_RERUN"


class RunFailedError(RuntimeError):
    """Raised when nothing may be submitted: no sample was answered, or a commit run differs from home. Tells the causes."""


def run(
    plan: Mapping[str, Any],
    datasets: Sequence[Mapping[str, Any]],
    hooks: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Run `plan` (plan.json) on the test set with the models in `datasets`; return what the notebook shows.

    Raises RunFailedError when no sample was answered, or a commit run differs from home; ContractError, MountError, TableError
    or HookError when the run cannot begin. In every such case no submission is left behind.
    """
    parsed = Plan.from_json(plan)
    chosen = Settings(**dict(settings or {}))
    limit = chosen.limit_s or parsed.limit_s
    clock = Clock.begin(limit, parsed.reserve, age=session_age(limit))
    state = State(parsed, datasets_from_json(datasets), hooks or "", chosen, clock, _say, record.Stages(clock), rerun=is_rerun())
    state.blend = combine.Blend.of(parsed)
    mounts.working().mkdir(parents=True, exist_ok=True)
    status = "failed"
    try:
        _prepare(state)
        _predict(state)
        status = "complete"
    except Exception:
        state.target.unlink(missing_ok=True)
        raise
    finally:
        content = record.content(state, status)
        record.write(mounts.working() / "run.json", content)
    state.log(f"{state.target.name}: {len(state.ids)} rows, samples per prefix {content['samples_per_prefix']}")
    curve = tuple(state.progress.curve) if state.progress else ((clock.spent(), 0.0),)
    return Result(state.target, len(state.ids), content, curve)


def is_rerun() -> bool:
    """Whether this is the hidden rerun that is scored."""
    return os.environ.get(RERUN, "").strip().lower() not in {"", "0", "false", "no", "off"}


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the notebook's log, the one place of the runtime that prints


def _prepare(state: State) -> None:
    """Read the test rows and leave a valid submission, before anything that can take long or fail."""
    plan, source = state.plan, state.plan.source
    with state.stages("prepare"):
        folder = mounts.competition(source.competition, [source.test])
        state.mounts = mounts.Mounts(folder, {})
        state.hooks = hooks_module.load(state.hooks_path)
        if state.hooks.rows is None:
            state.rows = inputs.rows(folder / source.test, plan.answer.id)
        else:
            state.rows = state.hooks.rows(folder)
            if plan.answer.id not in state.rows.columns:
                raise hooks_module.HookError(f"hooks.rows: no column {plan.answer.id!r}; found {list(state.rows.columns)}")
        state.ids = [str(value) for value in state.rows[plan.answer.id]]
        state.lengths = np.zeros(len(state.ids), dtype=np.int64)
        state.honest = _honest_folds(state)
        state.template = submission.template(plan.answer, state.ids, _sample(state, folder), plan.prior)
        _write(state, np.full((len(state.ids), len(plan.prior)), np.nan))
    state.log(f"{state.clock.spent():8.1f} s  {len(state.ids)} samples; {state.target.name} holds the fallback")


def _sample(state: State, folder: Path) -> pd.DataFrame | None:
    """The sample submission as text, or None."""
    name = state.plan.source.sample_submission
    if not name:
        return None
    try:
        return inputs.rows(folder / name, state.plan.answer.key_column or state.plan.answer.id)
    except inputs.TableError as error:
        state.notes.append(f"the sample submission was not used: {error}")
        return None


def _honest_folds(state: State) -> NDArray[np.int64] | None:
    """In a rehearsal on training rows: each row's fold; None on Kaggle."""
    path = mounts.root() / "rehearsal" / "folds.json"
    if not path.is_file():
        return None
    folds = json.loads(path.read_text("utf-8"))
    if any(unit.fold == -1 for unit in state.plan.units):
        state.notes.append("units of fold -1 saw every training row: the score of this rehearsal is too good")
    return np.array([int(folds.get(name, combine.UNKNOWN_FOLD)) for name in state.ids], dtype=np.int64)


def _predict(state: State) -> None:
    """Find the models, probe them in a commit run, and answer the samples. Raises when nothing may be submitted."""
    probing = state.settings.probe and not state.rerun and bool(state.plan.probes)
    if not (state.ids or probing):
        return
    launch.check_views(state)
    state.scratch = launch.scratch(state.settings)
    try:
        with state.stages("mount"):
            state.attached = weights.attach(state.plan.units, state.carried, state.scratch)
        state.mounts = mounts.Mounts(state.mounts.competition, state.attached.folders)
        state.notes.extend(state.attached.notes)
        if probing:
            with state.stages("probe"):
                _probe(state)
        if state.ids:
            _answer(state)
        _check(state)
    finally:
        if state.attached is not None:
            state.attached.verification.close()
        shutil.rmtree(state.scratch, ignore_errors=True)


def _probe(state: State) -> None:
    """Predict the probe rows. Raises RunFailedError when home got other probabilities; a fault of the probe's own is a note."""
    try:
        state.probed = probe.run(state)
    except BackendError:
        raise
    except Exception as error:  # noqa: BLE001
        state.notes.append(f"the probe stopped early: {type(error).__name__}: {error}")
        return
    for note in state.probed.notes:
        state.log(f"{state.clock.spent():8.1f} s  {note}")
    state.notes.extend(state.probed.notes)
    if state.probed.fault:
        raise RunFailedError(state.probed.fault)
    largest = max((entry["max_abs_diff"] for entry in state.probed.probes), default=0.0)
    state.log(
        f"{state.clock.spent():8.1f} s  {len(state.probed.probes)} of {len(state.plan.units)} units compared with home; "
        f"largest difference of {'an answer' if state.probed.numbers else 'a probability'} {largest:.2g}"
    )


def _answer(state: State) -> None:
    """Run the units, finalising after each."""
    plan, settings, samples = state.plan, state.settings, len(state.ids)
    size = chunk_size(plan.units, samples, state.clock.limit, plan.accelerator)
    state.devices = devices.choose(plan.accelerator, samples, -(-samples // size), settings.threads, settings.workers)
    state.notes.extend(note for note in [state.devices.note] if note)
    folder = state.scratch / "run"
    folder.mkdir()
    with state.stages("predict"):
        pool = launch.workers(state, state.devices, folder, *_samples(state))
        keep, together = launch.keep_bytes(settings, folder), launch.resident(state, state.devices)
        doubts = functools.partial(_doubts, state)
        state.schedule = Schedule(plan.units, samples, size, keep, len(pool.slots), together, plan.effort, doubts)
        fetch, patience = launch.fetcher(folder), launch.patience(state)
        state.engine = Engine(plan, samples, state.schedule, pool, state.clock, fetch, patience)
        state.progress = Progress(state, pool.slots, lambda: _finalise(state))
        try:
            _work(state)
        finally:
            pool.close()
    with state.stages("finalise"):
        _finalise(state)
    if not state.answered:
        raise RunFailedError(f"no sample was answered, so there is no submission. {record.causes(state)}")


def _check(state: State) -> None:
    """What a rerun must live with and a commit run, which people look at, must not: too many fallbacks, files that differ."""
    patience = 0.0 if state.rerun else max(0.0, state.clock.left())
    faults = state.attached.verification.finish(patience) if state.attached else ()
    state.notes.extend(faults)
    if state.rerun:
        return
    if faults:
        raise RunFailedError(f"files are not those that this notebook was rendered for: {'; '.join(faults[:5])}")
    silent = int((state.lengths == 0).sum())
    if state.honest is None and silent > state.plan.max_fallback * len(state.ids):
        raise RunFailedError(
            f"{silent} of {len(state.ids)} samples have no answer, at most {state.plan.max_fallback:.0%} may: a rerun would "
            f"go on and submit the fallback for so many. {record.causes(state)}"
        )


def _work(state: State) -> None:
    """Run the engine. A bug in it must not cost what is done already: it is noted, and what there is is finalised."""
    if state.engine is None or state.progress is None:
        return
    try:
        state.engine.run(state.progress.turn)
    except Exception as error:  # noqa: BLE001
        state.notes.append(f"the run stopped early: {type(error).__name__}: {error}")


def _finalise(state: State) -> None:
    """Each sample's best complete prefix, into the submission. With none, or a fault, the file of before stays."""
    if state.engine is None:
        return
    predictions = state.engine.arrays()
    lengths = combine.reached(predictions)
    answer = _pooled(state, predictions, lengths, state.honest)
    lengths = np.where(np.isfinite(answer).all(axis=1), lengths, 0)
    if not lengths.any():
        return
    try:
        _write(state, answer)
    except Exception as error:  # noqa: BLE001  a full disk, or a competitor's hook
        state.notes.append(f"a submission was not written: {type(error).__name__}: {error}")
    else:
        state.lengths, state.answered = lengths, True


def _pooled(
    state: State, predictions: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64], honest: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """The answers of prefixes of these lengths, by the plan's blend."""
    plan, count = state.plan, len(predictions)
    if honest is None:
        return combine.pool(predictions, lengths, plan.prefixes[:count], state.blend)
    return combine.pool_honest(predictions, lengths, plan.prefixes[:count], plan.units[:count], honest, state.blend)


def _doubts(state: State, rows: NDArray[np.int64], length: int) -> NDArray[np.floating[Any]]:
    """How doubtful the answers to `rows` are, float (m,), after `length` units."""
    held = state.engine.predictions[:length] if state.engine else []
    known = [values[rows] for values in held if values is not None]
    honest = None if state.honest is None else state.honest[rows]
    return doubt(_pooled(state, known, np.full(len(rows), length), honest), state.blend.heads)


def _write(state: State, answers: NDArray[np.float64]) -> None:
    """Replace the submission, after checking that the new one is valid."""
    if state.template is None:
        return
    if state.hooks.submission is None:
        frame = submission.compose(state.template, answers)
        submission.validate(frame, state.template)
    else:
        answered = np.isfinite(answers).all(axis=1, keepdims=True)
        frame = state.hooks.submission(state.rows, np.where(answered, answers, np.asarray(state.plan.prior)))
        submission.validate_own(frame)
    submission.write(state.target, frame)


def _samples(state: State) -> tuple[list[str], list[dict[str, Any]]]:
    """What workers read: image paths of all samples where units take images, their rows where anything reads cells."""
    rows = state.rows.to_dict("records")
    images, cells = launch.reads(state)
    pattern, folder = state.plan.source.pattern, state.mounts.competition
    return [str(folder / inputs.image_path(pattern, row)) for row in rows] if images else [], rows if cells else []
