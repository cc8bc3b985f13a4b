"""No sequence of calls, crashes at any point and restarts does what it must not: overspend a budget, run an unapproved
effect, run one twice, lower a label. By our own account of what was asked for and approved."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtime.budgeting import budgets_of
from runtime.crashpoints import CrashPoint
from runtime.gate import effectful
from runtime.gate.build import Gatehouse, build
from runtime.gate.call import Approval, ToolCall, ToolResult
from runtime.gate.inventory import Inventory
from runtime.gate.policy import Policy
from runtime.settings import Settings
from store.ledger.ledger import Ledger
from store.records.errors import BailiwickError
from store.records.identity import Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from tools.functions import FunctionToolset
from tools.host import ToolHost

LIMIT = 3
LOCAL: dict[str, Any] = {"egress": False, "irreversible": False}
POINTS = (None, *CrashPoint)


class Died(BaseException):
    """The power is gone."""


@dataclass(frozen=True)
class Ask:
    """A call that somebody makes, with an approval of some kind, in a runtime that may die at a point of it."""

    tool: str
    step: int
    approval: str = "none"
    reviewed: bool = True
    point: CrashPoint | None = None
    labels: Labels = field(default_factory=lambda: Labels("local"))

    @property
    def may(self) -> bool:
        """Whether policy, reviewer and person have agreed to it, by what was said."""
        return self.reviewed and (self.tool != "ops.rollback_config" or self.approval == "right")


LABELS = st.builds(
    Labels,
    st.just("local"),
    st.sampled_from(Classification),
    st.sampled_from(Integrity),
    st.sampled_from([(), ("user",), ("tool:ops.x", "user")]),
)
ASKS = st.builds(
    Ask,
    st.sampled_from(["ops.rollback_config", "ops.restart_service", "ops.read_logs"]),
    st.integers(1, 5),
    st.sampled_from(["none", "right", "right", "of another"]),
    st.sampled_from([True, True, False]),
    st.sampled_from(POINTS),
    LABELS,
)
ROLLBACK, RESTART = "ops.rollback_config", "ops.restart_service"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example(asks=[Ask(ROLLBACK, 1, "right", point=CrashPoint.AFTER_INTENT), Ask(ROLLBACK, 1), Ask(ROLLBACK, 1, "right")])
@example(asks=[Ask(RESTART, 1, point=CrashPoint.AFTER_CALL), Ask(RESTART, 1), Ask(RESTART, 1)])
@example(asks=[Ask(RESTART, step, point=CrashPoint.AFTER_CALL) for step in range(1, 6)])
@example(asks=[Ask(RESTART, step, point=CrashPoint.AFTER_OUTCOME) for step in (1, 1, 2, 3, 4)])
@example(asks=[Ask(RESTART, step, point=CrashPoint.BEFORE_INTENT) for step in (1, 1, 1, 1, 1)] + [Ask(RESTART, 1)])
@given(asks=st.lists(ASKS, min_size=1, max_size=9))
def test_no_sequence_of_lives_does_what_it_must_not(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, asks: list[Ask]
) -> None:
    effects = asyncio.run(_lives(tmp_path_factory.mktemp("site"), monkeypatch, list(asks)))
    assert set(effects) <= {(ask.tool, f"r1/{ask.step}") for ask in asks if ask.may}
    assert len(effects) == len(set(effects)) <= LIMIT


async def test_what_may_happen_does_across_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = [Ask(RESTART, 1, point=point) for point in CrashPoint]
    effects = await _lives(tmp_path, monkeypatch, [*again, Ask(RESTART, 1), Ask(ROLLBACK, 2, "right")])
    assert effects == [(RESTART, "r1/1"), (ROLLBACK, "r1/2")]


async def _lives(folder: Path, monkeypatch: pytest.MonkeyPatch, left: list[Ask]) -> list[tuple[str, str]]:
    """One core after another on one ledger, each until it dies; the effects that the world has seen."""
    effects: list[tuple[str, str]] = []
    dying: list[CrashPoint | None] = [None]

    def reach(point: CrashPoint) -> None:
        if point is dying[0]:
            raise Died

    monkeypatch.setattr(effectful, "reach", reach)
    host = ToolHost()
    await host.open([], [_tools(effects)])
    while left:
        with Ledger.open(folder / "data") as ledger:
            house = _house(ledger, host, folder)
            while left:
                ask = left.pop(0)
                dying[0] = ask.point
                call = _call(ask, host, house.policy.digest)
                try:
                    _check_labels(call, await house.call(call))
                except Died:
                    break
                except BailiwickError:
                    continue
    await host.close()
    return effects


def _house(ledger: Ledger, host: ToolHost, folder: Path) -> Gatehouse:
    records = host.records().values()
    house = build(
        judge=Policy.load("lab", records, Inventory.services(["orders"])),
        budgets=budgets_of(ledger, Settings(calls_per_run=LIMIT, data_dir=folder / "data")),
        records=records,
        host=host,
        recorder=ledger,
        epoch=ledger.epoch,
        knows=lambda name, _: name == "bob",
        patience_s=(),
    )
    house.replay(ledger.reader.unsettled())
    return house


def _call(ask: Ask, host: ToolHost, policy: str) -> ToolCall:
    record = host.records()[ask.tool]
    call = ToolCall(
        run="r1",
        step=str(ask.step),
        record=record,
        arguments={"service": "orders"},
        principal=Principal(User("alice", 1, "local", "ops"), Agent("worker", "1")),
        labels=ask.labels,
        key="" if record.local_read else f"r1/{ask.step}",
        reviewed=ask.reviewed,
    )
    held = replace(call, suspended_by=("approval:rollback",))
    shown = {"right": held, "of another": replace(held, key="r1/other")}
    approvals = (Approval(shown[ask.approval].binding(policy), "bob"),) if ask.approval in shown else ()
    return replace(call, approvals=approvals)


def _check_labels(call: ToolCall, result: ToolResult) -> None:
    """What comes back is at least as secret, at most as trusted, and from at least as many places."""
    assert result.labels.tenant == call.labels.tenant
    assert result.labels.classification >= call.labels.classification
    assert result.labels.integrity <= call.labels.integrity
    assert set(result.labels.sources) > set(call.labels.sources)


def _tools(effects: list[tuple[str, str]]) -> FunctionToolset:
    """Two tools that act every time they are asked, one that says what became of a key, and one that only looks."""
    tools = FunctionToolset("ops")

    def acting(name: str) -> Callable[..., str]:
        def act(service: str, key: str) -> str:
            effects.append((f"ops.{name}", key))
            return "done"

        act.__name__ = name
        return act

    for name in ("restart_service", "rollback_config"):
        tools.tool(**LOCAL, target="service", key_argument="key", reconcile="ops.effect_status")(acting(name))

    @tools.tool(effect="read", **LOCAL)
    def effect_status(key: str) -> dict[str, object]:
        return {"happened": key in [each for _, each in effects], "result": "as reconciled"}

    @tools.tool(effect="read", **LOCAL, target="service")
    def read_logs(service: str) -> str:
        return "quiet"

    return tools
