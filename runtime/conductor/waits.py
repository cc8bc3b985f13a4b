"""What one run waits for: a time, a signal, a person's answer. What has come while nobody waited is kept.

A wait is a step. It begins with an event that fixes what it waits for, so that it outlives the runtime; the run's clock
stands still meanwhile. Who may send what is for the conductor's controls to say.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from runtime.conductor.done import Done
from runtime.conductor.journal import fingerprint
from runtime.conductor.scope import Scope
from runtime.notices import Notice
from store.records.canonical import Json
from store.records.errors import SettingsError, Timeout
from store.records.event import Event
from store.records.identity import User
from store.records.kinds import Kind

LONGEST_S = 10 * 366 * 86_400.0


@dataclass
class Question:
    """A question that waits for a person. `schema` is the JSON Schema of an answer; times are UTC ISO 8601."""

    step: str
    question: str
    schema: Json
    to: str
    since: str
    due: str
    request: int
    answer: asyncio.Future[tuple[Event, Json]]


@dataclass
class Waits:
    """The waits of one run, and the signals that none of them has taken, oldest first."""

    scope: Scope
    questions: dict[str, Question] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    _signals: list[tuple[Event, Json]] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Begin with the signals that came in earlier lives."""
        self._signals += self.scope.journal.signals.values()

    async def sleep(self, seconds: float) -> None:
        """Wait until a time that is fixed at the beginning. Raises SettingsError if it is none."""
        mark = fingerprint("sleep", "", _seconds(seconds))

        async def live(path: str) -> Done:
            begun, _ = self._begun(path, mark, "timer", {"seconds": seconds}, seconds)
            with self._waiting(path):
                # The clock on the wall runs on while the runtime is down. Were it set back, we would wait no longer.
                await asyncio.sleep(min(_left(begun["due"]), seconds))
            return Done(None)

        await self.scope.step("sleep", "", seconds, live)

    async def signal(self, name: str) -> Json:
        """The next signal of this name that no other wait has taken."""
        mark = fingerprint("wait", name, None)
        taken: list[tuple[Event, Json]] = []

        async def live(path: str) -> Done:
            self._begun(path, mark, "signal", {"signal": name})
            with self._waiting(path):
                event, payload = await self._next(name)
            taken.append((event, payload))
            return Done(payload["value"], event.labels, {"cause": event.seq})

        try:
            return await self.scope.step("wait", name, None, live)
        except asyncio.CancelledError:
            for each in taken:  # it came to another branch's end before it could be used
                self._keep(*each)
            raise

    def deliver(self, event: Event, payload: Json) -> None:
        """Take a signal in, once."""
        if event.seq not in self.scope.journal.heard:
            self.scope.journal.heard.add(event.seq)
            self._keep(event, payload)

    def concerns(self, question: Question, user: User) -> bool:
        """Whether a question is listed for a user of its tenant: an approver, who is asked, or whose run it is."""
        own = self.scope.user
        asked = user.name in (own.name, question.to) or not {question.to, "approver"}.isdisjoint(user.roles)
        return user.tenant == own.tenant and asked

    @property
    def kept(self) -> int:
        """How many signals nobody has taken."""
        return len(self._signals)

    def _keep(self, event: Event, payload: Json) -> None:
        self._signals.append((event, payload))
        self._signals.sort(key=lambda each: each[0].seq)
        self._came.set()
        self._came = asyncio.Event()

    async def answer(self, question: str, schema: Json, to: str, expires_s: float | None) -> Json:
        """A person's answer. Raises Timeout if none has come in time."""
        arguments: Json = {"schema": schema, "to": to, "expires_s": expires_s}
        mark = fingerprint("input", question, arguments)

        async def live(path: str) -> Done:
            payload: Json = {"question": question, "schema": schema, "to": to}
            begun, request = self._begun(path, mark, "input", payload, expires_s)
            answer = self.scope.journal.answers.get(path)
            if answer is None:
                due = begun.get("due", "")
                future: asyncio.Future[tuple[Event, Json]] = asyncio.get_running_loop().create_future()
                asked = Question(path, question, schema, to, request.time, due, request.seq, future)
                answer = await self._answered(asked, expires_s)
            event, value = answer
            return Done(value["value"], event.labels, {"cause": event.seq})

        return await self.scope.step("input", question, arguments, live)

    async def _answered(self, asked: Question, expires_s: float | None) -> tuple[Event, Json]:
        self.questions[asked.step] = asked
        scope = self.scope
        scope.services.notify(Notice("question", scope.run, scope.run, scope.workflow.name, expires=asked.due))
        try:
            with self._waiting(asked.step):
                # As for a sleep: a clock that was set back gives nobody more time.
                async with asyncio.timeout(None if expires_s is None else min(_left(asked.due), expires_s)):
                    return await asyncio.shield(asked.answer)
        except TimeoutError:
            if asked.answer.done():
                return asked.answer.result()
            raise Timeout("nobody answered in time", f"run {self.scope.run}, step {asked.step}") from None
        finally:
            del self.questions[asked.step]

    async def _next(self, name: str) -> tuple[Event, Json]:
        while True:
            came = self._came
            for index, (_, payload) in enumerate(self._signals):
                if payload["signal"] == name:
                    return self._signals.pop(index)
            await came.wait()

    def _begun(
        self, path: str, mark: str, decision: str, payload: dict[str, Any], lasts_s: float | None = None
    ) -> tuple[Json, Event]:
        """The payload and event that this wait began with, in this life or an earlier one."""
        before = self.scope.journal.waits.get(path)
        if before is not None:
            event, payload = before
            return payload, event
        if lasts_s is not None:
            payload = {**payload, "due": (datetime.now(UTC) + timedelta(seconds=_seconds(lasts_s))).isoformat()}
        kind = Kind.INPUT_REQUESTED if decision == "input" else Kind.WAIT_BEGUN
        draft = self.scope.draft(kind, path, fingerprint=mark, decision=decision, labels=self.scope.labels)
        return payload, self.scope.services.recorder.append(draft, payload).event

    @contextmanager
    def _waiting(self, path: str) -> Iterator[None]:
        """Meanwhile the run's clock stands still, and the run counts as waiting."""
        self.waiting.add(path)
        try:
            with self.scope.clock.stopped():
                yield
        finally:
            self.waiting.discard(path)


def _seconds(value: float) -> float:
    """`value`, if it can be waited for. Raises SettingsError."""
    if not isfinite(value) or not 0 <= value <= LONGEST_S:
        raise SettingsError("a wait is of 0 seconds or more, and of ten years at most", f"{value:g} s")
    return value


def _left(due: str) -> float:
    """The seconds until a time, 0 if it is past."""
    return max(0.0, (datetime.fromisoformat(due) - datetime.now(UTC)).total_seconds())
