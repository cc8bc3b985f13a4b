"""What each step of a case does, by the ways that people, programs and careless code have to the real runtime.

A step ends in one word: how its run stands, `ok`, or the class of the error that it met. What people were told is kept.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from runtime import crashpoints
from runtime.agents.proposal import VERSION
from runtime.audit_report import report
from runtime.cli.page import plain
from runtime.desk import Desk
from runtime.gate.call import Approval, ToolCall
from runtime.gate.plan import Placed, Plan, Value
from runtime.gate.provenance.grounds import Grounds
from runtime.gateway.messages import Answer, BudgetSpec, GrantSpec, Submission
from runtime.reading import EVERYTHING
from runtime.redteam import rogue_server
from runtime.redteam.case import (
    AnswerStep,
    BudgetStep,
    CallStep,
    GrantStep,
    OtherStep,
    Place,
    ReadStep,
    RunStep,
    Step,
    Yes,
)
from runtime.redteam.scene import Scene
from store.records.errors import BailiwickError, SettingsError
from store.records.identity import Agent, Principal
from store.records.labels import Labels, trusted

TICK_S = 0.002
KILLED = -9
DAY = timedelta(days=1)


@dataclass
class Acts:
    """The steps of one case on one scene. `told` is what somebody was told of, `shown` what somebody was shown."""

    scene: Scene
    name: str
    told: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    run: str = ""
    _begun: asyncio.Future[Any] | None = None

    async def take(self, step: Step) -> str:
        """Take one step; the word that it ends in."""
        if isinstance(step, RunStep) and step.until == "killed":
            return await self._killed(step)
        await self.scene.open()
        taking: dict[type[Any], Callable[[Any], Awaitable[str]]] = {
            RunStep: self._run,
            CallStep: self._calls,
            AnswerStep: self._answer,
            GrantStep: self._grant,
            BudgetStep: self._budget,
            ReadStep: self._read,
            OtherStep: self._other,
        }
        try:
            return await taking[type(step)](step)
        except BailiwickError as error:
            self.told.append(str(error))
            return type(error).__name__

    async def _run(self, step: RunStep) -> str:
        core = self.scene.core
        self.scene.model.resumed = step.until == "resumed"
        if step.until == "resumed":
            self.run = next(iter(await core.resume()), "")
            if not self.run:
                raise SettingsError("nothing was interrupted")
        else:
            asked = Submission(task=step.task, workflow=step.workflow, attachments=step.attachments)
            self.run = await core.submit(asked, core.people.named(step.who))
        ended = asyncio.ensure_future(core.conductor.ended(self.run))
        while not ended.done() and not (step.until == "waiting" and core.approvals.waiting):
            await asyncio.wait([ended], timeout=TICK_S)
        self._begun = ended
        return await self._stands()

    async def _stands(self) -> str:
        """How the newest run stands; what its user is told is kept."""
        core = self.scene.core
        await core.ledger.flushed()
        view = await core.run(self.run)
        self.told.append(view.outcome)
        return view.status

    async def _killed(self, step: RunStep) -> str:
        """The step in a process of its own that dies at the named point, as if the power went."""
        await self.scene.close()
        given = json.dumps({"folder": str(self.scene.folder), "without": self.scene.without, "case": self.name})
        command = [sys.executable, "-m", "runtime.redteam.victim", given, step.model_dump_json()]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        self.told.append(done.stderr)
        return "killed" if done.returncode == KILLED else f"exit {done.returncode}"

    async def _calls(self, step: CallStep) -> str:
        """The calls at once; the worst that came of any."""
        gate = self.scene.core.conductor.services.gate
        steps = [step.step] if step.times == 1 else [f"{step.step}.{number}" for number in range(1, step.times + 1)]
        found = await asyncio.gather(*(gate.call(self._call(step, each)) for each in steps), return_exceptions=True)
        await self.scene.core.ledger.flushed()
        errors = [each for each in found if isinstance(each, BaseException)]
        for error in errors:
            if not isinstance(error, BailiwickError):
                raise error
            self.told.append(str(error))
        return type(errors[0]).__name__ if errors else "ok"

    def _call(self, step: CallStep, place: str) -> ToolCall:
        core = self.scene.core
        tool, arguments = step.call
        record = core.conductor.services.records[tool]
        if step.version:
            record = type(record)(**{**record.model_dump(), "version": step.version})
        user = core.people.named(step.who)
        labels = _labels(user.tenant, step.labels)
        run = self.name.replace("-", "_")  # what stands before a dash would be the run that began it
        made = ToolCall(
            run=run,
            step=place,
            record=record,
            arguments=arguments,
            principal=Principal(user, Agent(step.agent, VERSION)),
            labels=labels,
            workflow=step.workflow,
            workflow_version=1,
            key="" if record.local_read else f"{run}/{place}",
            reviewed=step.reviewed,
            grounds=Grounds((step.words,) if step.words else ()),
            placed=_placed(step.placed, user.tenant) if step.placed else None,
        )
        return replace(made, approvals=tuple(self._approval(each, step, made) for each in step.approved))

    def _approval(self, yes: Yes, step: CallStep, call: ToolCall) -> Approval:
        """The yes of somebody to what they were shown: the call, but for what `shown` says of it."""
        seen = call
        if yes.shown:
            step = CallStep.model_validate({**step.model_dump(), **yes.shown, "approved": ()})
            seen = self._call(step, step.step)
        judge = self.scene.core.conductor.services.gate.policy
        held = judge.decide(self._checked(seen)).policies
        return Approval(replace(seen, suspended_by=held).binding(yes.policy or judge.digest), yes.by)

    def _checked(self, call: ToolCall) -> ToolCall:
        return self.scene.core.conductor.services.gate.labelled.check(call)

    async def _answer(self, step: AnswerStep) -> str:
        core = self.scene.core
        user = core.people.named(step.who)
        waiting = next(iter(core.approvals.waiting.values()), None)
        if waiting is None:
            raise SettingsError("nothing waits")
        right = waiting.suspended.binding
        digest = {"right": right, "wrong": "0" * len(right), "short": right[:4]}[step.digest]
        await core.answer(Answer(approval=waiting.view["approval"], yes=step.yes, digest=digest), user)
        return await self._settled()

    async def _settled(self) -> str:
        """Let the run go on until it has ended, or waits for somebody else."""
        core, begun = self.scene.core, self._begun
        for _ in range(5):  # whoever waited for the answer goes on a moment later
            await asyncio.sleep(TICK_S)
        while begun is not None and not begun.done() and not core.approvals.waiting:
            await asyncio.wait([begun], timeout=TICK_S)
        return await self._stands()

    async def _grant(self, step: GrantStep) -> str:
        core = self.scene.core
        user = core.people.named(step.who)
        spec = GrantSpec(
            tool=step.tool,
            arguments={name: tuple(values) for name, values in step.arguments.items()},
            until=(datetime.now(UTC) + DAY).isoformat(),
            times=step.times,
            irreversible=step.irreversible,
        )
        shown = await core.propose_grant(spec, user)
        saved = await core.add_grant(spec, shown.digest, user)
        if step.revoked:
            await core.revoke_grant(saved.id, "", user)
        return "ok"

    async def _budget(self, step: BudgetStep) -> str:
        if self.scene.without != "budgets":
            spec = BudgetSpec(holder=step.holder, name=step.name, every=step.every, limit=step.limit)
            await self.scene.core.set_budget(spec, self.scene.core.people.named(step.who))
        return "ok"

    async def _read(self, step: ReadStep) -> str:
        core = self.scene.core
        desk = Desk(core, core.people.named(step.who))
        if self.scene.without == "reach":
            vars(desk)["_reach"] = EVERYTHING
        self.shown.append(await self._seen(desk, step))
        return "ok"

    async def _seen(self, desk: Desk, step: ReadStep) -> str:
        """What one who reads is shown."""
        run = self.run
        match step.what:
            case "run":
                return (await desk.run(run, payloads=True)).model_dump_json()
            case "events":
                found = await desk.events(run=run, limit=10_000, payloads=True)
                return json.dumps([each.model_dump(mode="json") for each in found])
            case "sql":
                return str((await desk.sql(step.query)).rows)
            case "approvals":
                return json.dumps([each.model_dump(mode="json") for each in await desk.approvals()])
            case "page":
                waiting = await desk.approvals(payloads=True)
                return "\n".join(plain(each.arguments) for each in waiting)
            case "verify":
                checked = await desk.verify()
                return "" if checked.ok else f"TAMPERED {checked.problems}"
        view = await desk.run(run, payloads=True)
        return report(view, await desk.events(run=run, limit=10_000, payloads=True))

    async def _other(self, step: OtherStep) -> str:
        scene = self.scene
        if step.do == "halt":
            await scene.core.halt(scene.core.people.named("dora"), "red team")
            return "ok"
        if step.do == "tried":
            return await self._tried()
        if step.do == "expire":
            for entry in list(scene.core.approvals.waiting.values()):
                entry.age = replace(entry.age, lead=10 * DAY.total_seconds())
                await scene.core.approvals._take(entry, "expiry", False, "nobody answered in time")
            return await self._settled()
        await scene.close()
        scene.version, scene.extra = step.version or scene.version, step.cedar or scene.extra
        await scene.open()
        scene.model.resumed = True
        resumed = await scene.core.resume()
        for run in resumed:
            self.run = run
            self._begun = asyncio.ensure_future(scene.core.conductor.ended(run))
            return await self._settled()
        return "ok"

    async def _tried(self) -> str:
        """Wait until the gateway has answered the harmful server; what it said is kept."""
        told = self.scene.folder / rogue_server.TOLD
        while not (told.exists() and '"id"' in told.read_text()):
            await asyncio.sleep(TICK_S)
        self.told.append(told.read_text())
        return await self._settled()


def _labels(tenant: str, said: dict[str, str]) -> Labels:
    """The labels of what a user typed, but for what is said of them."""
    return Labels.parse({**trusted(tenant, "user").json(), **said})


def _placed(place: Place, tenant: str) -> Placed:
    plan = Plan.parse({"steps": list(place.plan), "constants": {}}, _labels(tenant, {}))
    values = {name: Value(each.value, _labels(tenant, each.labels)) for name, each in place.values.items()}
    return Placed(plan, place.step, values)


def arm(step: RunStep) -> None:
    """Have this process die at the step's point."""
    crashpoints.arm(step.at)
