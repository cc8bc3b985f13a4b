"""Policies in a running core: exchanged as a whole, tested and agreed to; kept by digest, to explain old decisions."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.desk import Desk
from runtime.explaining import Past, explain_event, ruling_in
from runtime.gate.policy import Policy
from runtime.gateway.messages import PolicyChangeView
from runtime.policing import Policing
from runtime.rights import NEEDS
from store.keys.scope import Scope
from store.records.errors import Denied, SettingsError
from store.records.identity import User
from store.records.kinds import Kind
from tools.record import ToolRecord

ANN = User("ann", 2001, "local", "ops", ("admin",))
BOB = User("bob", 2002, "local", "ops", ("approver",))
EVE = User("eve", 2003, "local", "ops", ("requester", "auditor"))
OPEN = '@id("all") permit (principal, action, resource);\n'
HELD = '@id("approval:restart") forbid (principal, action == Action::"ops.restart_service", resource);\n'
SHUT = '@id("no") forbid (principal, action == Action::"ops.restart_service", resource);\n'
TEST = '[[test]]\nname = "reads"\ntool = "ops.list_services"\ndecide = "allow"\nby = ["all"]\n'


async def restarts(run: Run) -> str:
    run.stage("ops.restart_service", service="orders")
    await run.review()
    await run.commit()
    return "done"


FLOW = Workflow("restarts", 1, restarts, None, ())


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The site's policies, with a test of their own."""
    folder = tmp_path / "rules"
    folder.mkdir(mode=0o700)
    (folder / "site.cedar").write_text(OPEN)
    (folder / "site.test.toml").write_text(TEST)
    return folder


@pytest.fixture
def served(live: Any, rules: Path) -> Callable[..., Any]:
    """A core of a site with policies of its own."""
    return lambda **settings: live(FLOW, policy=str(rules), **settings)


async def changed(life: Any, rules: Path, text: str) -> PolicyChangeView:
    """Have other policies in force, proposed by one and agreed to by another."""
    (rules / "site.cedar").write_text(text)
    view = await life.core.propose_policy(ANN)
    done: PolicyChangeView = await life.core.approve_policy(view.digest[:8], "seen", BOB)
    return done


def recorded(life: Any, *kinds: Kind) -> list[tuple[Any, Any]]:
    ledger = life.core.ledger
    found = ledger.events(limit=1000, kinds=kinds)
    return [(event, ledger.payload(event.payload)) for event in found]


async def test_new_policies_decide_from_the_moment_somebody_agreed(served: Any, rules: Path) -> None:
    async with served() as life:
        before = life.core.policing.judge.digest
        first = await life.run("restarts")
        view = await changed(life, rules, OPEN + SHUT)
        second = await life.run("restarts")
        assert (first.status, second.status) == ("completed", "denied")
        assert (view.in_force, view.digest) == (before, life.core.policing.judge.digest)
        for run, digest in ((first.run, before), (second.run, view.digest)):
            assert {event.policy_digest for event, _ in life.events(run, Kind.DECISION)} == {digest}
        started, change = recorded(life, Kind.POLICY_CHANGED)
        ((proposal, _),) = recorded(life, Kind.POLICY_PROPOSED)
        assert (started[0].decision, started[0].policy_digest, started[1]["before"]) == ("started", before, "")
        assert (change[0].decision, change[0].principal, change[0].cause) == ("approved", "bob", proposal.seq)
        assert change[1] == {
            "before": before,
            "asked_by": "ann",
            "approved_by": "bob",
            "one_person": False,
            "meaning": "seen",
        }


@pytest.mark.parametrize(
    ("text", "test", "why"),
    [
        ("permit (", TEST, "a policy has no name|does not parse"),
        (OPEN + OPEN, TEST, "another policy is called all"),
        (
            OPEN + '@id("f") forbid (principal, action == Action::"ops.restrat", resource);',
            TEST,
            "no tool is called that",
        ),
        (OPEN.replace("all", "some"), TEST, "'reads': no policy is called all"),
        (OPEN + SHUT, TEST.replace("list_services", "nothing"), "no tool is called ops.nothing"),
        (OPEN + SHUT, "[[test]]", "test.0.tool"),
        (OPEN, TEST, "in force"),
    ],
)
async def test_policies_that_do_not_hold_up_leave_those_in_force(
    served: Any, rules: Path, text: str, test: str, why: str
) -> None:
    async with served() as life:
        before = life.core.policing.judge.digest
        (rules / "site.cedar").write_text(text)
        (rules / "site.test.toml").write_text(test)
        with pytest.raises(SettingsError, match=why) as caught:
            await life.core.propose_policy(ANN)
        assert "\n" not in str(caught.value)
        assert (life.core.policing.judge.digest, life.core.policing.proposed()) == (before, [])
        assert (await life.run("restarts")).status == "completed"


async def test_a_runtime_does_not_start_with_policies_that_fail_their_tests(served: Any, rules: Path) -> None:
    (rules / "site.test.toml").write_text(TEST.replace('"allow"', '"deny"'))
    with pytest.raises(SettingsError, match=r"'reads': must be deny by all, is allow by all"):
        async with served():
            pass


async def test_what_is_agreed_to_is_what_was_proposed(served: Any, rules: Path) -> None:
    async with served() as life:
        (rules / "site.cedar").write_text(OPEN + SHUT)
        view = await life.core.propose_policy(ANN)
        (rules / "site.cedar").write_text(OPEN + HELD)
        for digest in ("", view.digest[:7], life.core.policing.judge.digest, "0" * 64):
            with pytest.raises(SettingsError, match="not the digest of what is proposed"):
                await life.core.approve_policy(digest, "", BOB)
        await life.core.approve_policy(view.digest, "", BOB)
        assert life.core.policing.judge.policy.policy_names == ("all", "no")
        with pytest.raises(SettingsError, match="no policies are proposed"):
            await life.core.approve_policy(view.digest, "", BOB)


async def test_nobody_agrees_to_their_own_policies_in_a_service(served: Any, rules: Path) -> None:
    both = User("cyd", 2004, "local", "ops", ("admin", "approver"))
    async with served() as life:
        policing: Policing = life.core.policing
        (rules / "site.cedar").write_text(OPEN + SHUT)
        view = await policing.propose(both)
        with pytest.raises(Denied, match="cyd proposed these policies"):
            await policing.approve(view.digest, "", both, sole="")
        with pytest.raises(Denied, match="may not approve"):
            await policing.approve(view.digest, "", EVE, sole="")
        with pytest.raises(Denied, match="may not propose"):
            await policing.propose(BOB)
        assert policing.judge.digest == view.in_force
        await policing.approve(view.digest, "", ANN, sole="")
        assert policing.judge.digest == view.digest
    assert NEEDS["approve_policy"] == {"admin", "approver"}
    assert NEEDS["propose_policy"] == {"admin"}


async def test_whose_runtime_it_is_needs_another_once_a_directory_names_others(
    served: Any, rules: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people.toml"
    people.write_text('[roles]\napprover = ["leads"]\n[groups.leads]\n[users.bob]\nuid = 2002\ngroups = ["leads"]\n')
    people.chmod(0o600)
    async with served(directory=people) as life:
        (rules / "site.cedar").write_text(OPEN + SHUT)
        view = await life.core.propose_policy(life.user)
        with pytest.raises(Denied, match="proposed these policies"):
            await life.core.approve_policy(view.digest, "", life.user)
        await life.core.approve_policy(view.digest, "", life.core.people.named("bob"))
        assert life.core.policing.judge.digest == view.digest


async def test_the_only_user_of_a_machine_does_both_and_the_ledger_says_so(served: Any, rules: Path) -> None:
    async with served() as life:
        (rules / "site.cedar").write_text(OPEN + SHUT)
        view = await life.core.propose_policy(life.user)
        await life.core.approve_policy(view.digest, "", life.user)
        assert recorded(life, Kind.POLICY_CHANGED)[-1][1]["one_person"] is True


async def test_a_proposal_that_nobody_answers_lapses(served: Any, rules: Path) -> None:
    async with served(approval_expiry_s=0.05) as life:
        (rules / "site.cedar").write_text(OPEN + SHUT)
        view = await life.core.propose_policy(ANN)
        while life.core.policing.proposed():
            await asyncio.sleep(0.01)
        with pytest.raises(SettingsError, match="no policies are proposed"):
            await life.core.approve_policy(view.digest, "", BOB)


async def test_what_waits_for_a_person_is_judged_anew(served: Any, rules: Path, site: Any) -> None:
    (rules / "site.cedar").write_text(OPEN + HELD)
    async with served() as life:
        opened, closed, held = [await life.submit("restarts") for _ in range(3)]
        while len(await life.core.waiting()) < 3:
            await asyncio.sleep(0.005)
        old = {each.run: each.approval for each in await life.core.waiting()}
        # Another reason for the same wait: the old request is void, and what is asked now is another.
        await changed(life, rules, OPEN + HELD + "// a word\n")
        while {each.run: each.approval for each in await life.core.waiting()}.keys() != old.keys():
            await asyncio.sleep(0.005)
        await life.core.cancel(held, life.user, "enough")
        asked = {each.run: each.approval for each in await life.core.waiting()}
        assert not set(asked.values()) & set(old.values())
        await life.core.cancel(closed, life.user, "enough")
        assert site.effects() == []
        await changed(life, rules, OPEN)
        assert (await life.finish(opened)).status == "completed"
        assert len(site.effects()) == 1
        assert life.events(opened, Kind.APPROVAL_ANSWERED) == []


async def test_a_wait_ends_in_a_denial_if_the_new_policies_forbid(served: Any, rules: Path, site: Any) -> None:
    (rules / "site.cedar").write_text(OPEN + HELD)
    async with served() as life:
        run = await life.submit("restarts")
        await life.until_waiting()
        await changed(life, rules, OPEN + SHUT)
        assert (await life.finish(run)).status == "denied"
        assert (await life.core.waiting(), site.effects()) == ([], [])


async def test_a_core_that_comes_after_another_keeps_what_was_agreed(
    served: Any, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served() as life:
        agreed = (await changed(life, rules, OPEN + SHUT)).digest
        (rules / "site.cedar").write_text(OPEN + "permit (")
        ledger, records = life.core.ledger, {each.name: each for each in life.core.policing.judge.policy.records}
        inventory = life.core.policing.judge.policy.inventory
        await ledger.flushed()
        for user in {event.principal for event in ledger.events(kinds=[Kind.POLICY_CHANGED])}:
            ledger.keeper.shred(Scope("local", user), "root")  # who proposed and agreed is forgotten, the policies not
        made = Policing(ledger, str(rules), records, inventory, again=True, expiry_s=1.0)
        assert made.judge.digest == agreed
        with pytest.raises(SettingsError):
            Policing(ledger, str(rules), records, inventory, again=False, expiry_s=1.0)


async def test_each_version_is_kept_once_and_can_be_read_by_its_digest(served: Any, rules: Path) -> None:
    async with served() as life:
        first = life.core.policing.judge.digest
        second = (await changed(life, rules, OPEN + SHUT)).digest
        await changed(life, rules, OPEN)
        await life.core.ledger.flushed()
        assert [event.policy_digest for event, _ in recorded(life, Kind.POLICY_KEPT)] == [first, second]
        desk = Desk(life.core, EVE)
        for digest, names in ((first, ("all",)), (second[:8], ("all", "no")), ("", ("all",))):
            view = await desk.policy(digest)
            assert view.in_force == (view.digest == first)
            assert tuple(name for name in ("all", "no") if f'"{name}"' in view.files[0][1]) == names
        for unknown in ("f" * 64, "zz"):
            with pytest.raises(SettingsError, match="does not have these policies"):
                await desk.policy(unknown)
    async with served() as life:
        assert len(recorded(life, Kind.POLICY_KEPT)) == 2
        assert len(recorded(life, Kind.POLICY_CHANGED)) == 3


async def past(life: Any, number: int) -> Past:
    return await explain_event(Desk(life.core, EVE), number)


async def test_an_old_decision_is_explained_by_the_policies_of_then(served: Any, rules: Path) -> None:
    (rules / "site.cedar").write_text(OPEN + SHUT)
    async with served() as life:
        run = (await life.run("restarts")).run
        await changed(life, rules, OPEN)
        await life.core.ledger.flushed()
        ((ruling, _),) = life.events(run, Kind.DECISION)
        found = await past(life, ruling.seq)
        assert (found.event, found.decision, found.policies, found.same, found.exact) == (
            ruling.seq,
            "deny",
            ("no",),
            True,
            True,
        )
        assert [rule.name for rule in found.explanation.rules] == ["no"]
        assert ruling_in(await Desk(life.core, EVE).events(run=run, payloads=True), "") == ruling.seq


async def test_what_followed_from_a_ruling_is_explained_by_it(served: Any) -> None:
    async with served() as life:
        run = (await life.run("restarts")).run
        ((intent, _),) = life.events(run, Kind.EFFECT_INTENT)
        found = await past(life, intent.seq)
        assert (found.event, found.decision, found.same) == (intent.cause, "allow", True)
        for number, what in ((0, "no event 0"), (10**6, "no event 1000000"), (1, "follows from no ruling")):
            with pytest.raises(SettingsError, match=what):
                await past(life, number)


async def test_a_ledger_that_says_otherwise_than_its_policies_is_found_out(served: Any, rules: Path) -> None:
    async with served() as life:
        run = (await life.run("restarts")).run
        (ruling, payload) = life.events(run, Kind.DECISION)[-1]
        from dataclasses import fields, replace

        from store.records.event import Draft

        said = {each.name: getattr(ruling, each.name) for each in fields(Draft)}
        forged = life.core.ledger.append(replace(Draft(**said), decision="deny"), payload).event
        await life.core.ledger.flushed()
        assert not (await past(life, forged.seq)).same


async def test_tools_and_models_are_accepted_by_who_starts_a_runtime(served: Any) -> None:
    from runtime.accepting import accept_models, accept_tools

    async with served() as life:
        records = life.core.policing.judge.policy.records
        await life.core.ledger.flushed()
        accepted = recorded(life, Kind.TOOL_ACCEPTED)
        assert {event.tool: event.tool_digest for event, _ in accepted} == {each.name: each.digest for each in records}
        assert {event.principal for event, _ in accepted} == {life.user.name}
        ledger = life.core.ledger
        other = ToolRecord.model_validate({**records[0].model_dump(), "description": "another"})
        accept_tools(ledger, [other, *records[1:]], ANN)
        models = [{"name": "toy", "sha256": "a" * 64}]
        accept_models(ledger, models, ANN)
        await ledger.flushed()
        accept_models(ledger, models, ANN)
        accept_models(ledger, [{"name": "toy", "sha256": "b" * 64}], BOB)
        await ledger.flushed()
        (event, payload) = recorded(life, Kind.TOOL_ACCEPTED)[-1]
        assert (event.principal, event.tool_digest) == ("ann", other.digest)
        assert payload["before"] == records[0].digest
        models_accepted = [(e.principal, e.model_digest[:1]) for e, _ in recorded(life, Kind.MODEL_ACCEPTED)]
        assert models_accepted == [("ann", "a"), ("bob", "b")]


def test_a_change_of_the_inventory_is_another_version(rules: Path) -> None:
    from runtime.gate.inventory import Inventory

    one, other = (Policy.load(rules, (), Inventory.services(names)) for names in (["a"], ["a", "b"]))
    assert one.digest != other.digest
