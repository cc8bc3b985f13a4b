"""The decorator, the values, and FakeRun: an author's side of the contract."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from bailiwick import Denied, FakeRun, ModelFailed, Planned, Receipt, Run, Work, workflow
from runtime.contract.values import Record, record
from store.records.errors import SettingsError, Timeout, ToolFailed


class Incident(BaseModel):
    """An input."""

    service: str


@workflow("flow", version=3)
async def flow(run: Run, incident: Incident) -> str:
    """Says which service
    it is about.

    And more that a router need not read.
    """
    return incident.service


def test_what_the_decorator_keeps() -> None:
    assert (flow.name, flow.version, flow.input) == ("flow", 3, Incident)
    assert flow.description == "Says which service it is about."
    assert len(flow.source_digest) == 64
    assert asyncio.run(flow(FakeRun(), Incident(service="orders"))) == "orders"


def test_what_is_no_workflow() -> None:
    def plain(run: Run) -> None:
        """Not async."""

    async def three(run: Run, one: int, two: int) -> None:
        """Too many inputs."""

    async def fine(run: Run) -> None:
        """Fine."""

    with pytest.raises(SettingsError, match="not an async def"):
        workflow("w")(plain)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="at most one input"):
        workflow("w")(three)
    with pytest.raises(SettingsError, match="version 0"):
        workflow("w", version=0)(fine)


def test_results_can_be_read_as_attributes() -> None:
    value = record({"ok": True, "deep": [{"name": "x"}], "items": 3})
    assert value.ok
    assert value.deep[0].name == "x"
    assert value == {"ok": True, "deep": [{"name": "x"}], "items": 3}
    with pytest.raises(AttributeError, match="it has ok, deep, items"):
        _ = value.missing
    with pytest.raises(AttributeError, match="it has none"):
        _ = Record().missing


def refuse(**_: Any) -> Any:
    raise AssertionError("the world must not be touched")


async def test_a_fake_run_commits_only_what_was_reviewed() -> None:
    run = FakeRun(world={"x.act": refuse})
    run.stage("x.act")
    with pytest.raises(Denied, match="not reviewed"):
        await run.commit()
    await run.review()
    run.stage("x.act")
    with pytest.raises(Denied, match="not reviewed"):
        await run.commit()
    await run.review()
    run.discard()
    with pytest.raises(Denied, match="not reviewed"):
        await run.commit()


async def test_a_fake_run_says_no_as_it_is_told() -> None:
    run = FakeRun(world={"x.act": refuse}, approve=False)
    run.stage("x.act")
    with pytest.raises(ModelFailed):
        await run.review()
    run.approve, run.allow = True, False
    await run.review()
    with pytest.raises(Denied, match="FakeRun denies"):
        await run.commit()
    assert run.committed == []


async def test_a_fake_run_fills_references() -> None:
    run = FakeRun(world={"x.open": lambda: {"id": "T1"}, "x.tell": lambda ref: {"told": ref}})
    ticket = run.stage("x.open")
    run.stage("x.tell", ref=ticket.ref("id"))
    await run.review()
    assert [receipt.result for receipt in await run.commit()] == [{"id": "T1"}, {"told": "T1"}]
    assert run.staged == []


async def test_a_fake_run_answers_in_turn_and_says_what_it_lacks() -> None:
    run = FakeRun(answers=[{"service": "orders"}, {"service": 3}, "b", "z", ModelFailed("no"), "no work"])
    assert (await run.ask(Incident, "?")).service == "orders"
    with pytest.raises(ModelFailed, match="does not fit"):
        await run.ask(Incident, "?")
    assert await run.route({"a": "", "b": ""}) == "b"
    with pytest.raises(ModelFailed, match="not among"):
        await run.route({"a": ""})
    with pytest.raises(ModelFailed, match="no"):
        await run.work("goal", tools=())
    with pytest.raises(SettingsError, match="needs a Work"):
        await run.work("goal", tools=())
    with pytest.raises(SettingsError, match="no answer left"):
        await run.ask(Incident, "?")
    with pytest.raises(SettingsError, match=r"no tool 'x\.read'"):
        await run.call("x.read")


async def test_a_fake_runs_time_and_memory_are_its_own() -> None:
    run = FakeRun(answers=[Work("done")])
    before = await run.now()
    await run.sleep(90)
    assert ((await run.now()) - before).total_seconds() == 90
    await run.remember("a text", {"tag": "x"})
    (found,) = await run.recall("anything")
    assert (found.text, found.tags.tag) == ("a text", "x")
    assert await run.step(lambda number: [number], 3) == [3]
    assert await run.gather(run.uuid, run.uuid) != []
    assert 0 <= await run.random() < 1
    run.emit("hello")
    assert run.emitted == ["hello"]


async def test_a_fake_run_stops_at_its_limit_whatever_it_loops() -> None:
    async def naps() -> None:
        while True:
            run.stage("x.act")
            await run.sleep(7)

    run = FakeRun()
    before = run.clock
    with pytest.raises(Timeout, match="within 60 s"):
        await run.limit(60, naps)
    with pytest.raises(Timeout, match="within 30 s"):
        await run.limit(90, lambda: run.limit(30, naps))
    assert (run.clock - before).total_seconds() == 90
    assert run.staged == []
    assert (await run.limit(5, lambda: run.first(naps, lambda: run.sleep(1))))[0] == 1
    await run.gather(lambda: run.sleep(10), lambda: run.sleep(20))
    assert (run.clock - before).total_seconds() == 111


async def test_a_fake_commit_that_fails_keeps_nothing_staged() -> None:
    def fails() -> Any:
        raise ToolFailed("not today")

    run = FakeRun(world={"x.open": lambda: {"id": "T1"}, "x.fail": fails})
    run.stage("x.open")
    run.stage("x.fail")
    await run.review()
    with pytest.raises(ToolFailed, match="not today"):
        await run.commit()
    assert [receipt.tool for receipt in run.committed] == ["x.open"]
    assert run.staged == []


def test_a_constant_is_plain_json() -> None:
    assert FakeRun().const({"to": ["ops"]}) == {"to": ["ops"]}
    with pytest.raises(SettingsError, match="plain JSON"):
        FakeRun().const({1, 2})


async def test_a_fake_plan_comes_to_what_the_test_says() -> None:
    receipt = Receipt("1", "x.act", "fake/1", {"done": True})
    planned = Planned("0" * 64, {"v1": {"lines": ["a"]}}, (receipt,))
    run = FakeRun(answers=[planned, planned, planned, Work("done"), ModelFailed("no plan")])
    found = await run.plan("Do it.", tools=("x.act",))
    assert found.values["v1"].lines == ["a"]
    assert run.committed == [receipt]
    with pytest.raises(SettingsError, match=r"not given the tool 'x\.act'"):
        await run.plan("Do it.", tools=("x.read",))
    run.approve = False
    with pytest.raises(ModelFailed, match="the reviewer said no"):
        await run.plan("Do it.", tools=("x.act",))
    with pytest.raises(SettingsError, match="needs a Planned"):
        await run.plan("Do it.", tools=("x.act",))
    with pytest.raises(ModelFailed, match="no plan"):
        await run.plan("Do it.", tools=("x.act",))
    run.approve, run.allow, run.answers = True, False, [planned]
    with pytest.raises(Denied):
        await run.plan("Do it.", tools=("x.act",))
    assert run.committed == [receipt]
