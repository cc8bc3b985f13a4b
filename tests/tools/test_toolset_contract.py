"""What holds for every Toolset. A new kind of toolset joins by one more case here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from store.records.canonical import Json, canonical
from store.records.errors import Timeout, ToolFailed, Unreachable
from tools.catalog import Server
from tools.functions import FunctionToolset
from tools.mcp.toolset import McpToolset
from tools.opslab.lab import Opslab
from tools.record import ToolRecord
from tools.toolset import Outcome, Toolset

Call = tuple[str, dict[str, Json]]


@dataclass
class Case:
    """A toolset and calls that are known to end well, in an error of the tool's own, and late (limit in seconds)."""

    toolset: Toolset
    good: Call
    failing: Call
    late: Call
    limit_s: float


def functions() -> Case:
    """Functions of this process."""
    toolset = FunctionToolset("lab")

    @toolset.tool(effect="read", egress=False, irreversible=False)
    def double(number: int) -> dict[str, int]:
        """Twice the number."""
        return {"double": 2 * number}

    @toolset.tool()
    def refuse() -> None:
        """Says no."""
        raise ToolFailed("not today")

    @toolset.tool()
    async def sleep() -> None:
        """Takes long."""
        await asyncio.sleep(60)

    return Case(toolset, ("lab.double", {"number": 2}), ("lab.refuse", {}), ("lab.sleep", {}), 0.1)


@pytest.fixture(params=["functions", "opslab", "awkward"])
async def case(
    request: pytest.FixtureRequest, shared_lab: Opslab, awkward: Callable[..., Server]
) -> AsyncIterator[Case]:
    """Every kind of toolset, closed at the end."""
    if request.param == "functions":
        made = functions()
    elif request.param == "opslab":
        toolset = McpToolset("ops", shared_lab.catalog().server["ops"])
        refused = ("ops.rollback_config", {"service": "gateway", "key": "contract"})
        made = Case(toolset, ("ops.list_services", {}), refused, ("ops.check_health", {}), 0.0001)
    else:
        made = Case(McpToolset("odd", awkward()), ("odd.echo", {"text": "a"}), ("odd.fail", {}), ("odd.hang", {}), 0.1)
    yield made
    await made.toolset.close()


async def test_its_records_have_names_of_their_own_and_digests(case: Case) -> None:
    await case.toolset.open()
    records = await case.toolset.records()
    assert len({record.name for record in records}) == len(records) > 0
    assert all(len(record.digest) == 64 and record.input_schema["type"] == "object" for record in records)
    assert {case.good[0], case.failing[0], case.late[0]} <= {record.name for record in records}


async def test_its_records_stay_the_same_while_it_is_open(case: Case) -> None:
    await case.toolset.open()
    before = [record.digest for record in await case.toolset.records()]
    await case.toolset.call(*case.good, 60)
    assert [record.digest for record in await case.toolset.records()] == before


async def test_a_good_call_answers_json(case: Case) -> None:
    await case.toolset.open()
    outcome = await case.toolset.call(*case.good, 60)
    assert not outcome.error
    assert canonical(outcome.value)
    assert isinstance(outcome.value, dict)


async def test_what_the_tool_says_is_wrong_is_an_outcome_not_an_exception(case: Case) -> None:
    await case.toolset.open()
    outcome = await case.toolset.call(*case.failing, 60)
    assert outcome.error
    assert isinstance(outcome.value, str)
    assert outcome.value


async def test_an_unknown_tool_fails(case: Case) -> None:
    await case.toolset.open()
    with pytest.raises(ToolFailed, match="no such tool"):
        await case.toolset.call("no.such", {}, 60)


async def test_a_late_call_times_out_and_the_next_is_answered(case: Case) -> None:
    await case.toolset.open()
    with pytest.raises(Timeout, match="did not answer in"):
        await case.toolset.call(*case.late, case.limit_s)
    assert not (await case.toolset.call(*case.good, 60)).error


async def test_calls_may_overlap(case: Case) -> None:
    await case.toolset.open()
    outcomes = await asyncio.gather(*(case.toolset.call(*case.good, 60) for _ in range(8)))
    assert outcomes == [Outcome(outcomes[0].value)] * 8


async def test_a_cancelled_call_leaves_the_toolset_usable(case: Case) -> None:
    await case.toolset.open()
    task = asyncio.create_task(case.toolset.call(*case.good, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (await case.toolset.call(*case.good, 60)).error


async def test_it_can_be_opened_twice_and_closed_twice_and_calls_nothing_when_closed(case: Case) -> None:
    await case.toolset.open()
    await case.toolset.open()
    await case.toolset.close()
    await case.toolset.close()
    with pytest.raises((ToolFailed, Unreachable)):
        await case.toolset.call(*case.good, 60)


def test_what_nobody_classified_is_a_write_that_leaves_and_cannot_be_undone() -> None:
    toolset = FunctionToolset("lab")
    toolset.tool()(lambda_like)
    (record,) = asyncio.run(toolset.records())
    assert not record.local_read
    assert (record.effect.value, record.egress, record.irreversible) == ("write", True, True)
    assert isinstance(record, ToolRecord)


def lambda_like() -> None:
    """Does nothing."""
