"""The agent loop: the worker proposes a call, it is checked, a local read is made, all else is staged; and again.

Each proposal is a step, and so is each read, so that a replay comes past the same calls.
"""

from dataclasses import dataclass
from typing import Any

from runtime.agents.call_schema import DONE
from runtime.agents.proposal import ToolView, Turn, WorkContext
from runtime.conductor.arguments import check
from runtime.conductor.branch import current, within
from runtime.conductor.changes import staged_here
from runtime.conductor.done import Done
from runtime.conductor.meter import most_tokens
from runtime.conductor.thinking import Thinking, fits
from runtime.contract.values import Example, Staged, Work, record
from store.records.canonical import Json
from store.records.errors import ModelFailed, SettingsError, ToolFailed
from store.records.labels import Classification, Integrity, Labels


@dataclass(frozen=True, slots=True)
class Brief:
    """What a workflow hands to the agent loop."""

    goal: str
    tools: tuple[str, ...]
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


async def work(thinking: Thinking, brief: Brief, turns: int) -> Work:
    """What the worker has read and staged in so many turns at most, on a branch of its own."""
    loop = _Loop(thinking, brief, tuple(thinking.view(name) for name in brief.tools))
    return await within(current.get().next(), lambda: loop.run(turns))


@dataclass
class _Loop:
    """One agent loop, over the tools that its brief names."""

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
                allowance=thinking.allowance(texts=0 if history else self._texts()),
            )
            proposal = await thinking.propose(path, "worker", context, scope.services.agents.work)
            if not fits(_call_of([DONE, *(tool.name for tool in self.tools)]), proposal):
                return thinking.failed(proposal, "the model made no call of a tool that it was given")
            return thinking.done(proposal)

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


def _call_of(tools: list[str]) -> Json:
    """The form of a call of one of these tools."""
    properties = {"tool": {"enum": tools}, "arguments": {"type": "object"}}
    return {"type": "object", "properties": properties, "required": ["tool", "arguments"]}
