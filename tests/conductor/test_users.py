"""Whose run it is, and who approves: the directory's word of now, not of when the run began."""

import asyncio
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.agents.proposal import Proposal
from runtime.conductor.scope import CORE_VERSION
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import Answer, ScheduleSpec, Submission
from store.records.canonical import Json, sha256
from store.records.errors import Denied, SettingsError
from store.records.identity import Agent
from store.records.kinds import Kind

HEAD = '[roles]\nrequester = ["staff"]\napprover = ["leads"]\n[groups.staff]\n[groups.leads]\n'
ANN = '[users.ann]\nuid = 61001\ngroups = ["staff"]\n'
BOB = '[users.bob]\nuid = 61002\ngroups = ["staff", "leads"]\n'


class Go(BaseModel):
    """A signal that says nothing but that."""


async def asking(run: Run) -> None:
    run.stage("ops.rollback_config", service="orders")
    await run.review()
    await run.commit()


async def waiting(run: Run) -> Json:
    await run.now()
    await run.wait("go", Go)
    return list((await run.call("ops.list_services")).services)


def flow(function: Any) -> Workflow:
    return Workflow("flow", 1, function, None, ())


class People:
    """The directory's file, written anew as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self(ANN, BOB)

    def __call__(self, *users: str) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text(HEAD + "".join(users))
        aside.chmod(0o600)
        aside.replace(self.path)


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path / "people.toml")


async def begun(life: Any, name: str = "ann") -> str:
    run: str = await life.core.submit(Submission(task="t", workflow="flow"), life.core.people.named(name))
    return run


def yes(wait: Any) -> Answer:
    """A yes to what waits, as it was shown."""
    return Answer(approval=wait.approval, yes=True, digest=wait.digest)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def parked_for(life: Any, run: str) -> list[str]:
    return [payload["text"] for _, payload in life.events(run, Kind.RUN_PARKED)]


async def test_a_run_goes_on_no_more_once_its_user_is_removed_and_does_when_they_are_back(
    live: Any, site: Any, people: People
) -> None:
    async with live(flow(waiting), directory=people.path) as life:
        run = await begun(life)
        await until(lambda: bool(life.events(run, Kind.WAIT_BEGUN)))
        people(BOB)
        await life.core.signal(run, "go", {}, life.core.people.named("bob"))
        view = await life.finish(run)
        assert (view.status, view.error, site.reads) == ("parked", "UserGone", [])
        [text] = parked_for(life, run)
        assert text.startswith("ann, on whose behalf the run goes, is no user of local (the directory ")
        assert (await life.resume(run)).status == "parked"
        assert len(parked_for(life, run)) == 2  # it was asked for, so it says so again
        people(ANN, BOB)
        assert (await life.resume(run)).status == "completed"
        assert site.reads == ["list_services"]


async def test_a_start_does_not_bring_back_the_run_of_a_user_who_is_gone(live: Any, people: People) -> None:
    async with live(flow(waiting), directory=people.path) as life:
        run = await begun(life)
    people(BOB)
    async with live(flow(waiting), directory=people.path) as life:
        assert await life.core.resume() == [run]
        await life.core.conductor.ended(run)
        assert (await life.core.run(run)).error == "UserGone"


async def test_an_approval_does_not_help_a_user_who_is_gone(live: Any, site: Any, people: People) -> None:
    async with live(flow(asking), directory=people.path) as life:
        run = await begun(life)
        await life.until_waiting()
        people(BOB)
        [wait] = await life.core.waiting()
        await life.core.answer(yes(wait), life.core.people.named("bob"))
        view = await life.finish(run)
        assert (view.status, view.error, site.effects()) == ("parked", "UserGone", [])


async def test_an_approver_must_be_one_when_the_effect_is_made(live: Any, site: Any, people: People) -> None:
    async with live(flow(asking), directory=people.path) as life:
        run = await begun(life)
        await life.until_waiting()
        [wait] = await life.core.waiting()
        bob = life.core.people.named("bob")
        with pytest.raises(Denied, match="ann may not answer"):
            await life.core.answer(yes(wait), life.core.people.named("ann"))
        people(ANN, BOB.replace(', "leads"', ""))
        with pytest.raises(Denied, match="bob may not approve this"):  # as a session of before would have it
            await life.core.answer(yes(wait), bob)
        await life.core.answer(Answer(approval=wait.approval, yes=False), life.user)
        view = await life.finish(run)
        assert (view.status, site.effects()) == ("denied", [])


async def test_an_approver_of_now_may_be_one_who_was_none_when_the_run_began(
    live: Any, site: Any, people: People
) -> None:
    people(ANN, '[users.eve]\nuid = 61003\ngroups = ["staff"]\n')
    async with live(flow(asking), directory=people.path) as life:
        run = await begun(life)
        await life.until_waiting()
        people(ANN, '[users.eve]\nuid = 61003\ngroups = ["leads"]\n')
        [wait] = await life.core.waiting()
        await life.core.answer(yes(wait), life.core.people.named("eve"))
        assert (await life.finish(run)).status == "completed"
        assert len(site.effects()) == 1


async def test_a_directory_that_is_damaged_parks_runs_which_go_on_by_themselves(live: Any, people: People) -> None:
    async with live(flow(waiting), directory=people.path) as life:
        run = await begun(life)
        await until(lambda: bool(life.events(run, Kind.WAIT_BEGUN)))
        bob = life.core.people.named("bob")
        people(ANN, "oops\n")
        await life.core.signal(run, "go", {}, bob)
        view = await life.finish(run)
        assert (view.status, view.error) == ("parked", "Unreachable")
        assert view.again_in_s is not None
        people(ANN, BOB)
        await until(lambda: bool(life.events(run, Kind.RUN_ENDED)))


async def test_a_child_run_is_its_parents_users_with_no_more_roles_and_tools(live: Any, people: People) -> None:
    async def child(run: Run) -> Json:
        return list(run.user.roles)

    async def parent(run: Run) -> Json:
        return await run.child("child", "t")

    workflows = (Workflow("flow", 1, parent, None, ("ops.list_services",)), Workflow("child", 1, child, None, ()))
    async with live(*workflows, directory=people.path) as life:
        bob = replace(life.core.people.named("bob"), roles=("requester",))  # as a token for less names them
        run = await life.core.submit(Submission(task="t", workflow="flow"), bob)
        await life.finish(run)
        assert life.value(run) == ["requester"]
        [event] = [e for e in life.core.ledger.events(kinds=[Kind.RUN_SUBMITTED]) if e.run != run]
        submitted = life.core.ledger.payload(event.payload)
        assert (submitted["user"]["roles"], submitted["rights"]) == (["requester"], ["ops.list_services"])


async def test_who_may_not_begin_runs_begins_none(live: Any, people: People) -> None:
    people(ANN, '[users.eve]\nuid = 61003\ngroups = ["leads"]\n')
    async with live(flow(waiting), directory=people.path) as life:
        with pytest.raises(Denied, match="eve may not begin runs"):
            await begun(life, "eve")
        spec = ScheduleSpec(name="s", cron="* * * * *", workflow="flow", task="t")
        with pytest.raises(Denied, match="eve may not begin runs"):
            await life.core.add_schedule(spec, life.core.people.named("eve"))


async def test_a_schedule_of_a_user_who_is_gone_pauses_itself(live: Any, people: People) -> None:
    from datetime import UTC, datetime, timedelta

    async with live(flow(waiting), directory=people.path) as life:
        ann = life.core.people.named("ann")
        await life.core.add_schedule(ScheduleSpec(name="s", cron="* * * * *", workflow="flow", task="t"), ann)
        people(BOB)
        later = datetime.now(UTC) + timedelta(minutes=2)
        life.core.schedules.clock = lambda: later
        await life.core.schedules.fire()
        await life.core.ledger.flushed()
        [view] = await life.core.list_schedules(ann)
        assert (view.paused, view.run) == (True, "")
        [event] = life.core.ledger.events(kinds=[Kind.SCHEDULE_PAUSED])
        assert "ann" in life.core.ledger.payload(event.payload)["reason"]


async def test_only_what_is_ones_own_is_resumed_all_at_once(live: Any, people: People) -> None:
    async with live(flow(waiting), directory=people.path) as life:
        anns, bobs = await begun(life), await begun(life, "bob")
        await life.core.ledger.flushed()
        assert await life.core.resume("", life.core.people.named("ann")) == [anns]
        assert set(await life.core.resume("", life.core.people.named("bob"))) == {anns, bobs}


async def test_which_directory_was_in_force_is_on_record(live: Any, people: People) -> None:
    digests = [sha256((HEAD + users).encode()) for users in (ANN + BOB, BOB)]
    for _ in range(2):  # a start that finds the same says nothing
        async with live(flow(waiting), directory=people.path) as life:
            life.core.people.knows("bob", "local")
    people(BOB)
    async with live(flow(waiting), directory=people.path) as life:
        assert [e.fingerprint for e in life.core.ledger.events(kinds=[Kind.DIRECTORY_READ])][:1] == digests[:1]
        people(BOB, "oops\n")
        with pytest.raises(SettingsError):
            life.core.people.named("bob")
        people(BOB)
        life.core.people.named("bob")
        await life.core.ledger.flushed()
        assert [e.fingerprint for e in life.core.ledger.events(kinds=[Kind.DIRECTORY_READ])] == digests


async def test_who_the_agent_is_no_proposal_says(live: Any, agents: Any, people: People) -> None:
    from runtime.agents.proposal import VERSION

    assert "agent" not in {field.name for field in fields(Proposal)}
    async with live(flow(asking), directory=people.path) as life:
        run = await begun(life)
        await life.until_waiting()
        scope = life.core.conductor.live[run].scope
        assert (scope.principal("model").agent, scope.principal("rule").agent) == (
            Agent("worker", VERSION),
            Agent("rule", CORE_VERSION),
        )
        rulings = [event for event, _ in life.events(run, Kind.DECISION)]
        assert {(event.actor, event.actor_version) for event in rulings} == {("rule", CORE_VERSION)}


async def test_who_may_not_begin_runs_may_not_fork_one(live: Any, people: People) -> None:
    async with live(flow(waiting), directory=people.path) as life:
        run = await begun(life)
        await until(lambda: bool(life.events(run, Kind.WAIT_BEGUN)))
        ann = life.core.people.named("ann")  # as a token for other roles lets her in
        with pytest.raises(Denied, match="may not begin runs"):
            await life.core.fork(run, "1", replace(ann, roles=("auditor",)))
