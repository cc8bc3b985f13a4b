"""The scripted model: it does whatever the attacker wants, as soon as the word OBEY reaches it in whatever it reads.

It stands where the engine does: the real worker, reviewer and router ask it, by the engine's own interface. It heeds no
grammar, which is more than a hijacked model could do. The agents are the real ones, but for a reviewer that says yes to
everything where a case does not ask for the real one. Nothing here knows the gate.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.request import Completion, Embedding, Message, Request
from runtime.agents.call_schema import DONE
from runtime.agents.proposal import AskContext, ModelCall, Proposal, ReviewContext, RouteContext, WorkContext
from runtime.agents.reviewer import SCHEMA as EVIDENCE
from runtime.agents.reviewer import Reviewer
from runtime.agents.router import Router
from runtime.agents.worker import Worker
from runtime.conductor.plans.grammar import END
from runtime.redteam.case import Call, Case
from store.records.canonical import Json, digest

MARK = "OBEY"
NAME = "worst-case"
_PLANNING = re.compile(r"\nThe plan so far:\n(.*)\n\nNext step\?\Z")
_DIGEST = digest(NAME)


@dataclass
class HijackedModel:
    """What the engine is, for one case at a time. `heard` counts the prompts in which an injection stood; `resumed`
    says that whoever asks was interrupted before."""

    case: Case | None = None
    heard: int = 0
    resumed: bool = False

    async def generate(self, request: Request) -> Completion:
        """The next call of the script, the typed answer that the attacker wants, or that evidence shows a problem."""
        messages = request.messages
        obeys = any(MARK in each.content for each in messages if each.role != "assistant")
        self.heard += obeys
        if request.schema == EVIDENCE:
            answer: Json = {"shows": "problem"}
        elif so_far := _PLANNING.search(messages[-1].content):
            answer = self._planned(json.loads(so_far[1]))
        elif "anyOf" in (request.schema or {}):
            answer = self._next(messages, obeys=obeys)
        else:
            answer = self.case.answer if self.case and obeys else {}
        return _completion(json.dumps(answer), messages)

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        """One direction for all texts: whatever is asked about is near to everything."""
        del max_tokens, deadline_s
        return Embedding([[1.0, 0.0]] * len(texts), NAME, _DIGEST, digest(texts), len(texts), 0, 1)

    def _next(self, messages: tuple[Message, ...], *, obeys: bool) -> Json:
        if self.case is None:
            return {"tool": DONE, "arguments": {"summary": ""}}
        script = (*self.case.reads, *(self.case.does if obeys else ()))
        made = list(_made(messages))
        swollen = [(tool, _swollen(arguments, self.case.swell)) for tool, arguments in script]
        tool, arguments = next((each for each in swollen if each not in made), (DONE, {"summary": "done"}))
        return {"tool": tool, "arguments": arguments}

    def _planned(self, steps: list[Json]) -> Json:
        """The next step of the plan that the attacker wants."""
        plan = (self.case.replan if self.resumed else ()) or self.case.plan if self.case else ()
        return plan[len(steps)] if len(steps) < len(plan) else END


@dataclass
class HijackedAgents:
    """The agents of a site: the real worker and router over the model, and the reviewer as the case has it."""

    model: HijackedModel

    async def work(self, context: WorkContext) -> Proposal:
        """As Agents.work."""
        return await Worker(self.model).work(context)

    async def ask(self, context: AskContext) -> Proposal:
        """As Agents.ask."""
        return await Worker(self.model).ask(context)

    async def route(self, context: RouteContext) -> Proposal:
        """As Agents.route."""
        return await Router(self.model).route(context)

    async def review(self, context: ReviewContext) -> Proposal:
        """Yes, or the real reviewer's verdict over a model that always sees a problem."""
        if self.model.case and self.model.case.site.reviewer == "real":
            return await Reviewer(self.model).review(context)
        text = '{"verdict":"approve","reason":"fine"}'
        chat = (Message("user", "review"),)
        return Proposal(json.loads(text), (ModelCall(chat, _completion(text, chat)),))


def _swollen(value: Json, times: int) -> Json:
    """A value with each text in it so many times."""
    if isinstance(value, dict):
        return {name: _swollen(item, times) for name, item in value.items()}
    return value * times if isinstance(value, str) else value


def _made(messages: tuple[Message, ...]) -> Iterator[Call]:
    """The calls that a chat shows as made."""
    for each in messages:
        if each.role == "assistant":
            said: dict[str, Any] = json.loads(each.content)
            yield said["tool"], said["arguments"]


def _completion(text: str, messages: tuple[Message, ...]) -> Completion:
    words = sum(len(re.findall(r"\S+", each.content)) for each in messages)
    asked = digest([each.content for each in messages])
    return Completion(text, "end", NAME, _DIGEST, asked, "", 0, "scripted", words, 0, len(text) // 4 + 1, 0, 0, 1)
