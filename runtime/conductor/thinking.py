"""The steps that a model takes part in: route, ask, work, review.

The core gives an agent labelled context and an allowance, reserves the allowance in the budget, and records prompt,
answer, model and cost. What the agent proposes is checked here before anything is done with it.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.request import Completion
from runtime.agents.call_schema import DONE
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
from runtime.conductor.arguments import check
from runtime.conductor.branch import current, within
from runtime.conductor.changes import staged_here
from runtime.conductor.meter import columns, most_tokens, told
from runtime.conductor.scope import Done, Scope
from runtime.contract.values import Example, Staged, Verdict, Work, record
from runtime.gate.inventory import UNKNOWN
from store.records.canonical import Json, canonical
from store.records.errors import ModelFailed, SettingsError, ToolFailed
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels
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
            proposal = await self._propose(path, "router", context, self.scope.services.agents.route)
            form = {"type": "object", "properties": {"choice": {"enum": list(choices)}}, "required": ["choice"]}
            if not _fits(form, proposal):
                return self._failed(proposal, "the router chose what it was not given")
            if not proposal.confidence >= LEAST_CONFIDENCE:
                what = "the router is not sure which workflow the task is for"
                return self._failed(proposal, what, do="name one with --workflow")
            return self._done(proposal)

        value = await self.scope.step("route", "", dict(choices), live, by="model", actor="router")
        return str(value["choice"])

    async def ask(self, schema: dict[str, Any], question: str, data: Json) -> Json:
        """A value that fits `schema`."""

        async def live(path: str) -> Done:
            context = AskContext(self.scope.task, question, schema, data, self._allowance())
            proposal = await self._propose(path, "worker", context, self.scope.services.agents.ask)
            if not _fits(schema, proposal):
                return self._failed(proposal, "the answer does not fit its schema", question[:40])
            return self._done(proposal)

        arguments = {"schema": schema, "data": data}
        return await self.scope.step("ask", question, arguments, live, by="model", actor="worker")

    async def work(self, brief: "Brief", turns: int) -> Work:
        """The agent loop, on a branch of its own."""
        loop = _Loop(self, brief, tuple(self._view(name) for name in brief.tools))
        return await within(current.get().next(), lambda: loop.run(turns))

    async def review(self, staged: Sequence[Staged]) -> Verdict:
        """The reviewer's verdict; a no is a ModelFailed."""

        async def live(path: str) -> Done:
            changes = tuple(self._change(effect) for effect in staged)
            context = ReviewContext(self.scope.task, changes, self._review_allowance(changes))
            proposal = await self._propose(path, "reviewer", context, self.scope.services.agents.review)
            if not _fits(VERDICT, proposal):
                return self._failed(proposal, "the reviewer gave no verdict")
            return self._done(proposal, decision=proposal.value["verdict"])

        arguments = [[effect.step, effect.tool] for effect in staged]
        value = await self.scope.step(
            "review", "", arguments, live, by="model", actor="reviewer", event=Kind.REVIEW_COMPLETED
        )
        if value["verdict"] != "approve":
            raise ModelFailed("the reviewer rejected the change set", value["reason"])
        return Verdict(True, value["reason"])

    def _allowance(self, *, texts: int = 0) -> Allowance:
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

    async def _propose(
        self, path: str, actor: str, context: Any, ask: Callable[[Any], Awaitable[Proposal]]
    ) -> Proposal:
        """One proposal, its tokens reserved before and settled after."""
        async with self.scope.metered(path, context.allowance.total, actor) as meter:
            proposal = await ask(context)
            meter.calls += proposal.calls
            if proposal.error is not None:
                raise proposal.error
        return proposal

    def _failed(self, proposal: Proposal, what: str, where: str = "", do: str = "") -> Done:
        """The step of a proposal that is of no use. It cost what it cost, and an auditor sees prompt and answer."""
        given = proposal.calls[-1].given if proposal.calls else None
        if proposal.value is None and isinstance(given, Completion):
            what, where = "the model gave no whole answer in its allowance", given.stop
        return replace(self._done(proposal), value=None, error=ModelFailed(what, where, do))

    def _done(self, proposal: Proposal, **facts: Any) -> Done:
        call = proposal.calls[-1] if proposal.calls else None
        detail = {"agent_version": VERSION, "confidence": round(proposal.confidence, 4), **told(call)}
        return Done(proposal.value, self.scope.labels, columns(call) | facts, detail)

    def _view(self, name: str) -> ToolView:
        tool = self.scope.tool(name)
        return ToolView(name, tool.description, tool.input_schema, not tool.local_read)

    def _change(self, effect: Staged) -> Change:
        tool = self.scope.tool(effect.tool)
        target = str(effect.arguments.get(tool.target) or NOWHERE) if tool.target else ""
        seen = [turn for turn in self.turns if target in turn.arguments.values() and not turn.error]
        return Change(
            effect.tool,
            tool.description,
            dict(effect.arguments),
            target=target,
            target_known=self.scope.services.inventory.kind_of(target) != UNKNOWN,
            target_examined=bool(seen),
            evidence=tuple(line for turn in seen for line in _sentences(turn.result))[-EVIDENCE:],
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
                summary = str(arguments.get("summary", ""))
                break
            if any((turn.tool, turn.arguments) == (name, arguments) for turn in history):
                break  # it has nothing new to ask; a second time the same effect was not meant
            turn = await self._act(name, arguments, staged)
            history.append(turn)
            if self.thinking.scope.tool(name).local_read:
                self.thinking.turns.append(turn)
                if not turn.error:
                    reads.append((name, arguments, record(turn.result)))
        if not history:
            raise ModelFailed("the model made no call in its allowance")
        return Work(summary, tuple(reads), tuple(staged))

    async def _next(self, history: tuple[Turn, ...]) -> Json:
        thinking, scope = self.thinking, self.thinking.scope
        scope.absorb(self._definitions())

        async def live(path: str) -> Done:
            brief = self.brief
            context = WorkContext(
                task=scope.task,
                goal=brief.goal,
                notes=brief.notes,
                examples=tuple(Turn(each.tool, each.arguments, each.situation) for each in brief.examples),
                tools=self.tools,
                turns=history,
                allowance=thinking._allowance(texts=0 if history else self._texts()),
            )
            proposal = await thinking._propose(path, "worker", context, scope.services.agents.work)
            if not _fits(_call_of([DONE, *(tool.name for tool in self.tools)]), proposal):
                return thinking._failed(proposal, "the model made no call of a tool that it was given")
            return thinking._done(proposal)

        arguments = {"goal": self.brief.goal, "tools": list(self.brief.tools), "turn": len(history)}
        return await scope.step("work", "next call", arguments, live, by="model", actor="worker")

    def _texts(self) -> int:
        """The most tokens that it may take to weigh the tools by meaning; 0 where there are examples, or no choice."""
        if self.brief.examples or len(self.tools) < 2:
            return 0
        texts = [self.thinking.scope.task + self.brief.goal, *(tool.name + tool.description for tool in self.tools)]
        most = 2 * self.thinking.scope.services.settings.prompt_tokens_per_proposal
        return min(sum(map(most_tokens, texts)), most)

    def _definitions(self) -> Labels:
        """The labels of the tools' descriptions and schemas, which the model reads: they are the servers' own words."""
        tenant = self.thinking.scope.user.tenant
        servers = sorted({tool.name.split(".")[0] for tool in self.tools})
        sources = tuple(f"definitions:{server}" for server in servers)
        return Labels(tenant, Classification.INTERNAL, Integrity.UNTRUSTED, sources)

    async def _act(self, name: str, arguments: dict[str, Any], staged: list[Staged]) -> Turn:
        scope = self.thinking.scope
        try:
            check(scope.tool(name).input_schema, arguments, name)
            if not scope.tool(name).local_read:
                staged.append(staged_here.get().stage(name, arguments, by="model"))
                return Turn(name, arguments, {"staged": True})
        except SettingsError as error:
            return Turn(name, arguments, str(error), error=True)
        try:
            result, failed = await scope.read(name, arguments, by="model")
        except ToolFailed as error:
            return Turn(name, arguments, str(error), error=True)
        return Turn(name, arguments, result, failed)


def _fits(schema: Json, proposal: Proposal) -> bool:
    """Whether a proposal is a recordable value of this form. An agent is not trusted to keep to its own schema."""
    if proposal.value is None or Checker(schema).problem(proposal.value):
        return False
    try:
        canonical(proposal.value)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _call_of(tools: list[str]) -> Json:
    """The form of a call of one of these tools."""
    properties = {"tool": {"enum": tools}, "arguments": {"type": "object"}}
    return {"type": "object", "properties": properties, "required": ["tool", "arguments"]}


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
