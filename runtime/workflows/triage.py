"""The triage workflow: a service fails; find out why, repair it, prove it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from runtime.contract.decision import ByModel
from runtime.contract.run import Run
from runtime.contract.values import Example
from runtime.contract.workflow import workflow
from runtime.workflows.runbook import diagnose
from store.records.errors import ModelFailed, ToolFailed

EVIDENCE = ("ops.diff_config", "ops.read_logs")
"""A small model begins with either and goes on to the other; in the opposite order it may diff two configs instead."""
REPAIRS = ("ops.restart_service", "ops.rollback_config", "ops.clear_quota", "ops.set_dependency")
READS = ("ops.list_services", "ops.check_health", "ops.search_runbooks", *EVIDENCE)
WRITES = (*REPAIRS, "ops.page_on_call")
BY_MODEL = (
    ByModel("work", "which logs and configs to look at", EVIDENCE),
    ByModel("work", "which repair of which service is staged", REPAIRS),
)
CHECKS = 8


class Resolution(BaseModel):
    """How an incident ended."""

    healthy: bool
    text: str
    tool: str
    service: str


async def by_runbook(run: Run) -> Resolution:
    """Rules over every log; what no rule knows, or what its repair does not help, is handed to the person on call."""
    services = (await run.call("ops.list_services")).services
    logs = {each.name: (await run.call("ops.read_logs", service=each.name)).lines for each in services}
    repair = diagnose(logs, {each.name: each.depends_on for each in services})
    if repair is None:
        raise await _paged(run, "no runbook rule matches the logs")
    run.stage(repair.tool, **repair.arguments)
    await run.review()
    await run.commit()
    if not await _healthy(run):
        raise await _paged(run, f"{repair.tool} did not help")
    evidence = telling(logs[repair.arguments["service"]])
    return await _resolved(run, repair.tool, repair.arguments, evidence, await _runbooks(run, evidence))


@workflow("triage", version=2, fallback=by_runbook, tools=(*READS, *WRITES), by_model=BY_MODEL)
async def triage(run: Run) -> Resolution:
    """A service fails or is slow: find out why, repair it, confirm that it works again.

    Health and runbooks are read by rule. The model chooses what evidence to look at, and which repair of which service
    to stage. One repair, one review, one commit; if the front door still fails after it, the rules take over.
    """
    health = await run.call("ops.check_health")
    looked = await run.work(
        "These services fail:\n" + _lines(suspects(health.services)) + "\nLook at the cause.",
        tools=EVIDENCE,
        turns=2,
    )
    evidence = _evidence(looked.reads)
    books = await _runbooks(run, evidence)
    staged = await run.work(
        evidence,
        tools=REPAIRS,
        examples=_examples(books),
        turns=1,
    )
    await run.review()
    try:
        await run.commit()
    except ToolFailed as error:
        raise ModelFailed("the model's repair was refused by the tool", str(error)) from None
    if not await _healthy(run):
        raise ModelFailed("the front door still fails after the model's repair")
    repair = staged.staged[0]
    return await _resolved(run, repair.tool, repair.arguments, evidence, books)


def suspects(services: Mapping[str, str]) -> dict[str, str]:
    """The services that may be the cause: not healthy, and not merely complaining of one that is not healthy itself."""
    failing = {name: state for name, state in services.items() if state != "ok"}

    def blames(state: str) -> str:
        found = re.search(r"dependency (\w+) ", state)
        return found[1] if found else ""

    return {name: state for name, state in failing.items() if blames(state) not in failing} or failing


def telling(lines: Sequence[str]) -> str:
    """The last two warnings and errors of a log, without time, level and service."""
    found = [re.fullmatch(r"\S+ (WARN|ERROR|FATAL) \w+: (.+)", line) for line in lines]
    return "\n".join([match[2] for match in found if match and "certificate" not in match[2]][-2:])


def _evidence(reads: Sequence[tuple[str, dict[str, Any], Any]]) -> str:
    """What was read, logs first, as short as a small model needs it."""
    parts = []
    for tool, arguments, result in sorted(reads, key=lambda read: read[0] != "ops.read_logs"):
        text = telling(result.lines) if tool == "ops.read_logs" else _changed(result)
        parts += [f"{arguments['service']}: {line}" for line in text.splitlines()]
    return "\n".join(parts) or "nothing was found"


def _changed(diff: Any) -> str:
    """What the last rollout changed, a line a key; nothing if it changed nothing."""
    changes = diff.changed.items()
    return "\n".join(f"config v{diff.version} changed {key} from {old} to {new}" for key, (old, new) in changes)


async def _runbooks(run: Run, evidence: str) -> list[Any]:
    """The runbooks that fit the evidence, the best last; best of all the one that ended the like of it before.

    Of a remembered incident only the symptom counts, and only if a runbook of today has it: the text of logs that were
    read once must not steer what is done now.
    """
    books = (await run.call("ops.search_runbooks", query=evidence[:500])).runbooks
    known = {memory.tags.get("symptom") for memory in await run.recall(evidence, limit=1)}
    worst_first = books[::-1]
    return sorted(worst_first, key=lambda book: book.symptom in known)


def _examples(books: Sequence[Any]) -> list[Example]:
    """The runbooks as worked examples, in their order."""
    return [Example(f"billing: {book.symptom}", book.tool, _elsewhere(book.tool)) for book in books]


def _elsewhere(tool: str) -> dict[str, str]:
    """Arguments for an example: a service that does not exist here, so that its name cannot be right by chance."""
    return {"service": "billing"} | ({"dependency": "stock"} if tool == "ops.set_dependency" else {})


async def _healthy(run: Run) -> bool:
    """Whether the front door answers. Asked for some seconds: a service that was restarted needs a moment."""
    for _ in range(CHECKS):
        if (await run.call("ops.check_health")).front_door.ok:
            return True
        await run.sleep(0.5)
    return False


async def _resolved(
    run: Run, tool: str, arguments: Mapping[str, Any], evidence: str, books: Sequence[Any]
) -> Resolution:
    """Remember the incident by its evidence, tagged with what repaired it and the runbook's symptom."""
    symptom = next((book.symptom for book in reversed(books) if book.tool == tool), "")
    await run.remember(evidence[:500], {"tool": tool, "service": arguments["service"], "symptom": symptom})
    text = f"{tool} of {arguments['service']} repaired it; the front door answers"
    return Resolution(healthy=True, text=text, tool=tool, service=arguments["service"])


async def _paged(run: Run, why: str) -> ToolFailed:
    """Page the person on call; the error to end the run with."""
    run.stage("ops.page_on_call", message=f"triage: {why}")
    await run.review()
    await run.commit()
    return ToolFailed(f"{why}; the person on call was paged")


def _lines(states: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {state}" for name, state in states.items())
