"""The parts the gate's tests share: a real ledger, a real tool host over tools that count what they did, real calls."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.gate.budgets import Budgets
from runtime.gate.build import Gatehouse, build
from runtime.gate.call import ToolCall
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from store.ledger.ledger import Ledger
from store.ledger.usage import allowed, charged, usage
from store.records.canonical import Json
from store.records.errors import ToolFailed
from store.records.event import Draft, Event
from store.records.identity import Agent, Principal, User
from store.records.kinds import Kind
from store.records.labels import trusted
from tools.functions import FunctionToolset
from tools.host import ToolHost
from tools.record import OutputLabel, ToolRecord

ALICE = User("alice", 1000, "local", "ops", ("requester",))
SERVICES = ("gateway", "inventory", "orders")


class World:
    """What the tools act on: the calls that took effect, by key; and how the next calls are to go wrong."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, str]] = []
        self.attempts = 0
        self.reads = 0
        self.lose_before = 0
        self.lose_after = 0
        self.lose_reads = 0
        self.answers: list[Json] = []
        self.on_act: Callable[[str], None] = lambda _tool: None

    def act(self, tool: str, key: str) -> dict[str, str]:
        """Take effect once for a key; get lost before or after, if told to."""
        self.attempts += 1
        self.on_act(tool)
        if self.lose_before:
            self.lose_before -= 1
            raise ConnectionResetError
        if key not in [done for _, done in self.effects] or not key:
            self.effects.append((tool, key))
        if self.lose_after:
            self.lose_after -= 1
            raise ConnectionResetError
        return {"done": tool}

    def ask(self, key: str) -> Json:
        """Whether the effect under a key happened."""
        self.reads += 1
        if self.lose_reads:
            self.lose_reads -= 1
            raise ConnectionResetError
        if self.answers:
            return self.answers.pop(0)
        happened = key in [done for _, done in self.effects]
        return {"happened": happened, "result": {"done": "as reconciled"} if happened else None}


def toolset(world: World) -> FunctionToolset:
    """Tools named as opslab's, with every way of being classified that the gate tells apart."""
    tools = FunctionToolset("ops")
    local: dict[str, Any] = {"egress": False, "irreversible": False}

    @tools.tool(effect="read", target="service", **local, output_label=OutputLabel(classification="internal"))
    def read_logs(service: str) -> dict[str, str]:
        world.reads += 1
        return {"lines": service}

    @tools.tool(effect="read", **local, output_label=OutputLabel(classification="secret", integrity="blessed"))
    def odd_labels() -> str:
        return "x"

    @tools.tool(effect="read", **local, output_label=OutputLabel(classification="public", integrity="trusted"))
    def failing_read() -> str:
        raise ToolFailed("no")

    @tools.tool(effect="read", **local)
    def effect_status(key: str) -> Any:
        return world.ask(key)

    @tools.tool(**local, target="service", key_argument="key", reconcile="ops.effect_status")
    def restart_service(service: str, key: str, ticket: str = "") -> Any:
        return world.act("restart_service", key)

    @tools.tool(**local, target="service", key_argument="key", reconcile="ops.effect_status")
    def rollback_config(service: str, key: str) -> Any:
        return world.act("rollback_config", key)

    @tools.tool(**local, target="service", key_argument="key")
    def clear_quota(service: str, key: str) -> Any:
        return world.act("clear_quota", key)

    @tools.tool(**local, target="service")
    def poke(service: str) -> Any:
        return world.act("poke", "")

    @tools.tool(egress=False, irreversible=True, key_argument="key")
    def page_on_call(message: str, key: str) -> Any:
        return world.act("page_on_call", key)

    @tools.tool(target="to", key_argument="key")
    def send_mail(to: str, body: str, key: str) -> Any:
        return world.act("send_mail", key)

    @tools.tool(effect="read", egress=True, irreversible=False)
    def web_search(query: str) -> Any:
        return world.act("web_search", "")

    @tools.tool(**local, key_argument="key")
    def refusing(key: str) -> Any:
        raise ToolFailed("not today")

    return tools


@pytest.fixture
def world() -> World:
    """A world in which nothing has happened."""
    return World()


@pytest.fixture
async def host(world: World) -> AsyncIterator[ToolHost]:
    """The real tool host."""
    opened = ToolHost()
    await opened.open([], [toolset(world)])
    yield opened
    await opened.close()


@pytest.fixture
def records(host: ToolHost) -> Mapping[str, ToolRecord]:
    """The records of the host's tools, by name."""
    return host.records()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A real ledger on disk."""
    with Ledger.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def policies(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a policy file and says where it is."""

    def write(text: str, name: str = "site.cedar") -> Path:
        folder = tmp_path / "policies"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        return folder

    return write


@pytest.fixture
def gatehouse(host: ToolHost, records: Mapping[str, ToolRecord], ledger: Ledger) -> Callable[..., Gatehouse]:
    """Builds a gate over all of these, under `lab` unless told otherwise."""

    def make(policy: str | Path = "lab", **changes: Any) -> Gatehouse:
        known: dict[str, Any] = {
            "records": records.values(),
            "host": host,
            "recorder": ledger,
            "budgets": Budgets(),
            "epoch": ledger.epoch,
            "knows": lambda name, _: name == "bob",
            "patience_s": (0.0, 0.0),
        } | changes
        house = build(judge=Policy.load(policy, known["records"], Inventory.services(SERVICES)), **known)
        begin = house.budgets.calendar.begin
        used = usage(ledger.reader, begin("day"), begin("month"))
        house.budgets.book(used, allowed(ledger.reader), charged(ledger.reader))
        house.replay(ledger.reader.unsettled())
        return house

    return make


@pytest.fixture
def call(records: Mapping[str, ToolRecord]) -> Callable[..., ToolCall]:
    """Makes a call of a tool, by the worker for alice, reviewed if it is no local read."""

    def make(tool: str, arguments: dict[str, Json] | None = None, step: str = "1", **changes: Any) -> ToolCall:
        record = records[tool]
        made = ToolCall(
            run="r1",
            step=step,
            record=record,
            arguments={"service": "orders"} if arguments is None else arguments,
            principal=Principal(ALICE, Agent("worker", "1")),
            labels=trusted("local", "user"),
            workflow="triage",
            workflow_version=1,
            key="" if record.local_read else f"r1/{step}",
            reviewed=not record.local_read,
        )
        return replace(made, **changes)

    return make


@pytest.fixture
def recorded(ledger: Ledger) -> Callable[..., list[tuple[Event, Json]]]:
    """The events of some kinds that are on disk, with their payloads."""

    def read(*kinds: Kind) -> list[tuple[Event, Json]]:
        last = ledger.append(_note())
        last.wait(30)
        found = ledger.events(limit=100_000, kinds=kinds)
        return [(event, ledger.payload(event.payload) if event.payload else None) for event in found]

    return read


def _note() -> Draft:
    return Draft(kind=Kind.NOTE, tenant="local", actor="test", actor_version="1")
