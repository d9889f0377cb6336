"""The notebook's one call: from the mounted test set to submission.csv, inside the limit.

Expects: the plan and the dataset list (contract.py), everything mounted below KKB_KAGGLE or /kaggle.
Produces: in the working folder, `submission.csv` (from the first minute to the end, replaced whole) and `run.json`; progress as
    plain lines on stdout.
Never: owns an accelerator, runs a model, or lets a constant pass for a result: when no sample was answered it removes the
    submission and raises.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import combine, devices, inputs, job, mounts, record, submission
from . import hooks as hooks_module
from .clock import Clock, session_age
from .contract import Plan, datasets_from_json
from .engine import Engine, Patience
from .pool import Pool
from .result import Result
from .schedule import Schedule, chunk_size
from .state import Settings, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

KEEP_SHARE = 0.5  # of the free disk, for decoded images
PACKAGE = Path(__file__).resolve().parent


class RunFailedError(RuntimeError):
    """Raised when no sample was answered; the message tells the causes."""


def run(
    plan: Mapping[str, Any],
    datasets: Sequence[Mapping[str, Any]],
    hooks: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Run `plan` (plan.json) on the test set with the models in `datasets`; return what the notebook shows.

    Raises RunFailedError when no sample was answered; ContractError, MountError, TableError or HookError when the run cannot
    begin. In every such case no submission is left behind.
    """
    parsed = Plan.from_json(plan)
    chosen = Settings(**dict(settings or {}))
    limit = chosen.limit_s or parsed.limit_s
    clock = Clock.begin(limit, parsed.reserve, age=session_age(limit))
    state = State(parsed, datasets_from_json(datasets), hooks or "", chosen, clock, _say, record.Stages(clock))
    mounts.working().mkdir(parents=True, exist_ok=True)
    status = "failed"
    try:
        _prepare(state)
        if state.ids:
            _predict(state)
        status = "complete"
    except Exception:
        state.target.unlink(missing_ok=True)
        raise
    finally:
        content = record.content(state, status)
        record.write(mounts.working() / "run.json", content)
    state.log(f"{state.target.name}: {len(state.ids)} rows, samples per prefix {content['samples_per_prefix']}")
    curve = tuple(state.engine.curve) if state.engine else ((clock.spent(), 0.0),)
    return Result(state.target, len(state.ids), content, curve)


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
        return inputs.rows(folder / name, state.plan.answer.id)
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
    """Run the units, finalising after each; raise RunFailedError when no sample was answered."""
    plan, settings, samples = state.plan, state.settings, len(state.ids)
    with state.stages("mount"):
        models = _models(state)
    size = chunk_size(plan.units, samples, state.clock.limit)
    state.devices = devices.choose(plan.accelerator, samples, -(-samples // size), settings.threads, settings.workers)
    state.notes.extend(note for note in [state.devices.note] if note)
    scratch = Path(tempfile.mkdtemp(prefix="kkb-", dir=_scratch(settings)))
    pool = Pool(_command(scratch), [_environment(extra) for extra in state.devices.environments], scratch)
    try:
        with state.stages("predict"):
            job.save(scratch, _job(state, models), *_samples(state))
            keep = settings.keep_bytes if settings.keep_bytes is not None else int(shutil.disk_usage(scratch).free * KEEP_SHARE)
            state.schedule = Schedule(plan.units, samples, size, keep)
            patience = Patience(settings.start_s, settings.stall_s, log=settings.log_s)
            state.engine = Engine(plan, samples, state.schedule, pool, state.clock, _fetcher(scratch), state.log, patience)
            _work(state)
        with state.stages("finalise"):
            _finalise(state)
        if not state.answered:
            raise RunFailedError(f"no sample was answered, so there is no submission. {record.causes(state)}")
        if not state.answered:
            raise RunFailedError(f"no sample was answered, so there is no submission. {record.causes(state)}")
    finally:
        pool.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _work(state: State) -> None:
    """Run the engine. A bug in it must not cost what is done already: it is noted, and what there is is finalised."""
    if state.engine is None:
        return
    try:
        state.engine.run(lambda: _finalise(state))
    except Exception as error:  # noqa: BLE001
        state.notes.append(f"the run stopped early: {type(error).__name__}: {error}")


def _finalise(state: State) -> None:
    """Each sample's best complete prefix, into the submission. With none, or a fault, the file of before stays."""
    if state.engine is None:
        return
    plan, predictions = state.plan, state.engine.arrays()
    lengths = combine.reached(predictions)
    if state.honest is None:
        answer = combine.pool(predictions, lengths, plan.prefixes)
    else:
        answer = combine.pool_honest(predictions, lengths, plan.prefixes, plan.units, state.honest)
    lengths = np.where(np.isfinite(answer).all(axis=1), lengths, 0)
    if not lengths.any():
        return
    try:
        _write(state, answer)
    except Exception as error:  # noqa: BLE001  a full disk, or a competitor's hook
        state.notes.append(f"a submission was not written: {type(error).__name__}: {error}")
    else:
        state.lengths, state.answered = lengths, True


def _write(state: State, probabilities: NDArray[np.float64]) -> None:
    """Replace the submission, after checking that the new one is valid."""
    if state.template is None:
        return
    if state.hooks.submission is None:
        frame = submission.compose(state.template, probabilities)
        submission.validate(frame, state.template)
    else:
        answered = np.isfinite(probabilities).all(axis=1, keepdims=True)
        frame = state.hooks.submission(state.rows, np.where(answered, probabilities, np.asarray(state.plan.prior)))
        submission.validate_own(frame)
    submission.write(state.target, frame)


def _models(state: State) -> list[str]:
    """The units' model files, found and checked. Raises MountError."""
    wanted: dict[str, dict[str, str]] = {}
    for unit in state.plan.units:
        carried = state.carried.get(unit.dataset)
        if carried is None or unit.file not in carried.files:
            raise mounts.MountError(
                f"the plan needs {unit.file} of dataset {unit.dataset!r}, which the notebook's list does not have"
            )
        wanted.setdefault(unit.dataset, {})[unit.file] = carried.files[unit.file]
    folders = {}
    for key, files in wanted.items():
        folders[key] = mounts.dataset(state.carried[key].owner, state.carried[key].slug, files)
        mounts.verify(folders[key], files)
    state.mounts = mounts.Mounts(state.mounts.competition, folders)
    return [str(folders[unit.dataset] / unit.file) for unit in state.plan.units]


def _samples(state: State) -> tuple[list[str] | None, list[dict[str, Any]] | None]:
    """Image paths of all samples, or the rows themselves when a hook loads them."""
    rows = state.rows.to_dict("records")
    if state.hooks.load is not None:
        odd = sorted({unit.view for unit in state.plan.units} - {"identity"})
        if odd:
            raise hooks_module.HookError(
                f"hooks.load makes the model's inputs itself; views {', '.join(odd)} cannot be applied to them"
            )
        return None, rows
    pattern, folder = state.plan.source.pattern, state.mounts.competition
    return [str(folder / inputs.image_path(pattern, row)) for row in rows], None


def _job(state: State, models: list[str]) -> job.Job:
    chosen = state.devices
    if chosen is None:
        raise RuntimeError("no devices were chosen")
    return job.Job(
        units=state.plan.units,
        models=tuple(models),
        classes=len(state.plan.answer.classes),
        accelerator=chosen.accelerator,
        threads=state.settings.threads,
        decode_threads=chosen.decode_threads,
        hooks=str(Path(state.hooks_path).resolve()) if state.hooks_path else "",
        competition=str(state.mounts.competition),
        datasets={key: str(path) for key, path in state.mounts.datasets.items()},
    )


def _fetcher(scratch: Path) -> Callable[[Any], NDArray[np.float32]]:
    return lambda task: np.load(job.result(scratch, task.unit, task.start, task.stop), allow_pickle=False)


def _scratch(settings: Settings) -> str:
    """A folder that is not output."""
    folder = Path(settings.scratch or tempfile.gettempdir()).resolve()
    if folder == mounts.working().resolve() or mounts.working().resolve() in folder.parents:
        folder = mounts.root() / "temp"
        folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _command(scratch: Path) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.worker", str(scratch), str(os.getpid())]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The notebook's environment, in which a worker finds this very package, be it a folder or a wheel."""
    home = PACKAGE
    for _ in (__package__ or "").split("."):
        home = home.parent
    path = os.pathsep.join(part for part in (str(home), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, **extra, "PYTHONPATH": path}
