"""Effects whose middle is lost: asked about, repeated only under the same key, or parked; never done twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runtime.gate.build import Gatehouse
from runtime.gate.call import ToolCall
from runtime.gate.effectful import AGAIN
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import InDoubt, ReplayMismatch
from store.records.event import Draft, Event
from store.records.kinds import Kind
from tools.record import ToolRecord

Make = Callable[..., Gatehouse]
Call = Callable[..., ToolCall]
Recorded = Callable[..., list[tuple[Any, Any]]]
PERMIT_ALL = '@id("all") permit (principal, action, resource);'


@pytest.fixture
def house(gatehouse: Make, policies: Any) -> Gatehouse:
    """A gate that lets everything through, so that only effects are under test."""
    return gatehouse(policies(PERMIT_ALL))


async def test_lost_after_the_effect_the_tool_says_that_it_happened(
    house: Gatehouse, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_after = 1
    result = await house.call(call("ops.restart_service"))
    assert result.value == {"done": "as reconciled"}
    assert (world.attempts, world.effects) == (1, [("restart_service", "r1/1")])
    ((outcome, payload),) = recorded(Kind.EFFECT_OUTCOME)
    assert outcome.decision == "done"
    assert payload["learnt"][1:] == ["ops.effect_status was asked: it happened"]


async def test_lost_before_the_effect_it_is_made_again_under_the_same_key(
    house: Gatehouse, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_before = 2
    assert (await house.call(call("ops.restart_service"))).value == {"done": "restart_service"}
    assert (world.attempts, world.effects) == (3, [("restart_service", "r1/1")])
    _, (_, payload) = recorded(Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME)
    assert payload["learnt"].count(AGAIN) == 2
    assert payload["learnt"][1] == "ops.effect_status was asked: it did not happen"
    assert payload["learnt"][-1] == AGAIN


async def test_what_never_got_through_is_an_error_and_no_doubt(house: Gatehouse, call: Call, world: Any) -> None:
    world.lose_before = 100
    result = await house.call(call("ops.restart_service"))
    assert result.error
    assert world.effects == []


async def test_a_tool_with_a_key_and_nobody_to_ask_is_called_again(
    house: Gatehouse, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_after = 1
    assert (await house.call(call("ops.clear_quota"))).value == {"done": "clear_quota"}
    ((_, payload),) = recorded(Kind.EFFECT_OUTCOME)
    assert payload["learnt"][1:] == ["no tool can be asked what became of it", AGAIN]
    assert (world.attempts, world.effects) == (2, [("clear_quota", "r1/1")])


async def test_a_tool_without_key_or_reconcile_is_never_called_again(
    house: Gatehouse, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_after = 1
    with pytest.raises(InDoubt, match="cannot be asked and takes no key"):
        await house.call(call("ops.poke"))
    with pytest.raises(InDoubt):
        await house.call(call("ops.poke"))
    assert (world.attempts, len(world.effects)) == (1, 1)
    assert len(recorded(Kind.EFFECT_IN_DOUBT)) == 1  # that it still is, is nothing new
    assert recorded(Kind.EFFECT_OUTCOME) == []


async def test_a_read_that_leaves_the_machine_is_an_effect(
    house: Gatehouse, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_after = 1
    with pytest.raises(InDoubt):
        await house.call(call("ops.web_search", {"query": "x"}))
    assert world.attempts == 1
    assert len(recorded(Kind.EFFECT_INTENT)) == 1


@pytest.mark.parametrize("answer", [{}, {"happened": "yes"}, [], "true", {"happened": 1}])
async def test_an_answer_that_makes_no_sense_is_a_doubt(house: Gatehouse, call: Call, world: Any, answer: Any) -> None:
    world.lose_after, world.answers = 1, [answer]
    with pytest.raises(InDoubt, match="makes no sense"):
        await house.call(call("ops.restart_service"))
    assert world.attempts == 1


async def test_an_effect_that_is_still_under_way_is_asked_about_again(house: Gatehouse, call: Call, world: Any) -> None:
    world.lose_after = 1
    world.answers = [{"happened": None}, {"happened": None}]
    assert (await house.call(call("ops.restart_service"))).value == {"done": "as reconciled"}
    assert (world.attempts, world.reads) == (1, 3)


async def test_a_tool_that_never_comes_to_know_is_a_doubt(house: Gatehouse, call: Call, world: Any) -> None:
    world.lose_after = 1
    world.answers = [{"happened": None}] * 3
    with pytest.raises(InDoubt, match="could not say"):
        await house.call(call("ops.restart_service"))
    assert world.attempts == 1


async def test_a_tool_that_cannot_be_reached_to_ask_is_a_doubt_that_can_clear(
    house: Gatehouse, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_after, world.lose_reads = 1, 3
    with pytest.raises(InDoubt, match="could not say, or not be reached"):
        await house.call(call("ops.restart_service"))
    result = await house.call(call("ops.restart_service"))
    assert result.value == {"done": "as reconciled"}
    assert world.attempts == 1
    kinds = [event.kind for event, _ in recorded(Kind.EFFECT_INTENT, Kind.EFFECT_IN_DOUBT, Kind.EFFECT_OUTCOME)]
    assert kinds == ["effect.intent", "effect.in-doubt", "effect.outcome"]


async def test_a_tools_own_error_is_an_outcome(house: Gatehouse, call: Call, recorded: Recorded) -> None:
    result = await house.call(call("ops.refusing", {}))
    assert result.error
    ((outcome, payload),) = recorded(Kind.EFFECT_OUTCOME)
    assert (outcome.decision, payload["error"]) == ("error", True)


async def test_arguments_that_never_left_are_an_outcome(house: Gatehouse, call: Call, world: Any) -> None:
    result = await house.call(call("ops.poke", {"service": "orders", "loudly": True}))
    assert result.error
    assert world.attempts == 0


async def test_an_effect_with_an_outcome_is_never_done_again(
    house: Gatehouse, gatehouse: Make, policies: Any, call: Call, world: Any, recorded: Recorded
) -> None:
    await house.call(call("ops.restart_service"))
    recorded()
    for each in (house, gatehouse(policies(PERMIT_ALL))):
        with pytest.raises(ReplayMismatch, match="has an outcome already"):
            await each.call(call("ops.restart_service"))
    assert world.attempts == 1


async def test_a_next_life_settles_what_the_last_one_began(
    house: Gatehouse, gatehouse: Make, policies: Any, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_after, world.lose_reads = 1, 3
    with pytest.raises(InDoubt):
        await house.call(call("ops.restart_service"))
    recorded()
    heir = gatehouse(policies(PERMIT_ALL))
    intent = heir.effects.intent_of("r1", "1")
    assert intent is not None
    with pytest.raises(ReplayMismatch, match="for another call"):
        await heir.call(call("ops.restart_service", {"service": "gateway"}))
    assert (await heir.effects.settle(call("ops.restart_service"))).value == {"done": "as reconciled"}
    assert heir.effects.intent_of("r1", "1") is None
    assert world.attempts == 1


async def test_there_is_nothing_to_settle_without_an_intent(house: Gatehouse, call: Call, world: Any) -> None:
    with pytest.raises(ReplayMismatch, match="no open intent"):
        await house.effects.settle(call("ops.restart_service"))
    assert world.attempts == 0


async def test_a_tool_that_changed_since_the_intent_is_not_called_again(
    house: Gatehouse, gatehouse: Make, policies: Any, records: Any, call: Call, world: Any, recorded: Recorded
) -> None:
    world.lose_before, world.lose_reads = 1, 3
    with pytest.raises(InDoubt):
        await house.call(call("ops.restart_service"))
    recorded()
    changed = ToolRecord(**{**records["ops.restart_service"].model_dump(), "description": "another one"})
    heir = gatehouse(policies(PERMIT_ALL), records={**records, changed.name: changed}.values())
    with pytest.raises(InDoubt, match="has changed since"):
        await heir.call(call("ops.restart_service", record=changed))
    assert world.attempts == 1


async def test_a_run_that_is_forgotten_keeps_its_open_effects(house: Gatehouse, call: Call, world: Any) -> None:
    world.lose_after = 1
    with pytest.raises(InDoubt):
        await house.call(call("ops.poke"))
    house.forget("r1")
    assert house.effects.intent_of("r1", "1") is not None


class Watched:
    """The real ledger, and what became durable when; nothing is left out or delayed."""

    def __init__(self, ledger: Ledger, log: list[str]) -> None:
        self._ledger = ledger
        self._log = log

    def append(self, draft: Draft, payload: Json = None) -> "WatchedPending":
        """As the ledger's."""
        return WatchedPending(self._ledger.append(draft, payload), self._log)


class WatchedPending:
    """A pending event that says when it has been waited for."""

    def __init__(self, pending: Any, log: list[str]) -> None:
        self._pending = pending
        self._log = log

    @property
    def event(self) -> Event:
        """As the ledger's."""
        event: Event = self._pending.event
        return event

    async def durable(self) -> None:
        """As the ledger's."""
        await self._pending.durable()
        self._log.append(self.event.kind)


async def test_intent_is_on_disk_before_the_call_and_outcome_before_the_result(
    gatehouse: Make, policies: Any, ledger: Ledger, call: Call, world: Any
) -> None:
    log: list[str] = []
    world.on_act = log.append
    await gatehouse(policies(PERMIT_ALL), recorder=Watched(ledger, log)).call(call("ops.restart_service"))
    log.append("result")
    assert log == [Kind.EFFECT_INTENT, "restart_service", Kind.EFFECT_OUTCOME, "result"]


async def test_two_calls_of_one_effect_at_once_make_it_once(house: Gatehouse, call: Call, world: Any) -> None:
    both = await asyncio.gather(
        house.call(call("ops.restart_service")), house.call(call("ops.restart_service")), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in both) == ["ReplayMismatch", "ToolResult"]
    assert world.attempts == 1
