"""How one protection is taken away from a runtime, to show that an attack succeeds without it.

A case that also passes here has proved nothing about what it names. Nothing of the product imports this.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

from runtime.conductor.plans import execution, planner
from runtime.conductor.plans.kit import Kit
from runtime.core import Core
from runtime.gate.call import ToolCall
from runtime.gate.plan import Plan
from runtime.gate.provenance.origin import Origin
from runtime.gateway import peer
from runtime.redteam.case import Guard
from store.records.canonical import Json
from store.records.labels import Integrity, Labels

OPEN = '@id("open") permit (principal, action, resource);\n'
"""The policies of a site without any."""


def weaken(core: Core, without: Guard | None) -> None:
    """Take one protection away from a core that has just been opened. `policy`, `budgets`, `peers`, `forms` and
    `reach` are taken away where the site is made."""
    if without is not None:
        _WEAKENED.get(without, _nothing)(core)


def _nothing(_: Core) -> None:
    """What is taken away elsewhere."""


@contextmanager
def no_peers(without: Guard | None) -> Iterator[None]:
    """While it lasts, the gateway looks neither at a caller's descent nor at its mark."""
    if without != "peers":
        yield
        return
    kept = peer.require_outsider
    try:
        vars(peer)["require_outsider"] = lambda *_, **__: None
        yield
    finally:
        vars(peer)["require_outsider"] = kept


@contextmanager
def no_forms(without: Guard | None) -> Iterator[None]:
    """While it lasts, a plan and a reading are taken as they are written, of whatever form and length."""
    if without != "forms":
        yield
        return
    kept = [(module, name, vars(module)[name]) for module, names in _FORMS.items() for name in names]
    try:
        for module, names in _FORMS.items():
            vars(module).update(names)
        yield
    finally:
        for module, name, value in kept:
            vars(module)[name] = value


def _as_written(kit: Kit, given: Json, labels: Labels) -> Plan:
    return Plan.parse({"steps": given["steps"], "constants": dict(kit.constants)}, labels)


_FORMS: dict[ModuleType, dict[str, Any]] = {
    planner: {"checked": _as_written, "next_step": lambda *_: {}},
    execution: {"answer_schema": lambda _: {}, "MOST_ITEMS": 10_000},
}
"""What stands in the place of the checks of plans and readings."""


def _approvals(core: Core) -> None:
    """Any yes is a yes to anything, whoever says it."""
    vars(core.conductor.services.gate.approved)["_problem"] = lambda _: ""


def _answers(core: Core) -> None:
    """Whoever answers is believed, whatever they have seen."""
    approvals = core.approvals
    vars(approvals)["_check"] = lambda *_: None
    vars(approvals)["agreed"] = lambda entry: frozenset(each.approver for each in entry.yes)
    vars(approvals)["_enough"] = lambda entry: bool(entry.yes)
    _approvals(core)


def _plan(core: Core) -> None:
    """No call is compared with the frozen plan."""
    vars(core.conductor.services.gate.planned)["check"] = lambda call: call


def _tenants(core: Core) -> None:
    """Nobody asks whose values a call carries."""
    labelled = core.conductor.services.gate.labelled
    judged = labelled.check
    vars(labelled)["check"] = lambda call: judged(
        replace(call, labels=replace(call.labels, tenant=call.principal.user.tenant))
    )


def _origins(core: Core) -> None:
    """Every argument is taken for the user's own."""
    labelled = core.conductor.services.gate.labelled

    def users(call: ToolCall, *, every: bool = False) -> tuple[Origin, ...]:
        del every
        return tuple(Origin(name, True, ("user",)) for name in call.arguments)

    vars(labelled)["_origins"] = users


def _labels(core: Core) -> None:
    """Every call is taken to rest on trusted values."""
    labelled = core.conductor.services.gate.labelled
    judged = labelled.check
    vars(labelled)["check"] = lambda call: judged(replace(call, labels=_trusted(call.labels)))


def _trusted(labels: Labels) -> Labels:
    return replace(labels, integrity=Integrity.TRUSTED)


def _memory(core: Core) -> None:
    """All tenants have one memory."""
    memory: Any = core.conductor.services.memory
    recall = memory.recall

    async def everybodys(tenant: str, *more: Any) -> Any:
        found = [each for name in ("local", "rival") for each in await recall(name, *more)]
        return [(value, replace(labels, tenant=tenant)) for value, labels in found]

    object.__setattr__(memory, "recall", everybodys)


_WEAKENED: dict[Guard, Callable[[Core], None]] = {
    "approvals": _approvals,
    "answers": _answers,
    "tenants": _tenants,
    "origins": _origins,
    "labels": _labels,
    "memory": _memory,
    "plan": _plan,
}
