"""No sequence of answers, drifts, expiries, crashes and grants runs an effect that nobody approved, as policy asks."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from runtime.gate.terms import Terms
from runtime.gateway.messages import Answer, GrantSpec, Submission
from store.records.errors import BailiwickError
from store.records.identity import User
from store.records.kinds import Kind
from tools.functions import FunctionToolset
from tools.record import ToolRecord

from .conftest import Site, a_life, toolset

PEOPLE = {
    name: User(name, 2000 + number, "local", "ops", ("requester", "approver"))
    for number, name in enumerate(("ann", "bob", "carl"))
}
SITES = {
    "one": ('@id("approval:x")', Terms()),
    "two": ('@id("approval:x") @approvers("2")', Terms(2)),
    "others": ('@id("approval:x") @approvers("2") @distinct("requester")', Terms(2, True)),
}
NAMES = st.sampled_from(sorted(PEOPLE))
ANSWERS = st.tuples(
    st.just("answer"), NAMES, st.sampled_from([True, True, True, False]), st.sampled_from([True, False])
)
YES = st.tuples(st.just("answer"), NAMES, st.just(True), st.just(True))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.sampled_from(["a", "b"])),
        ANSWERS,
        YES,
        YES,
        st.tuples(st.just("grant"), NAMES, st.sampled_from(["a", "b"]), st.integers(1, 2)),
        st.tuples(st.just("revoke"), st.integers(0, 2)),
        st.tuples(st.just("restart"), st.sampled_from(sorted(SITES)), st.booleans()),
        st.tuples(st.just("expire")),
        st.tuples(st.just("leave"), NAMES),
    ),
    min_size=3,
    max_size=9,
)
RUN = ("run", "a")


def says(who: str) -> tuple[Any, ...]:
    """Somebody's yes to what waits, as it was shown to them."""
    return ("answer", who, True, True)


@dataclass
class World:
    """What happened, and by our own account what was said: who agreed to which binding, and which grants stood."""

    site: Site
    known: set[str] = field(default_factory=lambda: set(PEOPLE))
    said: dict[str, set[str]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    grants: list[dict[str, Any]] = field(default_factory=list)


def moving(what: str) -> Workflow:
    """A workflow that moves something."""

    async def function(run: Run) -> str:
        run.stage("ops.move", what=what, to="b")
        await run.review()
        await run.commit()
        return "done"

    return Workflow(f"move_{what}", 1, function, None, ())


FLOWS = (moving("a"), moving("b"))


def updated(site: Site) -> FunctionToolset:
    """The site's tools after an update of their server: the same tools, of another version."""
    tools = toolset(site)
    tools._records = {
        name: ToolRecord(**{**record.model_dump(), "version": "2"}) for name, record in tools._records.items()
    }
    return tools


async def settled(life: Any) -> None:
    """Let every run get as far as it gets by itself."""
    still = 0
    while still < 5:  # a run that was just submitted is driven a moment later
        await asyncio.sleep(0.004)
        waiting = {each.run for each in await life.core.waiting()}
        still = still + 1 if set(life.core.conductor.tasks) <= waiting else 0
    await life.core.ledger.flushed()


async def carry_out(life: Any, world: World, step: tuple[Any, ...]) -> None:
    """One step that is no restart. What the runtime refuses is nothing that was said."""
    match step:
        case ("run", what):
            await life.core.submit(Submission(task="a task", workflow=f"move_{what}"), PEOPLE["ann"])
        case ("answer", who, yes, right):
            for view in (await life.core.waiting())[:1]:
                digest = view.digest[:8] if right else "0" * 8
                answer = Answer(approval=view.approval, yes=yes, digest=digest)
                with contextlib.suppress(BailiwickError):
                    await life.core.answer(answer, PEOPLE[who])
                    if not yes:
                        world.refused.add(view.digest)
                    elif right:  # a yes by another digest is nobody's word, even if it were taken
                        world.said.setdefault(view.digest, set()).add(who)
        case ("grant", who, what, times):
            until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
            spec = GrantSpec(tool="ops.move", arguments={"what": (what,), "to": ("b",)}, until=until, times=times)
            view = await life.core.propose_grant(spec, PEOPLE[who])
            saved = await life.core.add_grant(spec, view.digest[:8], PEOPLE[who])
            bound = {"policy": saved.grant["policy_digest"], "tool": saved.grant["tool_digest"]}
            world.grants.append({"id": saved.id, "who": who, "what": what, "times": times, "until": None, **bound})
        case ("revoke", number):
            for grant in world.grants[number : number + 1]:
                with contextlib.suppress(BailiwickError):
                    await life.core.revoke_grant(grant["id"], "", PEOPLE["bob"])
                    grant["until"] = life.core.ledger.last_seq()
        case ("expire",):
            for entry in list(life.core.approvals.waiting.values()):
                entry.expiry_s = 0.0
                world.refused.add(entry.suspended.binding)
                entry.age = replace(entry.age, lead=1e6)
                with contextlib.suppress(BailiwickError):
                    await life.core.approvals._take(entry, "expiry", False, "")
        case ("leave", who):
            world.known.discard(who)
            life.core.approvals.gate.people.knows = lambda name, _: name in world.known
    await settled(life)


def check(life: Any, world: World, terms: dict[str, Terms]) -> None:
    """Every effect that the world has seen had the yes of as many people as its policy asked for, by our account."""
    ledger = life.core.ledger
    requests = {
        (event.run, event.step, event.fingerprint): event
        for event in ledger.events(limit=10_000, kinds=[Kind.APPROVAL_REQUESTED])
    }
    intents = ledger.events(limit=10_000, kinds=[Kind.EFFECT_INTENT])
    uses = ledger.events(limit=10_000, kinds=[Kind.GRANT_USED])
    keys = [key for _, key, _ in world.site.effects()]
    assert len(keys) == len(set(keys)) <= len(intents)
    for intent in intents:
        what = ledger.payload(intent.payload)["arguments"]["what"]
        asked = [
            event
            for (run, step, _), event in requests.items()
            if (run, step) == (intent.run, intent.step)
            and (event.policy_digest, event.tool_digest) == (intent.policy_digest, intent.tool_digest)
        ]
        names = set()
        for request in asked:
            assert request.fingerprint not in world.refused
            names |= world.said.get(request.fingerprint, set())
            for use in uses:
                if use.fingerprint == request.fingerprint and use.seq < intent.seq:
                    grant = next(each for each in world.grants if each["id"] == use.decision)
                    assert grant["what"] == what
                    assert (grant["policy"], grant["tool"]) == (intent.policy_digest, intent.tool_digest)
                    assert grant["until"] is None or use.seq < grant["until"]
                    names.add(grant["who"])
        wanted = terms[intent.policy_digest]
        counted = names - ({"ann"} if wanted.distinct else set())
        assert len(counted) >= wanted.approvers, f"only {sorted(names)} agreed to {intent.run}"
    for grant in world.grants:
        used = {use.fingerprint for use in uses if use.decision == grant["id"]}
        assert len(used) <= grant["times"]


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example(first="others", steps=[RUN, says("ann"), says("bob")])  # who asked is none of the two
@example(first="two", steps=[RUN, says("bob"), says("bob"), ("restart", "two", False), says("bob")])
@example(first="one", steps=[("grant", "bob", "a", 1), RUN, RUN, ("restart", "one", False), RUN])
@example(first="one", steps=[("grant", "bob", "a", 2), ("revoke", 0), RUN, ("restart", "one", False), RUN])
@example(first="one", steps=[("grant", "bob", "a", 2), ("restart", "one", True), RUN, ("restart", "two", False), RUN])
@example(first="others", steps=[("grant", "ann", "a", 2), RUN, says("bob")])
@example(first="one", steps=[RUN, ("answer", "bob", True, False)])
@example(first="one", steps=[RUN, ("answer", "bob", True, False), ("leave", "bob"), says("bob")])
@example(first="two", steps=[RUN, says("bob"), ("restart", "two", True), says("carl"), ("restart", "others", True)])
@example(first="two", steps=[RUN, says("bob"), ("expire",), says("carl"), ("restart", "two", False), says("carl")])
@given(first=st.sampled_from(sorted(SITES)), steps=STEPS)
def test_no_sequence_runs_what_was_not_approved(
    tmp_path_factory: pytest.TempPathFactory, agents: Any, first: str, steps: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_lives(tmp_path_factory.mktemp("site"), agents, first, steps))


async def _lives(folder: Path, agents: Any, first: str, steps: list[tuple[Any, ...]]) -> None:
    """One core after another on one site, under a policy and tools that may be others each time."""
    site = Site(folder / "data")
    world, terms = World(site), {}
    left, policy, other = list(steps), first, False
    while True:
        rules = folder / policy
        rules.mkdir(mode=0o700, exist_ok=True)
        annotated, wanted = SITES[policy]
        (rules / "site.cedar").write_text(
            '@id("all") permit (principal, action, resource);\n'
            f'{annotated} forbid (principal, action == Action::"ops.move", resource);'
        )
        async with a_life(site, agents, *FLOWS, policy=str(rules), tools=updated if other else toolset) as life:
            people = life.core.approvals.gate.people
            people.knows, people.sole = (lambda name, _: name in world.known), ""
            terms[life.core.approvals.gate.policy.digest] = wanted
            await life.core.resume()
            await settled(life)
            while left and left[0][0] != "restart":
                await carry_out(life, world, left.pop(0))
            check(life, world, terms)
            if not left:
                return
            _, policy, other = left.pop(0)


@pytest.mark.parametrize(
    ("first", "steps", "effects"),
    [
        ("others", [RUN, says("bob"), says("carl")], 1),
        ("two", [RUN, says("ann"), ("restart", "two", False), says("carl")], 1),
        ("one", [("grant", "bob", "a", 1), RUN, RUN], 1),
        ("one", [("grant", "bob", "a", 2), ("restart", "one", False), RUN, RUN], 2),
    ],
)
async def test_what_was_approved_is_run(
    tmp_path: Path, agents: Any, first: str, steps: list[tuple[Any, ...]], effects: int
) -> None:
    await _lives(tmp_path, agents, first, steps)
    assert len(Site(tmp_path / "data").effects()) == effects
