"""Checks of what Kaggle says. They find nothing when nobody asked it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from builder.remote import datasets
from builder.remote.competitions import SITE
from builder.remote.preflight.record import MUST, NOTE, SHOULD, Found, Online, Subject, check

PRIVATE_QUOTA = 200 << 30
UNDER_WAY = ("QUEUED", "RUNNING", "CANCEL_REQUESTED")


def _said(subject: Subject) -> Online:
    return subject.online or Online()


@check("credentials", MUST, "official client 2.2.5, authenticate: a token first, then username and key")
def credentials(subject: Subject) -> Iterator[Found]:
    if _said(subject).credentials:
        yield Found(
            f"Kaggle does not know you: {_said(subject).credentials}", "set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY"
        )


@check("owner", MUST, "saving under another owner answers 'Notebook not found' (kaggle-cli#575)")
def owner(subject: Subject) -> Iterator[Found]:
    me, (name, slash, _) = _said(subject).username, str(subject.meta.get("id") or "").partition("/")
    if me and slash and me.lower() != name.lower():
        yield Found(f"the kernel belongs to '{name}', and you are '{me}'", "run `kkb render` again with these credentials")


@check("dataset-absent", MUST, "sources that do not exist are dropped, and the run starts without them (SaveKernel)")
def dataset_absent(subject: Subject) -> Iterator[Found]:
    ours = {bundle.name for bundle in subject.bundles}
    for name, state in _said(subject).datasets.items():
        if state in (None, datasets.DELETED) and name not in ours:
            yield Found(f"there is no dataset '{name}' that you may see", "check its name, or ask its owner to share it")


@check("dataset-failed", MUST, "GetDatasetStatus: FAILED never becomes READY")
def dataset_failed(subject: Subject) -> Iterator[Found]:
    for name, state in _said(subject).datasets.items():
        if state == datasets.FAILED:
            yield Found(f"Kaggle could not process '{name}'", f"delete it (`kaggle datasets delete {name}`) and push again")


@check("dataset-processing", NOTE, "a kernel saved meanwhile would run without it, or with an older version")
def dataset_processing(subject: Subject) -> Iterator[Found]:
    for name, state in _said(subject).datasets.items():
        if state not in (None, datasets.READY, datasets.FAILED, datasets.DELETED):
            yield Found(f"'{name}' is still being processed: {state}", "nothing: the push waits for it")


@check("dataset-different", MUST, "a dataset of ours never changes; another content needs another name")
def dataset_different(subject: Subject) -> Iterator[Found]:
    for name, text in _said(subject).different.items():
        if text:
            yield Found(f"'{name}' holds other files than the bundle: {text}", f"run `kkb bundle {subject.folder.name}` again")


@check("upload", NOTE, "only new content is uploaded")
def upload(subject: Subject) -> Iterator[Found]:
    absent = {name for name, state in _said(subject).datasets.items() if state in (None, datasets.DELETED)}
    new = [bundle for bundle in subject.bundles if bundle.name in absent]
    if new:
        size = sum(sum(bundle.manifest.values()) for bundle in new)
        yield Found(f"{len(new)} new datasets, {size / 1e6:.1f} MB, will be uploaded", "nothing")


@check("storage", SHOULD, "kaggle.com/docs/datasets: 200 GB of private datasets in all")
def storage(subject: Subject) -> Iterator[Found]:
    stored = _said(subject).stored
    if stored is not None and stored > 0.9 * PRIVATE_QUOTA:
        yield Found(
            f"your datasets take {stored / 1e9:.0f} of {PRIVATE_QUOTA / 1e9:.0f} GB", "delete on kaggle.com what no kernel uses"
        )


@check("competition-refused", MUST, "403 means that the rules were not accepted, 404 that there is no such competition")
def competition_refused(subject: Subject) -> Iterator[Found]:
    if _said(subject).refused:
        yield Found(
            f"Kaggle does not let you into '{subject.competition}': {_said(subject).refused}",
            f"accept the rules at {SITE}/competitions/{subject.competition}/rules, and check the slug",
        )


@check("competition-over", MUST, "after its deadline a competition takes late submissions at most, without a rank")
def competition_over(subject: Subject) -> Iterator[Found]:
    found = _said(subject).competition
    if found is None:
        return
    deadline = _moment(found.deadline)
    if found.closed:
        yield Found(f"'{subject.competition}' takes no submissions", "choose another competition")
    elif deadline and deadline < subject.now:
        yield Found(
            f"'{subject.competition}' ended on {found.deadline}", "choose another competition, or submit by hand and late"
        )


@check("not-joined", MUST, "GetSubmissionLimits is all zero for those who are in no team")
def not_joined(subject: Subject) -> Iterator[Found]:
    found, limits = _said(subject).competition, _said(subject).limits
    if found is not None and not found.entered and not (limits and limits.entered):
        yield Found(f"you have not joined '{subject.competition}'", f"join it at {SITE}/competitions/{subject.competition}")


@check("submissions-spent", SHOULD, "the day of a competition ends at 00:00 UTC; errored submissions count")
def submissions_spent(subject: Subject) -> Iterator[Found]:
    limits = _said(subject).limits
    if limits and limits.entered and limits.left == 0:
        yield Found(f"no submission is left today ({limits.today} made)", "push now, submit after 00:00 UTC")


@check("submissions-last", NOTE, "errored submissions count towards the daily limit")
def submissions_last(subject: Subject) -> Iterator[Found]:
    limits = _said(subject).limits
    if limits and limits.left == 1:
        yield Found("one submission is left today", "rehearse first (`kkb rehearse`)")


@check("quota-spent", MUST, "about 30 GPU hours a week; saving a version uses them, a scored rerun does not")
def quota_spent(subject: Subject) -> Iterator[Found]:
    left = _quota_left(subject)
    if subject.gpu and left is not None and left <= 0:
        yield Found("no GPU time is left this week", f"wait until {_refresh(subject)}, or set [competition] machine = 'cpu'")


@check("quota-cost", NOTE, "the commit run takes its whole wall clock from the week's hours; one T4 x2 hour is one hour")
def quota_cost(subject: Subject) -> Iterator[Found]:
    left = _quota_left(subject)
    if subject.gpu and left is not None and left > 0:
        loads = sum(unit.load_s for unit in subject.plan.units) if subject.plan else 0.0
        yield Found(f"this push costs at least {loads / 60 + 2:.0f} GPU minutes; {left / 3600:.1f} h are left", "nothing")


@check("run-under-way", SHOULD, "two batch GPU sessions at a time; a third push is refused with exit code 0 (kaggle-cli#185)")
def run_under_way(subject: Subject) -> Iterator[Found]:
    said = _said(subject)
    if said.latest and said.latest_state in UNDER_WAY:
        yield Found(f"version {said.latest.version} is {said.latest_state}", "wait for it, or stop it on its page")


@check("kernel-type-changed", MUST, "the type of a kernel can never change (SaveKernel)")
def kernel_type_changed(subject: Subject) -> Iterator[Found]:
    there, wanted = (_said(subject).kernel_type or "").lower(), str(subject.meta.get("kernel_type") or "")
    if there and wanted and there != wanted:
        yield Found(f"the kernel that is there is a {there}", "rename the kernel, or delete the one that is there")


@check("name-taken", MUST, "a notebook and a dataset of one owner cannot share a name (409)")
def name_taken(subject: Subject) -> Iterator[Found]:
    if _said(subject).name_taken:
        yield Found(f"one of your datasets is called '{subject.meta.get('id')}'", "rename the kernel")


def _quota_left(subject: Subject) -> float | None:
    quota = _said(subject).quota
    if quota is None or quota.gpu_total_s is None:
        return None
    return quota.gpu_total_s - (quota.gpu_used_s or 0.0)


def _refresh(subject: Subject) -> str:
    quota = _said(subject).quota
    return (quota.refresh if quota else None) or "the week ends"


def _moment(text: str | None) -> datetime | None:
    """A time as Kaggle writes it, UTC and without a zone."""
    try:
        return datetime.fromisoformat((text or "").rstrip("Z")).replace(tzinfo=None)
    except ValueError:
        return None
