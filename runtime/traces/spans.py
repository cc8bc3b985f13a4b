"""From the events of one run to its spans: the run, its steps, model calls, tool calls, effects, waits, approvals.

A span is made of the event that ends it; what has no end yet (the run itself, if it is open) ends for now with the last
event there is, and says `bailiwick.open`. What happened in a moment, such as policy's decision, is an event of the
innermost span at its place that was going on then. When a span begins, course.py says, and `bailiwick.begun` how well
that is known. The calls that one step makes of a model are put on record together when it ends: each has the length
that the model measured, counted back from there, so that they lie over one another.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from runtime.gateway.messages import EventView
from runtime.traces import content as say
from runtime.traces.course import Course, above
from runtime.traces.span import CLIENT, INTERNAL, Moment, Span, Value, span_id, trace_id
from store.records.kinds import Kind

ENDS = (Kind.STEP_COMPLETED, Kind.STEP_FAILED, Kind.REVIEW_COMPLETED, Kind.PLAN_FROZEN)
WAITS = (Kind.WAIT_BEGUN, Kind.INPUT_REQUESTED)
BOUNDS = frozenset(
    {
        *ENDS,
        *WAITS,
        Kind.RUN_SUBMITTED,
        Kind.RUN_ENDED,
        Kind.MODEL_CALLED,
        Kind.APPROVAL_REQUESTED,
        Kind.APPROVAL_ANSWERED,
        Kind.GRANT_USED,
        Kind.EFFECT_OUTCOME,
    }
)
"""Events that spans are made of; the others are moments within them."""
AGENTS = {
    "route": "router",
    "ask": "worker",
    "work": "worker",
    "plan": "worker",
    "read": "worker",
    "review": "reviewer",
}
MEMORY = {"recall": "search_memory", "remember": "upsert_memory"}


def spans(events: Sequence[EventView], *, content: bool = False) -> list[Span]:
    """The spans of one run, from all of its events with their payloads, oldest first; the run's own comes first.

    With `content` prompts, arguments and results are in them, too. An event whose payload is gone says what it can.
    """
    return _Trace(Course(events), content).made()


class _Trace:
    """One run on its way to spans."""

    def __init__(self, course: Course, content: bool) -> None:
        self._course = course
        self._content = content
        self._run = str(course.events[0].event["run"])
        self._steps: dict[str, Span] = {}
        self._others: dict[str, list[Span]] = {}

    def made(self) -> list[Span]:
        root = self._whole()
        places = [step for step in self._course.at if step]
        for step in sorted(places, key=lambda each: each.count(".")):  # what a step lies within comes before it
            found = self._step(step) or self._wait(step)
            if found is not None:
                self._steps[step] = found
            self._others[step] = [*self._approvals(step), *self._effect(step), *self._models(step)]
        self._moments(root)
        rest = [span for step in places for span in (self._steps.get(step), *self._others[step]) if span is not None]
        return [root, *rest]

    def _whole(self) -> Span:
        events, times = self._course.events, self._course.times
        first, last = events[0], events[-1]
        submission, outcome = say.payload_of(first), say.payload_of(last)
        parent, _, step = self._run.rpartition("-")
        workflow = next((str(each.event["workflow"]) for each in reversed(events) if each.event["workflow"]), "")
        span = Span(
            id=span_id(self._run),
            parent=span_id(parent, step) if parent else "",
            name=f"invoke_workflow {workflow}".strip(),
            start_ns=times[0],
            end_ns=max(times),
            attributes={
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": workflow,
                "bailiwick.workflow.version": max(each.event["workflow_version"] for each in events),
                "bailiwick.run": self._run,
                "bailiwick.tenant": first.event["tenant"],
                "bailiwick.unit": first.event["unit"],
                **say.basics(last),
                "bailiwick.principal": first.event["principal"],
            },
        )
        if last.event["kind"] != Kind.RUN_ENDED:
            span.attributes["bailiwick.open"] = True
        elif not last.event["decision"].startswith("completed"):
            error = outcome.get("error") or {}
            span.error = str(error.get("kind") or last.event["decision"]).lower()
        if forked := submission.get("forked"):
            span.link = trace_id(forked["run"]), span_id(forked["run"])
        if self._content:
            span.attributes |= {"bailiwick.task": say.text(submission.get("task", "")), **say.whole(last)}
        return span

    def _step(self, step: str) -> Span | None:
        """The span of a step that has come to its end."""
        found = self._course.found(step, *ENDS)
        if not found:
            return None
        view = self._course.events[found[-1]]
        payload = say.payload_of(view)
        name, known = _named(view, payload, self._run)
        span = self._bounded(step, found[-1], name)
        span.attributes |= {**say.basics(view), **known}
        if view.event["kind"] == Kind.STEP_FAILED:
            span.error = view.event["decision"]
        elif payload.get("kind") == "call" and (payload.get("value") or {}).get("error"):
            span.error = "tool_error"
        if self._content:
            value = payload.get("value") or {}
            is_call = payload.get("kind") == "call"
            span.attributes |= (
                say.tool_content(payload.get("arguments"), value.get("result")) if is_call else say.whole(view)
            )
        return span

    def _wait(self, step: str) -> Span | None:
        """The span of a wait that has not ended."""
        found = self._course.found(step, *WAITS)
        if not found:
            return None
        view = self._course.events[found[0]]
        span = self._stretch(step, "", f"wait {view.event['decision']}", found[0], None)
        span.attributes |= say.basics(view) | (say.whole(view) if self._content else {})
        return span

    def _approvals(self, step: str) -> Iterator[Span]:
        """From each request to its answer; a request that was not answered stays open."""
        answered_at = self._course.found(step, Kind.APPROVAL_ANSWERED, Kind.GRANT_USED)
        answers = {self._course.events[index].event["cause"]: index for index in answered_at}
        for number, asked in enumerate(self._course.found(step, Kind.APPROVAL_REQUESTED)):
            view = self._course.events[asked]
            answered = answers.get(view.event["seq"])
            last = view if answered is None else self._course.events[answered]
            what = f"approval {number}"
            span = self._stretch(step, what, f"approval {view.event['tool']}", asked, answered)
            span.attributes |= say.basics(last) | (say.whole(last) if self._content else {})
            yield span

    def _effect(self, step: str) -> Iterator[Span]:
        """An effect, from the decision that let it through, or its intent, to its outcome."""
        intents = self._course.found(step, Kind.EFFECT_INTENT)
        if not intents:
            return
        before = [index for index in self._course.found(step, Kind.DECISION) if index < intents[0]]
        outcomes = self._course.found(step, Kind.EFFECT_OUTCOME)
        settled = self._course.found(step, Kind.EFFECT_SETTLED)
        ending = next(iter(outcomes[-1:] or settled[-1:]), None)
        view = self._course.events[intents[0] if ending is None else ending]
        tool = view.event["tool"]
        span = self._stretch(step, "effect", f"execute_tool {tool}", (before or intents)[-1 if before else 0], ending)
        span.attributes |= {**say.basics(view), **say.tool(tool, f"{self._run}/{step}"), "bailiwick.effect": True}
        if self._course.found(step, Kind.EFFECT_IN_DOUBT) and ending is None:
            span.error = "indoubt"
        elif view.event["decision"] == "error":
            span.error = "tool_error"
        if self._content:
            intent, outcome = say.payload_of(self._course.events[intents[-1]]), say.payload_of(view)
            span.attributes |= say.tool_content(intent.get("arguments"), outcome.get("value"))
        yield span

    def _models(self, step: str) -> Iterator[Span]:
        """The model calls of a step: those on the way have events of their own, the last is told by the step's."""
        called = self._course.found(step, Kind.MODEL_CALLED, *ENDS)
        for number, index in enumerate(each for each in called if self._course.events[each].event["model_digest"]):
            view = self._course.events[index]
            payload = say.payload_of(view)
            told = payload if view.event["kind"] == Kind.MODEL_CALLED else payload.get("detail") or {}
            known = say.model(view, told, self._content)
            name = f"{known.get('gen_ai.operation.name', 'model')} {known.get('gen_ai.request.model', '')}".strip()
            parent = self._steps.get(step)
            given = told.get("completion") or told.get("embedding") or {}
            length_ms = given.get("queue_ms", 0) + view.event["device_ms"]
            end = self._course.times[index]
            start = max(end - 1_000_000 * length_ms, parent.start_ns if parent else 0)
            span = Span(span_id(self._run, step, f"model {number}"), self._within(step), name, start, end, kind=CLIENT)
            span.attributes |= {**known, "bailiwick.begun": "measured"}
            yield span

    def _moments(self, root: Span) -> None:
        """Put what is no bound of a span on the innermost one that was going on."""
        for index, view in enumerate(self._course.events):
            if view.event["kind"] in BOUNDS:
                continue
            at, step = self._course.times[index], view.event["step"]
            steps = [step, *above(step)] if step else []
            near = [span for span in self._others.get(step, ()) if span.kind == INTERNAL]
            chain = [*reversed(near), *(self._steps[each] for each in steps if each in self._steps)]
            span = next((each for each in chain if each.covers(at)), root)
            span.moments.append(Moment(view.event["kind"], at, say.moment(view, self._content)))

    def _bounded(self, step: str, ending: int, name: str) -> Span:
        """A step's span, from when it is known to have begun."""
        start, how = self._course.began(step, ending)
        parent = self._above(step)
        return Span(span_id(self._run, step), parent, name, start, self._course.times[ending], {"bailiwick.begun": how})

    def _stretch(self, step: str, what: str, name: str, begun: int, ended: int | None) -> Span:
        """A span between two events; open until the last there is, if there is no second."""
        times = self._course.times
        end = max(times) if ended is None else times[ended]
        parent = self._within(step) if what else self._above(step)
        span = Span(span_id(self._run, step, what), parent, name, min(times[begun], end), end)
        span.attributes["bailiwick.begun"] = "event"
        if ended is None:
            span.attributes["bailiwick.open"] = True
        return span

    def _within(self, step: str) -> str:
        """The span that what is done at a step belongs to: the step's own, if it has one."""
        return span_id(self._run, step) if step in self._steps else self._above(step)

    def _above(self, step: str) -> str:
        """The span of the nearest step that this one lies within, else the run's."""
        return next((span_id(self._run, each) for each in above(step) if each in self._steps), span_id(self._run))


def _named(view: EventView, payload: dict[str, Any], run: str) -> tuple[str, dict[str, Value]]:
    """A step's span's name, and what it says of itself. The name of a question is content, and is not in it."""
    kind, event = str(payload.get("kind", "")), view.event
    if event["tool"] or kind == "call":
        name = event["tool"] or str(payload["name"])
        return f"execute_tool {name}", say.tool(name, f"{run}/{event['step']}")
    if kind in AGENTS:
        agent = AGENTS[kind]
        version = str((payload.get("detail") or {}).get("agent_version", ""))
        known = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent, "gen_ai.agent.version": version}
        return f"invoke_agent {agent}", {**{key: each for key, each in known.items() if each}, "bailiwick.kind": kind}
    if kind in MEMORY:
        return MEMORY[kind], {"gen_ai.operation.name": MEMORY[kind], "bailiwick.kind": kind}
    named = f"{kind} {payload['name']}" if kind in ("child", "step", "wait") else kind
    return named.strip() or "step", {"bailiwick.kind": kind} if kind else {}
