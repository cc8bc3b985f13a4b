"""Standing grants: one approver's yes to calls of a narrow kind, until a date, and never once more than it says."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gate.grants import Grant
from runtime.gateway.messages import Answer, GrantSpec, GrantView, Submission
from store.records.errors import Denied, SettingsError
from store.records.identity import User
from store.records.kinds import Kind

ANN = User("ann", 2001, "local", "ops", ("requester", "approver"))
BOB = User("bob", 2002, "local", "ops", ("approver",))
SITE = """
@id("all") permit (principal, action, resource);
@id("approval:move") forbid (principal, action == Action::"ops.move", resource);
@id("approval:mail") forbid (principal, action == Action::"ops.send_mail", resource);
@id("approval:two") @approvers("2") @distinct("requester")
forbid (principal, action == Action::"ops.rollback_config", resource);
"""
ANY = {"what": ("1", "2"), "to": ("b",)}


def staging(name: str, *effects: tuple[str, dict[str, Any]]) -> Workflow:
    """A workflow that commits these effects, each by itself."""

    async def function(run: Run) -> str:
        for tool, arguments in effects:
            run.stage(tool, **arguments)
            await run.review()
            await run.commit()
        return "done"

    return Workflow(name, 1, function, None, ())


MOVE = ("ops.move", {"what": "1", "to": "b"})
FLOWS = (
    staging("moves", MOVE),
    staging("twice", MOVE, MOVE),
    staging("elsewhere", ("ops.move", {"what": "1", "to": "c"})),
    staging("mails", ("ops.send_mail", {"to": "all"})),
    staging("rolls_back", ("ops.rollback_config", {"service": "orders"})),
)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The site's policies."""
    folder = tmp_path / "rules"
    folder.mkdir(mode=0o700)
    (folder / "site.cedar").write_text(SITE)
    return folder


@pytest.fixture
def served(live: Any, rules: Path) -> Callable[..., Any]:
    """A core of a site with policies of its own."""
    return lambda **settings: live(*FLOWS, policy=str(rules), **settings)


def people(life: Any, *names: str) -> None:
    """Let these be the approvers, as a directory would say it."""
    known = life.core.approvals.gate.people
    known.knows, known.sole = (lambda name, _: name in (names or ("ann", "bob"))), ""


def spec(tool: str = "ops.move", arguments: Any = None, **more: Any) -> GrantSpec:
    until = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    return GrantSpec(tool=tool, arguments=ANY if arguments is None else arguments, **{"until": until, **more})


async def granted(life: Any, by: User = BOB, **more: Any) -> GrantView:
    wanted = spec(**more)
    view: GrantView = await life.core.propose_grant(wanted, by)
    saved: GrantView = await life.core.add_grant(wanted, view.digest[:8], by)
    assert (saved.digest, saved.grant) == (view.digest, view.grant)
    return saved


async def submitted(life: Any, workflow: str, by: User = ANN) -> str:
    run: str = await life.core.submit(Submission(task="a task", workflow=workflow), by)
    return run


async def held(life: Any, run: str) -> Any:
    """What a run waits for that no grant let through."""
    async with asyncio.timeout(10):
        while not (found := [each for each in await life.core.waiting() if each.run == run]):
            await asyncio.sleep(0.005)
    return found[0]


async def refused(life: Any, run: str) -> None:
    """See that a run waits for a person, and end it with a no."""
    view = await held(life, run)
    await life.core.answer(Answer(approval=view.approval, yes=False), BOB)
    assert (await life.finish(run)).status == "denied"


async def test_a_grant_lets_a_call_through_and_each_use_names_it(served: Any, site: Any) -> None:
    async with served() as life:
        people(life)
        grant = await granted(life, times=3)
        run = await submitted(life, "moves")
        assert (await life.finish(run)).status == "completed"
        ((used, payload),) = life.events(run, Kind.GRANT_USED)
        assert (used.decision, used.principal, payload["grant"]) == (grant.id, "bob", grant.id)
        ((asked, _),) = life.events(run, Kind.APPROVAL_REQUESTED)
        ((intent, told),) = life.events(run, Kind.EFFECT_INTENT)
        assert asked.seq == used.cause < used.seq < intent.seq
        assert (used.fingerprint, told["approvers"]) == (asked.fingerprint, ["bob"])
        (view,) = life.core.granting.views(BOB)
        assert (view.used, view.state) == (1, "standing")
        await refused(life, await submitted(life, "elsewhere"))
    assert len(site.effects()) == 1


async def test_it_is_used_so_often_and_no_more_also_at_once_and_after_a_crash(served: Any, site: Any) -> None:
    async with served() as life:
        people(life)
        await granted(life, times=2)
        runs = [await submitted(life, "moves") for _ in range(4)]
        while len(await life.core.waiting()) < 2:
            await asyncio.sleep(0.005)
        await life.core.ledger.flushed()
    async with served() as life:
        people(life)
        (view,) = life.core.granting.views(BOB)
        assert (view.used, view.state) == (2, "used up")
        await life.core.resume()
        while len(waiting := await life.core.waiting()) < 2:
            await asyncio.sleep(0.005)
        for each in waiting:
            await refused(life, each.run)
        assert sorted([(await life.finish(run)).status for run in runs]) == ["completed"] * 2 + ["denied"] * 2
    assert len(site.effects()) == 2


async def test_a_use_that_a_crash_followed_is_not_counted_twice(served: Any, site: Any) -> None:
    async with served() as life:
        people(life)
        await granted(life, times=1)
        run = await submitted(life, "moves")
        life.dies_after(5)  # started, staged, reviewed, judged, asked: the use is lost with the power
        await life.finish(run)
        assert life.events(run, Kind.EFFECT_INTENT) == []
    async with served() as life:
        people(life)
        assert (await life.resume(run)).status == "completed"
        assert [view.used for view in life.core.granting.views(BOB)] == [1]
        await refused(life, await submitted(life, "moves"))
    assert len(site.effects()) == 1


@pytest.mark.parametrize("end", ["revoked", "ended", "tool", "policy", "role"])
async def test_what_ends_a_grant(served: Any, rules: Path, site: Any, end: str) -> None:
    async with served() as life:
        people(life)
        grant = await granted(life)
        if end == "revoked":
            await life.core.revoke_grant(grant.id, "no longer", ANN)
            with pytest.raises(SettingsError):
                await life.core.revoke_grant(grant.id, "again", ANN)
        if end == "policy":
            (rules / "more.cedar").write_text('@id("no") forbid (principal, action, resource) when { context.egress };')
    async with served() as life:
        people(life, *(("ann",) if end == "role" else ()))
        (standing,) = life.core.approvals.gate.grants.all.values()
        if end == "ended":
            standing.lasts_s = 0.0
        if end == "tool":
            standing.grant = replace(standing.grant, tool_digest="0" * 64)
        run = await submitted(life, "moves")
        view = await held(life, run)
        assert view.yes == ()
        await life.core.answer(Answer(approval=view.approval, yes=False), ANN)
        assert (await life.finish(run)).status == "denied"
    assert site.effects() == []


async def test_a_revoked_grant_lets_nothing_through_that_it_had_said_yes_to(served: Any, site: Any) -> None:
    async with served() as life:
        people(life)
        grant = await granted(life, tool="ops.rollback_config", arguments={"service": ("orders",)})
        run = await submitted(life, "rolls_back")
        view = await held(life, run)
        assert view.yes == ("bob",), "it stands for one of the two"
        await life.core.revoke_grant(grant.id, "", BOB)
        life.core.approvals.gate.people.knows = lambda name, _: name in ("bob", "carl")
        carl = replace(BOB, name="carl")
        await life.core.answer(Answer(approval=view.approval, yes=True, digest=view.digest), carl)
        assert (await life.finish(run)).status == "denied"
    assert site.effects() == []


async def test_who_asks_cannot_have_agreed_beforehand(served: Any, site: Any) -> None:
    async with served() as life:
        people(life)
        life.core.approvals.gate.people.sole = "ann"  # not even where there is nobody else
        await granted(life, ANN, tool="ops.rollback_config", arguments={"service": ("orders",)})
        run = await submitted(life, "rolls_back")
        assert (await held(life, run)).yes == ()
        await refused(life, run)
    assert site.effects() == []


async def test_what_cannot_be_undone_is_covered_only_if_it_says_so(served: Any, site: Any) -> None:
    async with served() as life:
        people(life)
        with pytest.raises(SettingsError, match="cannot be undone"):
            await life.core.propose_grant(spec("ops.send_mail", {"to": ("all",)}), BOB)
        await granted(life, tool="ops.send_mail", arguments={"to": ("all",)}, irreversible=True)
        assert (await life.finish(await submitted(life, "mails"))).status == "completed"
    assert len(site.effects()) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"arguments": {"what": ("1",)}}, "gives no value for to"),
        ({"arguments": {**ANY, "how": ("x",)}}, "takes no argument 'how'"),
        ({"arguments": {**ANY, "key": ("x",)}}, "takes no argument 'key'"),
        ({"arguments": {**ANY, "to": ()}}, "takes no argument 'to'"),
        ({"arguments": {**ANY, "to": (7,)}}, "no call has this value"),
        ({"tool": "ops.nowhere"}, "no such tool"),
        ({"tool": "ops.read_logs", "arguments": {}}, "local read"),
        ({"until": "tomorrow"}, "no date"),
        ({"until": "2020-01-01"}, "in the future"),
        ({"until": "2099-01-01"}, "within a year"),
    ],
)
async def test_a_grant_that_is_not_narrow_or_could_not_work_is_refused(served: Any, change: Any, why: str) -> None:
    async with served() as life:
        with pytest.raises(SettingsError, match=why):
            await life.core.propose_grant(spec(**change), BOB)


async def test_only_an_approver_who_has_seen_it_saves_one(served: Any) -> None:
    async with served() as life:
        wanted = spec()
        for digest in ("", "0" * 8, "0" * 64):
            with pytest.raises(SettingsError, match="not the digest of this grant"):
                await life.core.add_grant(wanted, digest, BOB)
        eve = User("eve", 2004, "local", "ops", ("requester",))
        for refused_ in (life.core.propose_grant(wanted, eve), life.core.add_grant(wanted, "0" * 8, eve)):
            with pytest.raises(Denied):
                await refused_
        with pytest.raises(Denied):
            life.core.granting.views(eve)
        await granted(life)
        other = replace(BOB, tenant="other")
        assert life.core.granting.views(other) == []
        (view,) = life.core.granting.views(BOB)
        with pytest.raises(SettingsError):
            await life.core.revoke_grant(view.id, "", other)
        assert Grant.parse(view.grant).digest == view.digest
