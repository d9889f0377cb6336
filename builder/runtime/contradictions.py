"""What a plan must not say: everything that would otherwise be found out in the middle of a run, or never.

Expects: a plan whose fields have the right kinds.
Produces: ContractError that names the contradiction.
Never: mends anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .contract import BACKENDS, BLENDS, EFFORTS
from .reading import ContractError

if TYPE_CHECKING:
    from .contract import Answer, Effort, Plan, Prefix

AGAIN = "run `kkb plan` again"
OFF_ONE = 1e-6  # by which the sum of weights may miss 1


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
    _refuse_answer(plan.answer)
    _refuse_units(plan)
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
    if bool(answer.key) != (answer.form == "long"):
        raise ContractError(f"plan.answer: the form {answer.form!r} with the key {answer.key!r}; {AGAIN}")
    if answer.decision is not None:
        try:
            Decision.from_json(answer.decision)
        except DecisionError as error:
            raise ContractError(f"plan.answer.decision: {error}") from None


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
