"""What a caller reads of a core that is up: their tenant's and nothing else, unless they are an auditor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from runtime.actors.verbs import CoreVerbs
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.core import Core
from runtime.desk import Desk
from runtime.gateway.messages import Answer, Submission
from store.records.errors import Denied, SettingsError
from store.records.identity import User
from store.records.kinds import Kind


class Word(BaseModel):
    """An answer."""

    word: str


async def asks(run: Run) -> str:
    return (await run.input(Word, "which word?")).word


async def said(run: Run) -> str:
    return run.task


async def remembers(run: Run) -> str:
    await run.remember(run.task, {})
    return "kept"


async def rolls_back(run: Run) -> str:
    run.stage("ops.rollback_config", service="orders")
    await run.review()
    await run.commit()
    return "done"


WORKFLOWS = [Workflow(each.__name__, 1, each, None, ()) for each in (asks, said, remembers, rolls_back)]


@dataclass
class Handle:
    """A core in this process, in the place of its actor."""

    core: Core

    async def ask(self, user: User, method: str, *arguments: Any) -> Any:
        return await getattr(Desk(self.core, user), method)(*arguments)


@dataclass
class Kernel:
    """What the verbs need of the supervisor, of a core in this process."""

    handle: Any

    async def core(self) -> Any:
        return self.handle


def verbs(life: Any, user: User) -> CoreVerbs:
    kernel: Any = Kernel(Handle(life.core))
    return CoreVerbs(kernel, user)


@dataclass
class Place:
    """Two tenants on one core: each has a run that ended, and one that asks a person."""

    life: Any
    ours: User
    theirs: User
    auditor: User
    runs: dict[str, list[str]]

    async def noted(self) -> list[tuple[str, str, Any]]:
        """Reads on record: by whom, of what kind, and what the payload says."""
        ledger = self.life.core.ledger
        await ledger.flushed()
        found = ledger.events(kinds=[Kind.AUDIT_READ], limit=1000)
        return [(event.principal, event.decision, ledger.payload(event.payload)) for event in found]


@pytest.fixture
async def place(live: Any) -> AsyncIterator[Place]:
    async with live(*WORKFLOWS) as life:
        ours = User("ann", 1, "local", "ops")
        theirs, auditor = replace(ours, name="eve", tenant="other"), replace(ours, name="bob", roles=("auditor",))
        runs: dict[str, list[str]] = {"local": [], "other": []}
        for user in (ours, theirs):
            for workflow in ("said", "asks"):
                task = Submission(task=f"the secret of {user.tenant}", workflow=workflow)
                runs[user.tenant].append(await life.core.submit(task, user))
            await life.finish(runs[user.tenant][0])
        while len(await life.core.questions()) < 2:
            await asyncio.sleep(0.005)
        await life.core.ledger.flushed()
        yield Place(life, ours, theirs, auditor, runs)


async def test_runs_and_questions_of_another_tenant_are_not_there(place: Place) -> None:
    for user in (place.ours, place.theirs):
        own, [other, *_] = place.runs[user.tenant], place.runs["other" if user is place.ours else "local"]
        desk = verbs(place.life, user)
        assert sorted(each.run for each in await desk.runs()) == sorted(own)
        assert [each.run for each in await desk.questions()] == [own[1]]
        assert (await desk.run(own[0])).task == f"the secret of {user.tenant}"
        with pytest.raises(SettingsError, match="no run begins"):
            await desk.run(other)
    everyone = verbs(place.life, place.auditor)
    assert sorted(each.run for each in await everyone.runs()) == sorted(place.runs["local"] + place.runs["other"])
    assert await everyone.questions() == [], "an auditor reads them in the log"
    asked = {
        user: {"asked": {"runs": [place.runs[of][1]]}, "rows": 1} for user, of in (("ann", "local"), ("eve", "other"))
    }
    assert await place.noted() == [(user, "questions", said) for user, said in asked.items()]


async def test_content_of_another_users_run_is_shown_on_record_or_not_at_all(place: Place) -> None:
    run = place.runs["local"][0]
    colleague = verbs(place.life, replace(place.ours, name="joe"))
    for desk in (colleague, verbs(place.life, place.auditor)):
        for view in (await desk.run(run), *[each for each in await desk.runs() if each.run == run]):
            assert (view.task, view.outcome, view.withheld, view.status) == ("", "", True, "completed")
    assert "secret of local" in (await verbs(place.life, place.ours).run(run)).task
    assert await place.noted() == []
    view = await colleague.run(run[:-1], True)
    assert (view.task, view.outcome, view.withheld) == ("the secret of local", "the secret of local", False)
    assert await place.noted() == [("joe", "run", {"asked": {"run": run}, "rows": 1})]


async def test_events_and_payloads_are_those_of_the_tenant(place: Place) -> None:
    desk = verbs(place.life, place.theirs)
    for run in ("", place.runs["local"][0], place.runs["other"][0]):
        views = await desk.events(0, run, 1000, True)
        assert {view.event["tenant"] for view in views} <= {"other"}
        assert "the secret of local" not in str(views)
        assert bool(views) == (run != place.runs["local"][0])
    assert {view.event["tenant"] for view in await verbs(place.life, place.auditor).events()} == {"local", "other"}


async def test_sql_sees_no_row_of_another_tenant(place: Place) -> None:
    desk = verbs(place.life, place.theirs)
    for query in (
        "SELECT DISTINCT tenant FROM events",
        "SELECT DISTINCT tenant FROM runs",
        "SELECT DISTINCT tenant FROM payloads",
        "SELECT DISTINCT tenant FROM stored_events",
    ):
        assert (await desk.sql(query)).rows == (("other",),)
        assert set((await verbs(place.life, place.auditor).sql(query)).rows) == {("local",), ("other",)}
    assert (await desk.sql("SELECT count(*) FROM checkpoints")).rows[0][0] >= 0


async def test_a_proof_is_given_of_events_of_the_tenant(place: Place) -> None:
    events = place.life.core.ledger.events(limit=1000)
    own = next(event.seq for event in events if event.tenant == "other")
    other = next(event.seq for event in events if event.tenant == "local")
    desk = verbs(place.life, place.theirs)
    assert (await desk.prove(own)).text
    for seq in (other, 0, -1, 2**40):
        with pytest.raises(SettingsError, match="no event"):
            await desk.prove(seq)
    assert (await verbs(place.life, place.auditor).prove(other)).text
    assert (await desk.checkpoint()).text


async def test_the_whole_log_is_an_auditors(place: Place) -> None:
    desk, everyone = verbs(place.life, place.theirs), verbs(place.life, place.auditor)
    for whole in (desk.verify, desk.export, desk.checkpoints, desk.destroyed):
        with pytest.raises(Denied, match="only an auditor"):
            await whole()
    assert (await everyone.verify()).ok
    assert (await everyone.export()).text
    assert [each.size for each in await everyone.checkpoints(0, 1)]
    assert await everyone.destroyed() == []
    assert [(by, verb) for by, verb, _ in await place.noted()] == [("bob", "export")]


async def test_of_storage_a_tenant_sees_its_own_and_no_total(place: Place) -> None:
    life, files = place.life, place.life.core.ledger.folder
    for user in (place.ours, place.theirs):
        await life.finish(await life.core.submit(Submission(task="keep it", workflow="remembers"), user))
    seen = await verbs(life, place.theirs).storage()
    assert {each.tenant for each in seen.content} == {each.tenant for each in seen.memory} == {"other"}
    assert seen.free > 0
    site = (seen.tables, seen.files, seen.events_per_day, seen.bytes_per_day, seen.full_in_days)
    assert site == ((), {}, None, None, None)
    whole = await verbs(life, place.auditor).storage()
    assert {each.tenant for each in whole.content} == {each.tenant for each in whole.memory} == {"local", "other"}
    assert whole.files["database"] == (files / "ledger.duckdb").stat().st_size
    assert whole.tables
    assert whole.events_per_day


async def test_a_read_is_on_disk_before_it_is_answered(place: Place) -> None:
    desk, ledger = verbs(place.life, place.ours), place.life.core.ledger
    await desk.sql("SELECT 'find me'")
    [event] = ledger.events(kinds=[Kind.AUDIT_READ])
    assert (event.tenant, event.principal, event.decision, event.run) == ("local", "ann", "sql", "")
    assert b"find me" not in event.canonical()
    assert ledger.payload(event.payload) == {"asked": {"query": "SELECT 'find me'"}, "rows": 1}
    with pytest.raises(SettingsError, match="exactly one SELECT"):
        await desk.sql("DROP TABLE events")
    await desk.events(3, "", 2, True)
    await desk.events(3, "", 2)
    assert (await place.noted())[1:] == [
        ("ann", "sql", {"asked": {"query": "DROP TABLE events"}, "rows": 0}),
        ("ann", "events", {"asked": {"after": 3, "run": "", "limit": 2}, "rows": 2}),
    ]


async def test_what_cannot_be_recorded_is_not_shown(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise SettingsError("the disk is full")

    monkeypatch.setattr(place.life.core.ledger, "append", full)
    desk = verbs(place.life, place.ours)
    for shown in (
        desk.run(place.runs["local"][0], True),
        desk.questions(),
        desk.sql("SELECT 1"),
        desk.events(0, "", 10, True),
        anext(aiter(desk.follow(0, "", True))),
    ):
        with pytest.raises(SettingsError, match="the disk is full"):
            await shown
    assert await desk.events(0, "", 10)


async def test_a_follow_is_one_read_of_one_tenant(place: Place) -> None:
    desk, [ended, waits] = verbs(place.life, place.theirs), place.runs["other"]
    seen = [view async for view in desk.follow(0, ended, True)]
    assert [view.event["kind"] for view in seen][-1] == Kind.RUN_ENDED
    async with aclosing(desk.follow(0, waits, True)) as views:
        async for view in views:
            if view.event["kind"] == Kind.INPUT_REQUESTED:
                await place.life.core.reply(waits, "", {"word": "yes"}, place.theirs)
            if view.event["kind"] == Kind.RUN_ENDED:
                break
    assert await place.noted() == [
        ("eve", "follow", {"asked": {"after": 0, "run": run}, "rows": None}) for run in (ended, waits)
    ]
    with pytest.raises(SettingsError, match="no run begins"):
        await anext(aiter(desk.follow(0, place.runs["local"][0])))


async def test_an_approval_is_shown_to_its_own_tenant(live: Any) -> None:
    async with live(*WORKFLOWS) as life:
        ours = replace(life.user, roles=("requester", "approver"))
        theirs = replace(ours, tenant="other")
        runs = [
            await life.core.submit(Submission(task="roll back", workflow="rolls_back"), by) for by in (ours, theirs)
        ]
        while len(await life.core.waiting()) < 2:
            await asyncio.sleep(0.005)
        for user, run in ((ours, runs[0]), (theirs, runs[1])):
            assert [each.run for each in await verbs(life, user).approvals()] == [run]
        auditor = replace(ours, name="ida", roles=("auditor",))
        assert await verbs(life, auditor).approvals() == []
        other = verbs(life, replace(ours, name="bob"))
        (looked,) = await other.approvals()
        assert (looked.arguments, looked.digest, looked.withheld) == ({}, "", True)
        assert [each.arguments for each in await verbs(life, ours).approvals()] == [{"service": "orders"}]
        await life.core.ledger.flushed()
        assert life.core.ledger.events(kinds=[Kind.AUDIT_READ]) == []
        (shown,) = await other.approvals(True)
        assert (shown.arguments, shown.withheld) == ({"service": "orders"}, False)
        [read] = life.core.ledger.events(kinds=[Kind.AUDIT_READ])
        assert (read.principal, read.decision) == ("bob", "approvals")
        assert life.core.ledger.payload(read.payload) == {"asked": {"runs": runs[:1]}, "rows": 1}
        for run in runs:
            await life.core.cancel(run, ours if run == runs[0] else theirs, "")


async def test_a_run_of_another_tenant_is_not_there_to_be_controlled(place: Place) -> None:
    core, [ended, waits] = place.life.core, place.runs["local"]
    for roles in ((), ("approver", "admin"), ("auditor", "admin")):
        by = replace(place.theirs, roles=("requester", *roles))
        for run in (waits, waits[:-1], ended):
            for control in (
                core.cancel(run, by, ""),
                core.pause(run, by, ""),
                core.resume(run, by),
                core.signal(run, "go", None, by),
                core.reply(run, "", {"word": "no"}, by),
                core.retry(run, by),
                core.settle(run, "", True, None, by, ""),
                core.fork(run, "1", by),
            ):
                with pytest.raises(SettingsError, match=f"no run begins with '{run}'"):
                    await control
    assert (await core.run(waits)).status == "waiting"


async def test_who_resumes_all_is_told_of_their_own(place: Place) -> None:
    core, approver = place.life.core, replace(place.ours, name="amy", roles=("approver",))
    assert await core.resume("", place.ours) == await core.resume("", approver) == [place.runs["local"][1]]
    assert await core.resume("", place.theirs) == [place.runs["other"][1]]
    assert await core.resume("", replace(place.ours, name="joe")) == []


DIRECTORY = """[roles]
requester = ["staff"]
approver = ["leads"]
[groups.staff]
[groups.leads]
[users.ann]
uid = 61001
groups = ["staff"]
[users.amy]
uid = 61002
groups = ["leads"]
[users.eve]
uid = 61003
tenant = "other"
groups = ["staff"]
[users.ivy]
uid = 61004
tenant = "other"
groups = ["leads"]
"""


async def test_who_ends_a_halt_is_told_of_the_runs_of_their_own_tenant(live: Any, tmp_path: Path) -> None:
    directory = tmp_path / "people.toml"
    directory.write_text(DIRECTORY)
    directory.chmod(0o600)
    async with live(*WORKFLOWS, directory=directory) as life:
        core, people = life.core, [life.core.people.of_uid(uid) for uid in range(61001, 61005)]
        await core.halt(people[0], "")
        runs = [await replace(life, user=user).submit("rolls_back") for user in people[::2]]
        while len(await core.waiting()) < 2:
            await asyncio.sleep(0.005)
        for run, approver in zip(runs, people[1::2], strict=True):
            [approval] = [each for each in await core.waiting() if each.run == run]
            await core.answer(Answer(approval=approval.approval, yes=True, digest=approval.digest), approver)
            await life.finish(run)
        assert {(await core.run(run)).status for run in runs} == {"parked"}
        assert await core.release(people[1], "") == runs[:1]
        for run in runs:
            assert (await life.finish(run)).status == "completed"
