"""The road from data to a rehearsed notebook: each stage once, in order, skipped when nothing it depends on has changed.

Stages know only records on disk; this module hands each one what the stage before it wrote. `delivery.py` goes on to the score.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import config as configs
from builder import machines
from builder.errors import RemoteError, UserError
from builder.ledger.store import Ledger
from builder.progress import Report, silent
from builder.workspace import Workspace, digest_of, read_json, write_json

if TYPE_CHECKING:
    from builder.bundle.record import Bundled, Dataset
    from builder.config import Config
    from builder.export.record import Export
    from builder.machines import Machine
    from builder.plan.stage import Planned
    from builder.rehearse.stage import Rehearsal
    from builder.render.stage import Rendered
    from builder.runtime.contract import Plan
    from builder.train.record import Version


@dataclass
class Kernel:
    """One kernel of a workspace, on its way. `seconds`, `fresh` and `notes` (for a person) are filled stage by stage."""

    workspace: Workspace
    name: str
    report: Report = silent
    seconds: dict[str, float] = field(default_factory=dict)
    fresh: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.workspace.kernel(self.name)

    @cached_property
    def config(self) -> Config:
        """kernel.toml with the keys that only the competition's files can tell filled in, read once: no stage sees another."""
        return completed(configs.load(self.folder), self.workspace)

    @property
    def root(self) -> Path:
        return self.config.data_root(self.workspace.root)

    def described(self) -> str | None:
        """The version that was made from what kernel.toml describes now; None when there is none, or the data are not here."""
        from builder.train import stage

        try:
            version = stage.current(self.workspace, self.name, stage.digest(self.config, self.workspace, self.name))
        except UserError:  # a machine that only renders has no training data; the newest version is the one to render
            return None
        return version.version if version else None

    def done(self, stage: str, started: float, *, fresh: bool, digest: str, record: Mapping[str, Any]) -> None:
        """Note that `stage` was run, here and in the ledger; a stage that was up to date is not a run."""
        self.seconds[stage] = time.perf_counter() - started
        self.fresh[stage] = fresh
        if fresh:
            with Ledger(self.workspace.ledger) as ledger:
                ledger.add_run(self.name, stage, digest, self.seconds[stage], record)


def completed(config: Config, workspace: Workspace) -> Config:
    """`config` with `[data]` filled from the competition's files where kernel.toml leaves it open."""
    if config.data.complete:
        return config
    from builder import competition

    data = config.data
    files = {"train": data.train, "test": data.test, "sample": data.sample_submission}
    found = competition.propose(config.data_root(workspace.root), **files, known=data)
    return config.model_copy(update={"data": competition.filled(data, found)})


def train(kernel: Kernel, *, resume: bool = False, fold: int | None = None) -> Version | None:
    """The version that kernel.toml describes, trained unless it is there; None when `fold` left it unfinished."""
    from builder.train import stage

    started = time.perf_counter()
    version, fresh = stage.train(kernel.config, kernel.workspace, kernel.name, resume=resume, fold=fold, report=kernel.report)
    if version:
        record = {"version": version.version, "scores": {model.name: model.score for model in version.models}}
        kernel.done("train", started, fresh=fresh, digest=version.digest, record=record)
    return version


def adopt(kernel: Kernel) -> Version:
    """The version that is made from the weights that kernel.toml names, unless it is there."""
    from builder.train import adopt as adopting

    started = time.perf_counter()
    version, fresh = adopting.adopt(kernel.config, kernel.workspace, kernel.name, report=kernel.report)
    record = {"version": version.version, "scores": {model.name: model.score for model in version.models}}
    kernel.done("adopt", started, fresh=fresh, digest=version.digest, record=record)
    kernel.notes += version.notes
    return version


def version(kernel: Kernel) -> Version:
    """The version that kernel.toml describes, trained or adopted. Raises UserError when its training was left unfinished."""
    made = adopt(kernel) if kernel.config.model[0].checkpoints else train(kernel, resume=True)
    if made is None:
        raise UserError("the training is unfinished", remedy=f"kkb train {kernel.name} --resume")
    return made


def export(kernel: Kernel) -> dict[str, Export]:
    """Version -> its export, for every version that the plan may use."""
    from builder.export import stage
    from builder.plan.stage import versions_of
    from builder.train import record

    started, config = time.perf_counter(), kernel.config
    weights = kernel.workspace.weights(kernel.name)
    exports, fresh = {}, False
    for number in versions_of(config, weights, kernel.described()):
        exports[number], new = stage.export(config, kernel.workspace, record.load(weights / number), report=kernel.report)
        fresh = fresh or new
    digest = digest_of([export.digest for export in exports.values()])
    kernel.done("export", started, fresh=fresh, digest=digest, record={"models": export_rows(exports)})
    return exports


def export_rows(exports: Mapping[str, Export]) -> list[dict[str, Any]]:
    """One row per exported fold, for tables and `--json`."""
    from dataclasses import asdict

    return [{"version": number, **asdict(model)} for number, export in exports.items() for model in export.models]


def current_exports(kernel: Kernel) -> dict[str, Export]:
    """The exports that are there. Raises UserError when one is missing: no stage does another's work unasked."""
    from builder.export import stage
    from builder.plan.stage import versions_of
    from builder.train import record

    config, found = kernel.config, {}
    weights = kernel.workspace.weights(kernel.name)
    for number in versions_of(config, weights, kernel.described()):
        export = stage.current(config, record.load(weights / number))
        if export is None:
            raise UserError(
                f"{number} is not exported as kernel.toml asks", file=weights / number, remedy=f"kkb export {kernel.name}"
            )
        found[number] = export
    return found


def plan(kernel: Kernel, *, again: bool = True) -> Planned:
    """plan.json from the exports that are there.

    Args:
        again: False keeps a plan of the same models and settings, although prices may have been measured since: the run that
            measures them would otherwise make a new notebook, which would be run and measured again.
    """
    from builder.plan import stage

    started, config = time.perf_counter(), kernel.config
    members = stage.members(config, kernel.workspace.weights(kernel.name), current_exports(kernel), kernel.described())
    kept = None if again else stage.kept(config, kernel.folder, members)
    if kept:
        kernel.done("plan", started, fresh=False, digest="", record={})
        return stage.planned(kept, kernel.folder / stage.FILE)
    planned, fresh = stage.plan(config, kernel.name, kernel.folder, kernel.root, members)
    kernel.done("plan", started, fresh=fresh, digest=digest_of(planned.plan.to_json()), record=stage.summary(planned))
    return planned


def datasets(kernel: Kernel) -> list[Dataset]:
    """The datasets of the plan, from records alone."""
    from builder.bundle import stage, wheels
    from builder.plan.stage import load

    made, path = load(kernel.folder), kernel.folder / wheels.FILE
    lock = None
    if kernel.config.bundle.wheels and path.is_file():
        lock = wheels.load(path)
        if not wheels.current(lock, *_wanted(kernel, made)):
            raise UserError("the wheels are not those that the kernel needs now", file=path, remedy=f"kkb bundle {kernel.name}")
    settings = kernel.config.bundle
    return stage.datasets(made, current_exports(kernel), kernel.workspace, lock, settings, settings.taken)


def _wanted(kernel: Kernel, made: Plan) -> tuple[tuple[str, ...], Machine]:
    """The requirements of a kernel, and the machine whose image lacks some of them."""
    from builder.bundle import image, wheels
    from builder.runtime.contract import Cells

    machine = machines.load(kernel.config.competition.machine)
    backends = {unit.backend for unit in made.units}
    extra = kernel.config.bundle.requirements
    if any(isinstance(part, Cells) and part.kind == "tokens" for unit in made.units for part in unit.input.parts):
        extra = (*extra, *image.tokenizers(machine))
    return wheels.requirements(made.accelerator, extra, machine, backends), machine


def lock_wheels(kernel: Kernel, *, lenient: bool) -> None:
    """Make `kernels/<name>/wheels.json` and the wheels that it names; needs the package index only when something is new.

    Args:
        lenient: Without an index, go on without wheels and say so: right for the stand-in, whose image is this machine.
    """
    from builder.bundle import wheel_trial, wheels
    from builder.bundle.stage import wheel_cache
    from builder.plan.stage import load

    path, cache = kernel.folder / wheels.FILE, wheel_cache(kernel.workspace)
    if not kernel.config.bundle.wheels:
        return
    wanted, machine = _wanted(kernel, load(kernel.folder))
    try:
        lock = wheels.load(path) if path.is_file() else None
        if lock is None or not wheels.current(lock, wanted, machine):
            lock = wheels.resolve(wanted, machine, cache, kernel.report)
            kernel.notes += wheel_trial.tried(lock, machine, cache, kernel.report)
            lock.write(path)
        wheels.fetch(lock, cache, kernel.report)
    except RemoteError as error:
        if not lenient:
            raise
        path.unlink(missing_ok=True)
        kernel.notes.append(f"no wheels are bundled, so this kernel would fail on kaggle.com: {error.what}")


def bundle(kernel: Kernel, owner: str, *, lenient: bool = False, verify: bool = False) -> list[Bundled]:
    """The dataset folders of the plan, wheels included (`lock_wheels` explains `lenient`); `verify` reads every file again."""
    from builder.bundle import stage

    started = time.perf_counter()
    lock_wheels(kernel, lenient=lenient)
    settings = kernel.config.bundle
    made = stage.write(datasets(kernel), kernel.workspace, owner, settings, kernel.report, verify=verify)
    fresh = any(one.changed for one in made)
    kernel.done(
        "bundle",
        started,
        fresh=fresh,
        digest=digest_of([one.digest for one in made]),
        record={"datasets": [o.record() for o in made]},
    )
    return made


def render(kernel: Kernel, owner: str, *, check: bool = False) -> Rendered:
    """The notebook and its metadata; with `check`, nothing is written and stale files are refused."""
    from builder.plan.stage import load
    from builder.render import stage

    started = time.perf_counter()
    rendered = stage.render(load(kernel.folder), datasets(kernel), kernel.folder, owner, kernel.config.competition)
    if check:
        rendered.check(kernel.folder)
        return rendered
    stale = rendered.write(kernel.folder)
    kernel.done(
        "render", started, fresh=bool(stale), digest=rendered.digest, record={"digest": rendered.digest, "written": stale}
    )
    return rendered


def rehearse(
    kernel: Kernel,
    *,
    rows: int | None = None,
    limit_s: float | None = None,
    again: bool = True,
    sets: str = "plain",
    given: Path | None = None,
    keep: bool = False,
    clean: bool = False,
) -> Rehearsal:
    """Run the rendered notebook as Kaggle would (`rehearse.stage.Wanted` explains the rest).

    Args:
        again: False: an earlier rehearsal of the same notebook counts, whatever else it played.
        clean: In an environment that holds only what the machine's image holds.
    """
    from builder.plan.stage import load
    from builder.rehearse import stage as rehearsing
    from builder.render.stage import NOTEBOOK, digest_in

    started, config = time.perf_counter(), kernel.config
    wanted = rehearsing.Wanted(rows, limit_s, sets, given, keep)
    wanted.check()
    folder = kernel.workspace.runs(kernel.name) / "rehearsal"
    key = digest_of([digest_in(kernel.folder), rows, limit_s, str(given)])
    known = None if again else rehearsing.known(folder, key)
    if known:
        kernel.seconds["rehearse"], kernel.fresh["rehearse"] = time.perf_counter() - started, False
        return known
    made, machine, owner = load(kernel.folder), machines.load(config.competition.machine), owner_in(kernel)
    mounts = {
        rehearsing.mount(machine, f"{dataset.carrier}s", owner, dataset.name): folder_of(kernel, dataset.slug)
        for dataset in datasets(kernel)
    }
    notebook = kernel.folder / NOTEBOOK
    cache = kernel.workspace.cache
    staged = rehearsing.Stage(kernel.name, config, notebook, mounts, machine, folder, made, cache)
    staged = rehearsing.in_clean(staged, kernel.report) if clean else staged
    rehearsal = rehearsing.rehearse(staged, kernel.root, fold_of(kernel, made), wanted, report=kernel.report)
    if rehearsal.ok:
        write_json(folder / rehearsing.KEY, key)
    kernel.done("rehearse", started, fresh=True, digest=key, record=rehearsal.record())
    return rehearsal


def folder_of(kernel: Kernel, slug: str) -> Path:
    folder = kernel.workspace.datasets / slug
    if not folder.is_dir():
        raise UserError("a dataset folder is missing", file=folder, remedy=f"kkb bundle {kernel.name}")
    return folder


def owner_in(kernel: Kernel) -> str:
    from builder.render.stage import METADATA

    path, remedy = kernel.folder / METADATA, f"kkb render {kernel.name}"
    metadata = read_json(path, remedy=remedy)
    owner, _, slug = str(metadata.get("id", "") if isinstance(metadata, dict) else "").partition("/")
    if not owner or not slug:
        raise UserError("no owner in the metadata", file=path, expected='"id": "owner/slug"', remedy=remedy)
    return owner


def fold_of(kernel: Kernel, made: Any) -> dict[str, int]:
    """id -> fold, for the rows on which all versions of the plan agree about the fold and have a model that left it out."""
    from builder.rehearse.hidden import honest_folds
    from builder.train import record

    answered = {unit.fold for unit in made.units}
    agreed: dict[str, int] | None = None
    for number in {unit.member.partition(":")[0] for unit in made.units}:
        ids, folds, _ = record.read_folds(kernel.workspace.weights(kernel.name) / number / record.FOLDS)
        mine = honest_folds(ids, folds.tolist(), answered)
        agreed = mine if agreed is None else {key: fold for key, fold in agreed.items() if mine.get(key) == fold}
    return agreed or {}
