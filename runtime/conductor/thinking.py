"""The steps that a model takes part in: route, ask, work, review.

The core gives an agent labelled context and an allowance, reserves the allowance in the budget, and records prompt,
answer, model and cost. What the agent proposes is checked here before anything is done with it.
"""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jsonschema import Draft202012Validator

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
    WorkContext,
)
from runtime.agents.worker import DONE
from runtime.conductor.branch import current, within
from runtime.conductor.changes import ChangeSet, check
from runtime.conductor.scope import Done, Scope
from runtime.contract.values import Example, Staged, Verdict, Work, record
from runtime.gate.inventory import UNKNOWN
from store.records.canonical import Json
from store.records.errors import ModelFailed, SettingsError
from store.records.kinds import Kind

EXCERPT = 300
"""Characters of one reading that a reviewer is shown."""
LEAST_CONFIDENCE = 0.5
PROMPT_RESERVE = 1500
"""Tokens reserved for the prompt of one proposal before it is known; the difference is given back."""


@dataclass
class Thinking:
    """The model steps of one run."""

    scope: Scope
    changes: ChangeSet
    turns: list[Turn]

    async def route(self, choices: Mapping[str, str]) -> str:
        """The router's choice. Raises ModelFailed if it is not sure."""

        async def live(_path: str) -> Done:
            context = RouteContext(self.scope.task, dict(choices), self._allowance())
            proposal = await self._propose(context, self.scope.services.agents.route(context))
            if proposal.confidence < LEAST_CONFIDENCE:
                raise ModelFailed(
                    "the router is not sure which workflow the task is for", do="name one with --workflow"
                )
            return self._done(proposal)

        value = await self.scope.step("route", "", dict(choices), live, by="model", actor="router")
        return str(value["choice"])

    async def ask(self, schema: dict[str, Any], question: str, data: Json) -> Json:
        """A value that fits `schema`."""

        async def live(_path: str) -> Done:
            context = AskContext(self.scope.task, question, schema, data, self._allowance())
            proposal = await self._propose(context, self.scope.services.agents.ask(context))
            if not Draft202012Validator(schema).is_valid(proposal.value):
                raise ModelFailed("the answer does not fit its schema", question[:40])
            return self._done(proposal)

        arguments = {"schema": schema, "data": data}
        return await self.scope.step("ask", question, arguments, live, by="model", actor="worker")

    async def work(self, brief: "Brief", turns: int) -> Work:
        """The agent loop, on a branch of its own."""
        loop = _Loop(self, brief, tuple(self._view(name) for name in brief.tools))
        return await within(current.get().next(), lambda: loop.run(turns))

    async def review(self, staged: Sequence[Staged]) -> Verdict:
        """The reviewer's verdict; a no is a ModelFailed."""

        async def live(_path: str) -> Done:
            changes = tuple(self._change(effect) for effect in staged)
            context = ReviewContext(self.scope.task, changes, self._allowance())
            proposal = await self._propose(context, self.scope.services.agents.review(context))
            return self._done(proposal, decision=proposal.value["verdict"])

        arguments = [[effect.step, effect.tool] for effect in staged]
        value = await self.scope.step(
            "review", "", arguments, live, by="model", actor="reviewer", event=Kind.REVIEW_COMPLETED
        )
        if value["verdict"] != "approve":
            raise ModelFailed("the reviewer rejected the change set", value["reason"])
        return Verdict(True, value["reason"])

    def _allowance(self) -> Allowance:
        settings = self.scope.services.settings
        return Allowance(settings.tokens_per_proposal, settings.step_timeout_s, self.scope.seed)

    async def _propose(self, context: Any, asked: Awaitable[Proposal]) -> Proposal:
        """One proposal, its tokens reserved before and settled after."""
        scope, tokens = self.scope, context.allowance.tokens + PROMPT_RESERVE
        async with scope.services.gate.budgets.model_call(scope.run, scope.user, tokens) as bill:
            proposal = await asked
            if proposal.completion is not None:
                bill.spend(proposal.completion.tokens, proposal.completion.device_ms)
        return proposal

    def _done(self, proposal: Proposal, **facts: Any) -> Done:
        completion = proposal.completion
        if completion is not None:
            facts |= {
                "model_digest": completion.model_digest,
                "prompt_digest": completion.prompt_digest,
                "grammar_digest": completion.grammar_digest,
                "tokens": completion.tokens,
                "device_ms": completion.device_ms,
            }
        detail = {
            "agent_version": VERSION,
            "confidence": round(proposal.confidence, 4),
            "messages": [[message.role, message.content] for message in proposal.messages],
            "completion": _plain(asdict(completion)) if completion else None,
        }
        return Done(proposal.value, self.scope.labels, facts, detail)

    def _view(self, name: str) -> ToolView:
        tool = self.scope.tool(name)
        return ToolView(name, tool.description, tool.input_schema, not tool.local_read)

    def _change(self, effect: Staged) -> Change:
        tool = self.scope.tool(effect.tool)
        target = str(effect.arguments.get(tool.target, "")) if tool.target else ""
        seen = [turn for turn in self.turns if target in turn.arguments.values() and not turn.error]
        return Change(
            effect.tool,
            tool.description,
            dict(effect.arguments),
            target=target,
            target_known=self.scope.services.inventory.kind_of(target) != UNKNOWN,
            target_examined=bool(seen),
            evidence=tuple(_excerpt(turn) for turn in seen[-2:]),
        )


@dataclass(frozen=True, slots=True)
class Brief:
    """What a workflow hands to the agent loop."""

    goal: str
    tools: tuple[str, ...]
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


@dataclass
class _Loop:
    """The agent loop: propose, check, read or stage, and again."""

    thinking: Thinking
    brief: Brief
    tools: tuple[ToolView, ...]

    async def run(self, turns: int) -> Work:
        history: list[Turn] = []
        reads: list[tuple[str, dict[str, Any], Any]] = []
        staged: list[Staged] = []
        summary = ""
        for _ in range(min(turns, self.thinking.scope.services.settings.model_turns)):
            value = await self._next(tuple(history))
            name, arguments = value["tool"], value["arguments"]
            if name == DONE:
                summary = arguments["summary"]
                break
            turn = await self._act(name, arguments, staged)
            history.append(turn)
            self.thinking.turns.append(turn)
            if not turn.error and self.thinking.scope.tool(name).local_read:
                reads.append((name, arguments, record(turn.result)))
        if not history:
            raise ModelFailed("the model made no call in its allowance")
        return Work(summary, tuple(reads), tuple(staged))

    async def _next(self, history: tuple[Turn, ...]) -> Json:
        thinking, scope = self.thinking, self.thinking.scope

        async def live(_path: str) -> Done:
            brief = self.brief
            context = WorkContext(
                task=scope.task,
                goal=brief.goal,
                notes=brief.notes,
                examples=tuple(Turn(each.tool, each.arguments, each.situation) for each in brief.examples),
                tools=self.tools,
                turns=history,
                allowance=thinking._allowance(),
            )
            proposal = await thinking._propose(context, scope.services.agents.work(context))
            known = {DONE, *(tool.name for tool in self.tools)}
            if not isinstance(proposal.value, dict) or proposal.value.get("tool") not in known:
                raise ModelFailed("the model named a tool that it was not given")
            return thinking._done(proposal)

        arguments = {"goal": self.brief.goal, "tools": list(self.brief.tools), "turn": len(history)}
        return await scope.step("work", "next call", arguments, live, by="model", actor="worker")

    async def _act(self, name: str, arguments: dict[str, Any], staged: list[Staged]) -> Turn:
        scope = self.thinking.scope
        try:
            check(scope.tool(name).input_schema, arguments, name)
        except SettingsError as error:
            return Turn(name, arguments, str(error), error=True)
        if scope.tool(name).local_read:
            result, failed = await scope.read(name, arguments, by="model")
            return Turn(name, arguments, result, failed)
        staged.append(self.thinking.changes.stage(name, arguments, by="model"))
        return Turn(name, arguments, {"staged": True})


def _excerpt(turn: Turn) -> str:
    """What a reading ended with, short enough for a reviewer's prompt: of a list of lines the last two."""
    texts = list(_texts(turn.result))
    return "; ".join(texts[-2:])[-EXCERPT:]


def _texts(value: Json) -> Iterator[str]:
    """Every text in a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _plain(completion: dict[str, Any]) -> Json:
    return {**completion, "token_ids": list(completion["token_ids"])}
