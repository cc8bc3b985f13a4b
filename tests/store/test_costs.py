"""What tasks cost: any two sums come to the same total, which is that of the events."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.ledger.costs import KEYS, costs, newest_cost
from store.ledger.ledger import Ledger
from store.ledger.usage import newest_time, usage
from store.records.event import Draft
from store.records.kinds import Kind

DAY = datetime(2026, 11, 22, tzinfo=UTC)
CALL = {"decision": "allow", "tool": "ops.look"}


def say(ledger: Ledger, kind: Kind, **more: Any) -> None:
    common = {"tenant": "acme", "actor": "core", "actor_version": "1", "principal": "ann", "unit": "ops", "run": "r1"}
    ledger.append(Draft(**{**common, "kind": kind, **more}))


def test_a_task_is_a_run_with_those_that_it_began(ledger) -> None:
    for run, workflow in (("r1", "flow"), ("r1-2", "part"), ("r2", "flow"), ("r3", "flow")):
        say(ledger, Kind.RUN_SUBMITTED, run=run)
        say(ledger, Kind.RUN_STARTED, run=run, workflow=workflow)
    say(ledger, Kind.STEP_COMPLETED, tokens=10, device_ms=7, cost_micros=100, model_digest="m1", actor="worker")
    say(ledger, Kind.MODEL_CALLED, run="r1-2", tokens=5, cost_micros=20, model_digest="m2", actor="router")
    say(ledger, Kind.DECISION, run="r2", step="1", actor="worker", **CALL)
    say(ledger, Kind.CALL_CHARGED, run="r2", step="1", actor="worker", tool="ops.look", cost_micros=3)
    for run, end in (("r1-2", "failed"), ("r1", "completed"), ("r2", "completed-by-fallback"), ("r3", "failed")):
        say(ledger, Kind.RUN_ENDED, run=run, decision=end, workflow="part" if "-" in run else "flow")
    ledger.flush()

    def found(by: str) -> list[Any]:
        return [
            (each.key, each.runs, each.successful, each.calls, each.tokens, each.device_ms, each.cost_micros)
            for each in costs(ledger.reader, by)
        ]

    assert found("workflow") == [("flow", 3, 2, 1, 15, 7, 123)]
    assert found("user") == [("ann", 3, 2, 1, 15, 7, 123)]
    assert found("agent") == [("router", 1, 1, 0, 5, 0, 20), ("worker", 2, 2, 1, 10, 7, 103)]
    assert found("model") == [("", 1, 1, 1, 0, 0, 3), ("m1", 1, 1, 0, 10, 7, 100), ("m2", 1, 1, 0, 5, 0, 20)]
    assert found("tool") == [("", 1, 1, 0, 15, 7, 120), ("ops.look", 1, 1, 1, 0, 0, 3)]
    assert newest_cost(ledger.reader, "acme", "flow", 5) == (2, 123)
    assert newest_cost(ledger.reader, "acme", "flow", 1) == (1, 3)
    assert newest_cost(ledger.reader, "other", "flow", 5) == (0, 0)


_NAMES = st.sampled_from(["a", "b", ""])
_EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(
                [Kind.RUN_SUBMITTED, Kind.RUN_ENDED, Kind.DECISION, Kind.STEP_COMPLETED, Kind.CALL_CHARGED, Kind.NOTE]
            ),
            "tenant": st.sampled_from(["acme", "other"]),
            "run": st.sampled_from(["r1", "r1-2", "r1-2-1", "r2", "r3", ""]),
            "step": st.sampled_from(["1", "2"]),
            "unit": _NAMES,
            "principal": _NAMES,
            "workflow": _NAMES,
            "tool": _NAMES,
            "model_digest": _NAMES,
            "actor": st.sampled_from(["core", "worker"]),
            "decision": st.sampled_from(["allow", "deny", "over-budget", "completed", ""]),
            "tokens": st.integers(0, 99),
            "device_ms": st.integers(0, 99),
            "cost_micros": st.integers(0, 99),
            "hours": st.integers(0, 60),
        }
    ),
    max_size=25,
)
_WHEN = st.none() | st.integers(0, 60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=_EVENTS, since=_WHEN, until=_WHEN, tenant=st.sampled_from([None, "acme", "other"]))
def test_costs_by_any_key_sum_to_what_the_events_say(tmp_path_factory, told, since, until, tenant) -> None:
    bounds = [None if hours is None else DAY + timedelta(hours=hours) for hours in (since, until)]
    clock = [DAY]
    total: Counter[str] = Counter()
    with Ledger.open(tmp_path_factory.mktemp("data"), clock=lambda: clock[0]) as ledger:
        for event in sorted(told, key=lambda each: each["hours"]):
            clock[0] = at = DAY + timedelta(hours=event.pop("hours"))
            say(ledger, **event)
            within = (not bounds[0] or at >= bounds[0]) and (not bounds[1] or at < bounds[1])
            counts = event["run"] and event["kind"] != Kind.RUN_ENDED
            if within and counts and tenant in (None, event["tenant"]):
                total.update({unit: event[unit] for unit in ("tokens", "device_ms", "cost_micros")})
        ledger.flush()
        calls = set()
        for by in KEYS:
            found = costs(ledger.reader, by, *bounds, tenant)
            for unit in ("tokens", "device_ms", "cost_micros"):
                assert sum(getattr(each, unit) for each in found) == total[unit]
            assert {each.tenant for each in found} <= ({tenant} if tenant else {"acme", "other"})
            assert len({(each.tenant, each.key) for each in found}) == len(found)
            calls.add(sum(each.calls for each in found))
        assert len(calls) == 1


@pytest.mark.parametrize("back", [False, True])
def test_a_month_holds_all_that_comes_after_its_first_event(folder, back: bool) -> None:
    clock = [datetime(2026, 10, 31, 23, 59, tzinfo=UTC)]
    day, month = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    with Ledger.open(folder, clock=lambda: clock[0]) as ledger:
        assert newest_time(ledger.reader) is None
        for number, days in enumerate((0, 1, 2, -20 if back else 2)):
            clock[0] += timedelta(days=days)
            say(ledger, Kind.STEP_COMPLETED, tokens=10**number)
            say(ledger, Kind.STEP_COMPLETED, run="r2", tokens=10**number)
        say(ledger, Kind.RUN_ENDED, run="r2")
        ledger.flush()
        found = {(each.run, each.since): each.tokens for each in usage(ledger.reader, day, month)}
        newest = newest_time(ledger.reader)
    assert found == {("r1", ""): 1, ("r1", "month"): 10, ("r1", "day"): 1100, ("", "month"): 10, ("", "day"): 1100}
    assert newest == datetime(2026, 11, 3 if back else 5, 23, 59, tzinfo=UTC)
