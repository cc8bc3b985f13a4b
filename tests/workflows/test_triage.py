"""The triage workflow's own logic, over FakeRun: the model's way, and the rules'."""

from collections.abc import Callable
from typing import Any

import pytest

from bailiwick import Denied, FakeRun, ModelFailed, Staged, ToolFailed, Work
from runtime.contract.values import record
from runtime.workflows.runbook import RULES, Repair, diagnose
from runtime.workflows.triage import Resolution, suspects, telling, triage

LINE = "2026-11-22T09:00:00Z WARN orders: {}"
FULL = LINE.format("disk quota exceeded")
SERVICES = [{"name": "gateway", "depends_on": "orders"}, {"name": "orders", "depends_on": "inventory"}]
SYMPTOMS = {
    "disk quota exceeded": ("ops.clear_quota", {"service": "orders"}),
    "the lock file /x/y.lock is corrupt": ("ops.restart_service", {"service": "orders"}),
    "watchdog: deadlock": ("ops.restart_service", {"service": "orders"}),
    "the session cache grows and is never evicted": ("ops.restart_service", {"service": "orders"}),
    "too slow (timeout_ms 5, config v12)": ("ops.rollback_config", {"service": "orders"}),
    "dependency inventory refused the connection": (
        "ops.set_dependency",
        {"service": "orders", "dependency": "inventory"},
    ),
}


def repaired(**arguments: Any) -> Any:
    """What a repair answers."""
    return {"done": arguments}


def refused(**_: Any) -> Any:
    """A repair that the tool does not make."""
    raise ToolFailed("not now")


def world(line: str, *, helps: bool = True, repair: Callable[..., Any] = repaired) -> dict[str, Any]:
    """A lab of two services, in which `orders` fails; `helps` says whether a repair makes it work."""
    done: list[str] = []

    def health() -> Any:
        ok = helps and bool(done)
        return {"front_door": {"ok": ok}, "services": {"gateway": "ok", "orders": "ok" if ok else "failing: x"}}

    def act(**arguments: Any) -> Any:
        result = repair(**arguments)
        done.append("repair")
        return result

    repairs = ("restart_service", "rollback_config", "clear_quota", "set_dependency")
    return {
        "ops.check_health": health,
        "ops.list_services": lambda: {"services": SERVICES},
        "ops.read_logs": lambda service: {"lines": [line] if service == "orders" else []},
        "ops.search_runbooks": lambda query: {"runbooks": [{"symptom": query, "tool": "ops.clear_quota"}]},
        "ops.page_on_call": lambda message: {"paged": message},
        **{f"ops.{name}": act for name in repairs},
    }


def answers() -> list[Any]:
    """The model reads the log of `orders`, then clears its quota."""
    logs = record({"service": "orders", "lines": [FULL]})
    repair = Staged("0", "ops.clear_quota", {"service": "orders"}, "model")
    return [Work("seen", (("ops.read_logs", {"service": "orders"}, logs),)), Work("staged", (), (repair,))]


async def test_the_model_repairs_it() -> None:
    run = FakeRun(world=world(FULL), answers=answers())
    result = await triage(run)
    assert isinstance(result, Resolution)
    assert (result.healthy, result.tool, result.service) == (True, "ops.clear_quota", "orders")
    assert [receipt.tool for receipt in run.committed] == ["ops.clear_quota"]
    (kept,) = run.memories
    assert kept["text"] == "orders: disk quota exceeded"
    assert set(kept["tags"]) == {"tool", "service", "symptom"}
    assert (kept["tags"]["tool"], kept["tags"]["service"]) == ("ops.clear_quota", "orders")


async def test_a_repair_that_does_not_help_is_the_models_failure() -> None:
    run = FakeRun(world=world(FULL, helps=False), answers=answers())
    began = await run.now()
    with pytest.raises(ModelFailed, match="still fails"):
        await triage(run)
    assert len(run.committed) == 1
    assert ((await run.now()) - began).total_seconds() >= 2, "a service gets some seconds to come up"
    assert run.memories == []


async def test_a_repair_that_the_tool_refuses_is_the_models_failure() -> None:
    with pytest.raises(ModelFailed, match="refused by the tool"):
        await triage(FakeRun(world=world(FULL, repair=refused), answers=answers()))


async def test_no_word_of_the_model_no_repair() -> None:
    for given in ([ModelFailed("no")], [*answers()[:1], ModelFailed("no")]):
        run = FakeRun(world=world(FULL), answers=given)
        with pytest.raises(ModelFailed):
            await triage(run)
        assert run.committed == []


@pytest.mark.parametrize(("approve", "error"), [(False, ModelFailed), (True, Denied)])
async def test_a_no_stops_it(approve: bool, error: type[Exception]) -> None:
    run = FakeRun(world=world(FULL), answers=answers(), approve=approve, allow=False)
    with pytest.raises(error):
        await triage(run)
    assert run.committed == []


@pytest.mark.parametrize("symptom", SYMPTOMS)
async def test_the_rules_repair_it(symptom: str) -> None:
    run = FakeRun(world=world(LINE.format(symptom)))
    assert triage.fallback is not None
    result = await triage.fallback(run)
    tool, arguments = SYMPTOMS[symptom]
    assert (result.healthy, result.tool, result.service) == (True, tool, "orders")
    assert [(each.tool, each.result["done"]) for each in run.committed] == [(tool, arguments)]
    assert run.memories[0]["text"] == symptom


def test_every_rule_is_tested() -> None:
    assert len(SYMPTOMS) == len(RULES)
    assert [next(rule for rule in RULES if rule.pattern.search(symptom)) for symptom in SYMPTOMS] == list(RULES)


@pytest.mark.parametrize(
    ("line", "helps", "tools", "why"),
    [
        (LINE.format("all is well"), True, ["ops.page_on_call"], "no runbook rule matches"),
        (FULL, False, ["ops.clear_quota", "ops.page_on_call"], "ops.clear_quota did not help"),
    ],
)
async def test_what_no_rule_solves_is_paged(line: str, helps: bool, tools: list[str], why: str) -> None:
    run = FakeRun(world=world(line, helps=helps))
    assert triage.fallback is not None
    with pytest.raises(ToolFailed, match=f"{why}.*; the person on call was paged"):
        await triage.fallback(run)
    assert [receipt.tool for receipt in run.committed] == tools
    assert run.memories == []


def test_a_symptom_that_another_fault_explains_comes_last() -> None:
    logs = {"gateway": [LINE.format("dependency orders refused the connection")], "orders": [FULL]}
    assert diagnose(logs, {}) == Repair("ops.clear_quota", {"service": "orders"})
    assert diagnose({"gateway": logs["gateway"]}, {"gateway": "orders"}) == Repair(
        "ops.set_dependency", {"service": "gateway", "dependency": "orders"}
    )
    assert diagnose({}, {}) is None


@pytest.mark.parametrize(
    ("services", "found"),
    [
        ({"a": "ok", "b": "ok"}, []),
        ({"a": "failing: dependency b refused", "b": "hung: no answer"}, ["b"]),
        ({"a": "failing: dependency b refused", "b": "ok"}, ["a"]),
        ({"a": "failing: dependency b x", "b": "failing: dependency a x"}, ["a", "b"]),
    ],
)
def test_suspects_are_those_that_can_blame_nobody(services: dict[str, str], found: list[str]) -> None:
    assert list(suspects(services)) == found


def test_the_telling_lines_are_the_last_two_that_warn() -> None:
    lines = [
        "t INFO a: started",
        "t WARN a: one",
        "t ERROR a: two",
        "t FATAL a: three",
        "t WARN a: certificate x",
        "odd",
    ]
    assert telling(lines) == "two\nthree"
    assert telling([]) == ""
