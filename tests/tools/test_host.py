"""The tool host: one core at a time, arguments and results that fit, keys that only the runtime sets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from store.records.canonical import Json
from store.records.errors import SettingsError
from tools.catalog import Catalog, Server
from tools.functions import FunctionToolset
from tools.host import BadArguments, StaleEpoch, ToolHost
from tools.opslab.lab import Opslab
from tools.record import ToolRecord
from tools.results import BadResult
from tools.toolset import Outcome, Toolset


class Liar(Toolset):
    """Promises one thing in its schema and answers another."""

    async def open(self) -> None:
        """Nothing to start."""

    async def records(self) -> list[ToolRecord]:
        """One tool that promises a number."""
        promise = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        return [ToolRecord(name="liar.number", output_schema=promise)]

    async def call(self, name: str, arguments: dict[str, Json], timeout_s: float) -> Outcome:
        """Not a number."""
        return Outcome({"n": "hunter2"})

    async def close(self) -> None:
        """Nothing to stop."""


@pytest.fixture
async def host() -> AsyncIterator[ToolHost]:
    """A host of functions and a liar."""
    toolset = FunctionToolset("lab")

    @toolset.tool(key_argument="key", timeout_s=5)
    def stop(service: str, key: str) -> dict[str, str]:
        return {"service": service, "key": key}

    @toolset.tool(effect="read", egress=False, irreversible=False)
    def look(at: int) -> dict[str, int]:
        return {"at": at}

    opened = ToolHost()
    await opened.open([], [toolset, Liar()])
    yield opened
    await opened.close()


async def test_the_key_is_put_where_the_tool_takes_it(host: ToolHost) -> None:
    outcome = await host.call("lab.stop", {"service": "a"}, "run/1", 60, 1)
    assert outcome.value == {"service": "a", "key": "run/1"}
    assert (await host.call("lab.look", {"at": 3}, "", 60, 1)).value == {"at": 3}


@pytest.mark.parametrize(
    ("tool", "arguments", "key", "says"),
    [
        ("lab.none", {}, "", "no such tool"),
        ("lab.stop", {"service": 7}, "k", "service breaks the rule type"),
        ("lab.stop", {}, "k", "required"),
        ("lab.stop", {"service": "a", "more": 1}, "k", "additionalProperties"),
        ("lab.stop", {"service": "a", "key": "mine"}, "k", "the runtime's to set"),
        ("lab.stop", {"service": "a"}, "", "needs an idempotency key"),
        ("lab.stop", {"service": "x" * 300_000}, "k", "more than 256 KiB"),
        ("lab.stop", {"service": float("nan")}, "k", "not JSON"),
        ("lab.stop", {"service": {1, 2}}, "k", "not JSON"),
    ],
)
async def test_arguments_that_do_not_fit_never_leave(
    host: ToolHost, tool: str, arguments: dict[str, Any], key: str, says: str
) -> None:
    with pytest.raises(BadArguments, match=says):
        await host.call(tool, arguments, key, 60, 1)


async def test_an_error_names_the_rule_and_never_the_value(host: ToolHost) -> None:
    with pytest.raises(BadArguments) as caught:
        await host.call("lab.look", {"at": "hunter2"}, "", 60, 1)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(BadResult) as lied:
        await host.call("liar.number", {}, "", 60, 1)
    assert "n breaks the rule type integer" in str(lied.value)
    assert "hunter2" not in str(lied.value)


async def test_an_older_core_is_refused_once_a_newer_one_has_called(host: ToolHost) -> None:
    await host.call("lab.look", {"at": 1}, "", 60, 4)
    await host.call("lab.look", {"at": 1}, "", 60, 5)
    with pytest.raises(StaleEpoch, match="epoch 4 is over"):
        await host.call("lab.look", {"at": 1}, "", 60, 4)
    assert (await host.call("lab.look", {"at": 2}, "", 60, 5)).value == {"at": 2}


async def test_what_an_older_core_began_has_ended_before_it_is_asked_about_or_repeated() -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), list[str]()
    toolset = FunctionToolset("lab")

    @toolset.tool(key_argument="key", reconcile="lab.status")
    async def pay(key: str) -> int:
        begun.set()
        await go.wait()
        done.append(key)
        return len(done)

    @toolset.tool(effect="read", egress=False, irreversible=False)
    async def status(key: str) -> dict[str, bool]:
        return {"happened": key in done}

    @toolset.tool(effect="read", egress=False, irreversible=False)
    async def look() -> int:
        return len(done)

    host = ToolHost()
    await host.open([], [toolset])
    first = asyncio.create_task(host.call("lab.pay", {}, "run/1", 60, 1))
    await begun.wait()
    assert (await host.call("lab.status", {"key": "run/1"}, "", 60, 1)).value == {"happened": False}, (
        "its own core asks"
    )
    asked = asyncio.create_task(host.call("lab.status", {"key": "run/1"}, "", 60, 2))
    again = asyncio.create_task(host.call("lab.pay", {}, "run/1", 60, 2))
    assert (await host.call("lab.look", {}, "", 60, 2)).value == 0, "others need not wait"
    go.set()
    assert (await asked).value == {"happened": True}
    assert [(await first).value, (await again).value] == [1, 2]
    await host.close()


async def test_a_schema_that_refers_elsewhere_fetches_nothing(awkward: Callable[..., Server]) -> None:
    host = ToolHost()
    await host.open([Catalog(server={"odd": awkward()})])
    with pytest.raises(BadArguments, match="refers to what is not in it"):
        await host.call("odd.remote", {"text": "x"}, "k", 60, 1)
    await host.close()


async def test_a_pattern_that_would_backtrack_for_years_holds_nobody_up(awkward: Callable[..., Server]) -> None:
    host = ToolHost()
    await host.open([Catalog(server={"odd": awkward("slow-pattern")})])
    with pytest.raises(BadArguments, match="text breaks the rule pattern"):
        await host.call("odd.slow", {"text": "a" * 5_000 + "!"}, "k", 60, 1)
    with pytest.raises(BadResult, match="text breaks the rule pattern"):
        await host.call("odd.slow", {"text": "aaa"}, "k", 60, 1)
    await host.close()


async def test_toolsets_that_contradict_each_other_are_refused(awkward: Callable[..., Server]) -> None:
    catalog = Catalog(server={"odd": awkward()})
    with pytest.raises(SettingsError, match="name a server alike"):
        await ToolHost().open([catalog, catalog])
    twin, other = FunctionToolset("lab"), FunctionToolset("lab")
    for toolset in (twin, other):
        toolset.tool()(nothing)
    with pytest.raises(SettingsError, match="a tool of one name"):
        await ToolHost().open([], [twin, other])
    dangling = FunctionToolset("lab")
    dangling.tool(reconcile="lab.nobody")(nothing)
    with pytest.raises(SettingsError, match=r"nobody offers the tool lab\.nobody"):
        await ToolHost().open([], [dangling])
    writes = FunctionToolset("lab")
    writes.tool(reconcile="lab.nothing")(nothing)
    with pytest.raises(SettingsError, match="is no local read"):
        await ToolHost().open([], [writes])


def nothing() -> None:
    """Does nothing."""


async def test_one_server_that_does_not_start_leaves_none_running(shared_lab: Opslab) -> None:
    broken = Catalog.model_validate({"server": {"bad": {"command": ["/nowhere/at-all"]}}})
    host = ToolHost()
    with pytest.raises(Exception, match="no program"):
        await host.open([shared_lab.catalog(), broken])
    assert host.records() == {}
