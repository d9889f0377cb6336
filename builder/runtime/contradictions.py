"""What a plan must not say: everything that would otherwise be found out in the middle of a run, or never.

Expects: a plan whose fields have the right kinds.
Produces: ContractError that names the contradiction.
Never: mends anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .contract import BACKENDS, BLENDS, BY_HEAD, EFFORTS, LINKS
from .reading import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .contract import Answer, Effort, Plan, Prefix, Share

AGAIN = "run `kkb plan` again"
OFF_ONE = 1e-6  # by which the sum of weights may miss 1
SOFTMAX, SIGMOID, IDENTITY = LINKS
MIXES = {SOFTMAX: BLENDS, SIGMOID: ("weighted", "geometric", "rank"), IDENTITY: ("weighted",)}
FORMS = {
    SOFTMAX: ("labels", "columns", "probability", "strings", "numbers", "long"),
    SIGMOID: ("columns", "strings", "long"),
    IDENTITY: ("numbers", "long"),
}
SEVERAL = (*BY_HEAD, "columns", "long")  # forms that have room for several heads
STEPS = {
    SOFTMAX: ("clip", "round", "rank", "noise", "argmax", "threshold", "thresholds", "cuts", "top"),
    SIGMOID: ("clip", "round", "rank", "thresholds", "top"),
    IDENTITY: ("clip", "round", "rank", "cuts"),
}  # of a decision


def refuse(plan: Plan) -> None:
    """Raise ContractError when `plan` contradicts itself."""
    if not plan.units:
        raise ContractError(f"plan: it has no units; {AGAIN}")
    if len(plan.prefixes) != len(plan.units):
        raise ContractError(f"plan: {len(plan.units)} units but {len(plan.prefixes)} prefixes")
    if plan.blend not in BLENDS:
        raise ContractError(f"plan: blend is {plan.blend!r}; known are {', '.join(BLENDS)}; {AGAIN}")
    classes = len(plan.answer.classes)
    if len(plan.prior) != classes:
        raise ContractError(f"plan: {classes} classes but a prior of {len(plan.prior)}")
    for count, prefix in enumerate(plan.prefixes, start=1):
        _refuse_prefix(prefix, count, plan.blend, classes)
        _refuse_shares(prefix, count, plan)
    _refuse_answer(plan.answer)
    _refuse_units(plan)
    if plan.answer.heads:
        _refuse_heads(plan.answer)
        _refuse_links(plan)
        _refuse_unanswerable(plan)
    _refuse_references(plan, classes)
    _refuse_probes(plan)
    if plan.effort is not None:
        _refuse_effort(plan.effort, len(plan.units))
    if not 0 <= plan.max_fallback <= 1:
        raise ContractError(f"plan: max_fallback is {plan.max_fallback!r}, expected a share between 0 and 1")


def _refuse_answer(answer: Answer) -> None:
    from .decide import Decision, DecisionError

    if len(answer.kinds) not in (0, 1 + len(answer.columns)):
        raise ContractError(f"plan.answer: types of {len(answer.kinds)} columns, there are {1 + len(answer.columns)}")
    if bool(answer.key) != (answer.form in {"long", "long-heads"}):
        raise ContractError(f"plan.answer: the form {answer.form!r} with the key {answer.key!r}; {AGAIN}")
    if answer.key and len(answer.columns) != 1:
        raise ContractError(
            f"plan.answer: the form {answer.form!r} with the columns {list(answer.columns)}, expected one; {AGAIN}"
        )
    if answer.form in BY_HEAD and len(answer.heads) < 2:
        raise ContractError(f"plan.answer: the form {answer.form!r} with {len(answer.heads)} heads; {AGAIN}")
    if answer.decision is not None:
        try:
            Decision.from_json(answer.decision)
        except DecisionError as error:
            raise ContractError(f"plan.answer.decision: {error}") from None


def _refuse_heads(answer: Answer) -> None:
    """What heads must be, whatever is done with them."""
    for head in answer.heads:
        name, count = f"plan.answer: the head {head.name!r}", len(head.classes)
        if head.link not in LINKS:
            raise ContractError(f"{name} has link {head.link!r}; known are {', '.join(LINKS)}; {AGAIN}")
        if not count or len(set(head.classes)) < count:
            raise ContractError(f"{name} has the outputs {list(head.classes)}, expected names, each once")
        if len(head.offset) != len(head.spread) or len(head.spread) not in ((0, count) if head.link == IDENTITY else (0,)):
            raise ContractError(
                f"{name} of link {head.link!r} has {count} outputs, {len(head.offset)} offsets and {len(head.spread)} spreads"
            )
        if not all(spread > 0 for spread in head.spread):
            raise ContractError(f"{name} has a spread that is not above 0: {list(head.spread)}")
    sizes = [len(head.classes) for head in answer.heads]
    if sum(sizes) != len(answer.classes):
        raise ContractError(f"plan.answer: heads of {sizes} outputs, but {len(answer.classes)} classes; {AGAIN}")
    if tuple(label for head in answer.heads for label in head.classes) != answer.classes:
        raise ContractError(f"plan.answer: the heads name other classes than the answer; {AGAIN}")
    names = [head.name for head in answer.heads]
    if len(names) > 1 and (not all(names) or len(set(names)) < len(names)):
        raise ContractError(f"plan.answer: heads called {names}, expected names, each once")


def _refuse_links(plan: Plan) -> None:
    """What cannot be done with such heads: blends, temperatures, forms, decisions."""
    answer = plan.answer
    for head in answer.heads:
        if plan.blend not in MIXES[head.link]:
            raise ContractError(f"plan: a blend {plan.blend!r} of a head of link {head.link!r}; {AGAIN}")
    forms = SEVERAL if len(answer.heads) > 1 else FORMS[answer.heads[0].link]
    links = {head.link for head in answer.heads}
    fits = answer.form in forms and (answer.form not in BY_HEAD or SIGMOID not in links)
    if not fits or (answer.form == "columns" and IDENTITY in links):
        told = " and ".join(sorted(links))
        raise ContractError(f"plan.answer: the form {answer.form!r} of {len(answer.heads)} heads of link {told}; {AGAIN}")
    if answer.form == "heads" and set(answer.columns) != {head.name for head in answer.heads}:
        raise ContractError(f"plan.answer: columns {list(answer.columns)} of heads {[head.name for head in answer.heads]}")
    if answer.form == "long" and len(set(answer.classes)) < len(answer.classes):
        raise ContractError("plan.answer: the form 'long' of heads that share names of classes: its ids would not differ")
    blank = [label for label in answer.classes if len(label.split()) != 1] if answer.form == "strings" else []
    if blank:
        raise ContractError(f"plan.answer: the form 'strings' with the label {blank[0]!r}, and blanks separate labels")
    for number, unit in enumerate(plan.units, start=1):
        if IDENTITY in links and unit.temperature != 1:
            raise ContractError(f"plan: unit {number} has temperature {unit.temperature!r}, and its answers are numbers")
    _refuse_decisions(answer)


def _refuse_decisions(answer: Answer) -> None:
    from .decide import Decision, DecisionError

    several = len(answer.heads) > 1
    if several and answer.decision is not None:
        raise ContractError(f"plan.answer: one decision for {len(answer.heads)} heads, each has its own; {AGAIN}")
    for head in answer.heads:
        raw, where = (head.decision, f"the head {head.name!r}") if several else (answer.decision, "the answer")
        if not several and head.decision is not None:
            raise ContractError(f"plan.answer: its only head has a decision, which is the answer's to have; {AGAIN}")
        if raw is None:
            continue
        if several and answer.form not in BY_HEAD:
            raise ContractError(f"plan.answer: {where} has a decision, and the form {answer.form!r} no place for it; {AGAIN}")
        try:
            kinds = [step.kind for step in Decision.from_json(raw).steps]
        except DecisionError as error:
            raise ContractError(f"plan.answer: {where}: {error}") from None
        odd = [kind for kind in kinds if kind not in STEPS[head.link]]
        if odd:
            raise ContractError(f"plan.answer: {where} of link {head.link!r} is decided by {odd[0]!r}; {AGAIN}")


def _refuse_unanswerable(plan: Plan) -> None:
    """Write one row that nobody answered: decisions for other outputs, and columns that are none, show there."""
    import numpy as np

    from .answers import DecisionError, cells

    try:
        cells(plan.answer, np.array([plan.prior], dtype=np.float64))
    except DecisionError as error:
        raise ContractError(f"plan.answer: {error}; {AGAIN}") from None


def _refuse_units(plan: Plan) -> None:
    for number, unit in enumerate(plan.units, start=1):
        if unit.backend not in BACKENDS:
            known = ", ".join(BACKENDS)
            raise ContractError(f"plan: unit {number} has backend {unit.backend!r}; known are {known}; {AGAIN}")
        if not unit.temperature > 0:
            raise ContractError(f"plan: unit {number} has temperature {unit.temperature!r}")


def _refuse_prefix(prefix: Prefix, count: int, blend: str, classes: int) -> None:
    if len(prefix.weights) != count:
        raise ContractError(f"plan: prefix {count} has {len(prefix.weights)} weights")
    if blend == "stack":
        if len(prefix.shift) != classes:
            raise ContractError(f"plan: prefix {count} has a shift for {len(prefix.shift)} of {classes} classes")
    elif abs(sum(prefix.weights) - 1.0) > OFF_ONE or min(prefix.weights) < 0:
        raise ContractError(f"plan: the weights of prefix {count} are not a convex combination")
    if not prefix.temperature > 0:
        raise ContractError(f"plan: prefix {count} has temperature {prefix.temperature!r}")


def _refuse_shares(prefix: Prefix, count: int, plan: Plan) -> None:
    """Several heads need one share each, and one head none; numbers have no temperature."""
    heads = plan.answer.heads
    expected = len(heads) if len(heads) > 1 else 0
    shares: Sequence[Share | Prefix] = prefix.shares or (prefix,)
    if len(prefix.shares) != expected:
        raise ContractError(f"plan: prefix {count} has {len(prefix.shares)} shares, expected {expected}; {AGAIN}")
    for head, share in zip(heads, shares, strict=False):
        what = f"plan: the share of the head {head.name!r} in prefix {count}" if expected else f"plan: prefix {count}"
        if len(share.weights) != count:
            raise ContractError(f"{what} has {len(share.weights)} weights")
        if plan.blend != "stack" and (abs(sum(share.weights) - 1.0) > OFF_ONE or min(share.weights) < 0):
            raise ContractError(f"{what} has weights that are not a convex combination")
        if not share.temperature > 0 or (head.link == IDENTITY and share.temperature != 1):
            raise ContractError(f"{what} has temperature {share.temperature!r} of a head of link {head.link!r}")


def _refuse_references(plan: Plan, classes: int) -> None:
    if plan.blend != "rank":
        return
    for name in sorted({f"{unit.member} {unit.view}" for unit in plan.units}):
        among = plan.references.get(name, ())
        if len(among) != classes or not all(among):
            raise ContractError(f"plan: nothing to rank the probabilities of {name} among; {AGAIN}")


def _refuse_probes(plan: Plan) -> None:
    odd = sorted({probe.member for probe in plan.probes} - {unit.member for unit in plan.units})
    if odd:
        raise ContractError(f"plan: probes of {', '.join(odd)}, which has no unit; {AGAIN}")
    for probe in plan.probes:
        if not probe.max_abs_diff >= 0:
            raise ContractError(f"plan: the probe of {probe.member} allows a difference of {probe.max_abs_diff!r}")


def _refuse_effort(effort: Effort, units: int) -> None:
    stops, climbs = effort.stops, len(effort.stops) - 1
    if effort.kind not in EFFORTS:
        raise ContractError(f"plan: effort is {effort.kind!r}; known are {', '.join(EFFORTS)}; {AGAIN}")
    if not stops or list(stops) != sorted(set(stops)) or stops[0] < 1 or stops[-1] > units:
        raise ContractError(f"plan: effort stops at {list(stops)} of {units} units")
    if not 1 <= effort.common <= len(stops):
        raise ContractError(f"plan: {effort.common} of {len(stops)} stops are common")
    if len(effort.doubts) != len(effort.shape) or (effort.kind == "queue" and (len(effort.worth) != climbs or not effort.shape)):
        raise ContractError(f"plan: a queue of {climbs} climbs with {len(effort.worth)} gains and {len(effort.shape)} shapes")
