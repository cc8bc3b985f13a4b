"""The steps that a model takes part in: route, ask and review here, each turn of the agent loop next door.

The core gives an agent labelled context and an allowance, reserves the allowance in the budget, and records prompt,
answer, model and cost. What the agent proposes is checked here before anything is done with it.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.request import Completion
from runtime.agents.proposal import (
    VERSION,
    Allowance,
    AskContext,
    Change,
    Proposal,
    ReviewContext,
    RouteContext,
    ToolView,
    Turn,
)
from runtime.conductor.arguments import written_out
from runtime.conductor.done import Done
from runtime.conductor.meter import Most, columns, told
from runtime.conductor.scope import Scope
from runtime.contract.values import Staged, Verdict
from runtime.gate.inventory import UNKNOWN
from store.records.canonical import Json, canonical
from store.records.errors import ModelFailed
from store.records.kinds import Kind
from tools.schema import Checker

EVIDENCE = 6
"""Lines of evidence on one change that a reviewer is shown, the newest."""
SENTENCE = 240
"""Characters of each."""
LEAST_CONFIDENCE = 0.5
NOWHERE = "(none)"
"""Stands for the target of a call that should name one and does not; no inventory has it."""
VERDICT = {
    "type": "object",
    "properties": {"verdict": {"enum": ["approve", "reject"]}, "reason": {"type": "string"}},
    "required": ["verdict", "reason"],
}
VERDICT_TOKENS = 24
LINE_TOKENS = 500
"""What a reviewer may have for a line of evidence: its answer, and its prompt with the worked examples."""


@dataclass
class Thinking:
    """The model steps of one run."""

    scope: Scope
    turns: list[Turn]

    async def route(self, choices: Mapping[str, str]) -> str:
        """The router's choice. Raises ModelFailed if it is not sure."""

        async def live(path: str) -> Done:
            settings = self.scope.services.settings
            allowance = Allowance(
                calls=0,
                texts=settings.prompt_tokens_per_proposal,
                seconds=settings.step_timeout_s,
                seed=self.scope.seed,
            )
            context = RouteContext(self.scope.task, dict(choices), allowance)
            proposal = await self.propose(path, "router", context, self.scope.services.agents.route)
            form = {"type": "object", "properties": {"choice": {"enum": list(choices)}}, "required": ["choice"]}
            if not fits(form, proposal):
                return self.failed(proposal, "the router chose what it was not given")
            if not proposal.confidence >= LEAST_CONFIDENCE:
                what = "the router is not sure which workflow the task is for"
                return self.failed(proposal, what, do="name one with --workflow")
            return self.done(proposal)

        value = await self.scope.step("route", "", dict(choices), live, by="model", actor="router")
        return str(value["choice"])

    async def ask(self, schema: dict[str, Any], question: str, data: Json) -> Json:
        """A value that fits `schema`."""

        async def live(path: str) -> Done:
            context = AskContext(self.scope.task, question, schema, data, self.allowance())
            return await self.answer(path, context, question[:40])

        arguments = {"schema": schema, "data": data}
        return await self.scope.step("ask", question, arguments, live, by="model", actor="worker")

    async def answer(self, path: str, context: AskContext, where: str) -> Done:
        """What the worker says to a typed question, for the step that asks it; a ModelFailed if it does not fit."""
        proposal = await self.propose(path, "worker", context, self.scope.services.agents.ask)
        if not fits(context.schema, proposal):
            return self.failed(proposal, "the answer does not fit its schema", where)
        return self.done(proposal)

    async def review(self, staged: Sequence[Staged]) -> Verdict:
        """The reviewer's verdict; a no is a ModelFailed."""

        async def live(path: str) -> Done:
            changes = tuple(self._change(effect) for effect in staged)
            context = ReviewContext(self.scope.task, changes, self._review_allowance(changes))
            proposal = await self.propose(path, "reviewer", context, self.scope.services.agents.review)
            if not fits(VERDICT, proposal):
                return self.failed(proposal, "the reviewer gave no verdict")
            return self.done(proposal, decision=proposal.value["verdict"])

        arguments = [[effect.step, effect.tool] for effect in staged]
        value = await self.scope.step(
            "review", "", arguments, live, by="model", actor="reviewer", event=Kind.REVIEW_COMPLETED
        )
        if value["verdict"] != "approve":
            raise ModelFailed("the reviewer rejected the change set", value["reason"])
        return Verdict(True, value["reason"])

    def allowance(self, *, texts: int = 0) -> Allowance:
        """Of one completion, and of an embedding of `texts` tokens."""
        settings = self.scope.services.settings
        return Allowance(
            settings.tokens_per_proposal,
            settings.prompt_tokens_per_proposal,
            settings.step_timeout_s,
            self.scope.seed,
            texts=texts,
            space=self._space(),
        )

    def _review_allowance(self, changes: Sequence[Change]) -> Allowance:
        """Of completions for changes with a target, of an embedding if there are others."""
        settings = self.scope.services.settings
        texts = 0 if all(change.target for change in changes) else settings.prompt_tokens_per_proposal
        # A verdict ends a run's wait, and is short: it goes before the proposals of others.
        return Allowance(
            VERDICT_TOKENS,
            LINE_TOKENS,
            settings.step_timeout_s,
            self.scope.seed,
            EVIDENCE,
            texts,
            self._space(),
            priority=1,
        )

    def _space(self) -> str:
        """What was computed for one tenant and classification must not speed up, and so be seen by, another's."""
        labels = self.scope.labels
        return f"{labels.tenant}/{labels.classification.name.lower()}"

    async def propose(self, path: str, actor: str, context: Any, ask: Callable[[Any], Awaitable[Proposal]]) -> Proposal:
        """One proposal, its tokens reserved before and settled after."""
        async with self.scope.metered(path, Most.of(context.allowance), actor) as meter:
            proposal = await ask(context)
            meter.calls += proposal.calls
            if proposal.error is not None:
                raise proposal.error
        return proposal

    def failed(self, proposal: Proposal, what: str, where: str = "", do: str = "") -> Done:
        """The step of a proposal that is of no use. It cost what it cost, and an auditor sees prompt and answer."""
        given = proposal.calls[-1].given if proposal.calls else None
        if proposal.value is None and isinstance(given, Completion):
            what, where = "the model gave no whole answer in its allowance", given.stop
        return replace(self.done(proposal), value=None, error=ModelFailed(what, where, do))

    def done(self, proposal: Proposal, **facts: Any) -> Done:
        """The step of a proposal, with what its last model call cost; `facts` go into its event besides."""
        call = proposal.calls[-1] if proposal.calls else None
        detail = {"agent_version": VERSION, "confidence": round(proposal.confidence, 4), **told(call)}
        facts = columns(call, self.scope.services.settings.rates) | facts
        return Done(proposal.value, self.scope.labels, facts, detail)

    def view(self, name: str) -> ToolView:
        """A tool as an agent is shown it. Raises as Scope.tool."""
        tool = self.scope.tool(name)
        return ToolView(name, tool.description, tool.input_schema, not tool.local_read)

    def _change(self, effect: Staged) -> Change:
        tool = self.scope.tool(effect.tool)
        target = str(effect.arguments.get(tool.target) or NOWHERE) if tool.target else ""
        seen = [turn for turn in self.turns if target in turn.arguments.values() and not turn.error]
        return Change(
            effect.tool,
            tool.description,
            written_out(dict(effect.arguments)),
            target=target,
            target_known=self.scope.services.inventory.kind_of(target) != UNKNOWN,
            target_examined=bool(seen),
            evidence=tuple(line for turn in seen for line in _sentences(turn.result))[-EVIDENCE:],
        )


def fits(schema: Json, proposal: Proposal) -> bool:
    """Whether a proposal is a recordable value of this form. An agent is not trusted to keep to its own schema."""
    if proposal.value is None or Checker(schema).problem(proposal.value):
        return False
    try:
        canonical(proposal.value)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _sentences(value: Json) -> list[str]:
    """The sentences of a reading, each short enough for a reviewer's prompt; single words say nothing."""
    return [text[:SENTENCE] for text in _texts(value) if " " in text]


def _texts(value: Json) -> Iterator[str]:
    """Every text in a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
