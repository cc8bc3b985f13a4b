"""Bad plans, each refused in one line, and what may be made into a plan at all."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.conductor.plans.check import checked
from runtime.conductor.plans.kit import Kit
from store.records.canonical import Json
from store.records.errors import ModelFailed
from store.records.labels import trusted
from tests.conductor.conftest import Site
from tests.conductor.planning import LIST, LOOK, REPAIR, SPARE, TASK, TOOLS, Facts, call, toolset, value, variable

BAD: Sequence[tuple[list[Json], str]] = [
    ([], "the plan has no step"),
    ([LIST, *(call(f"w{each}", "list_services") for each in range(3))], "the plan has 4 steps, and 3 are allowed"),
    ([call("v1", "drop_everything")], "step 1 of the plan calls a tool that it was not given"),
    ([call("v1", "send_mail", to=value("orders"))], "step 1 of the plan calls a tool that it was not given"),
    (
        [{"name": "v1", "read": "Poem", "of": variable("v0")}],
        "step 1 of the plan reads by a schema that it was not given",
    ),
    (
        [call("v1", "read_logs", service=variable("v9"))],
        "step 1 of the plan uses a variable that no step before it binds",
    ),
    (
        [call("v1", "read_logs", service=variable("item"))],
        "step 1 of the plan uses a variable that no step before it binds",
    ),
    (
        [LOOK, call("v2", "read_logs", service=variable("v1", "title"))],
        "step 2 of the plan uses a field that its variable does not have",
    ),
    ([LOOK, call("v1", "list_services")], "step 2 of the plan binds a name that cannot be bound there"),
    ([call("item", "list_services")], "step 1 of the plan binds a name that cannot be bound there"),
    (
        [LOOK, call("v2", "restart_service", service=variable("v1", "lines"))],
        "step 2 of the plan gives ops.restart_service a service of the wrong type",
    ),
    ([call("v1", "count", of=value("orders"))], "step 1 of the plan gives ops.count a of of the wrong type"),
    ([call("v1", "count", of={"constant": "spare"})], "step 1 of the plan gives ops.count a of of the wrong type"),
    (
        [call("v1", "read_logs", service={"constant": "other"})],
        "step 1 of the plan uses a constant that the workflow does not give it",
    ),
    (
        [call("v1", "read_logs", service=value("gateway"))],
        "step 1 of the plan gives ops.read_logs a service that is not in the user's words",
    ),
    ([call("v1", "read_logs")], "step 1 of the plan does not give ops.read_logs its service"),
    (
        [call("v1", "list_services", deep=value("orders"))],
        "step 1 of the plan gives ops.list_services an argument that it does not take",
    ),
    ([LIST, LOOK | {"name": "v2", "each": variable("v1", "count")}], "step 2 of the plan maps over what is no list"),
    (
        [LIST, LOOK | {"name": "v2", "each": variable("v7")}],
        "step 2 of the plan maps over a variable that no step before it binds",
    ),
    ([LIST, LOOK | {"name": "v2", "each": variable("item")}], "step 2 of the plan maps within a map"),
    ([LIST, LOOK | {"name": "v2", "each": variable("v1", "services")}], "step 2 of the plan maps, and uses no item"),
    (
        [LIST, LOOK | {"name": "v2", "each": {"value": ["orders"]}}],
        "step 2 of the plan maps over a variable that no step before it binds",
    ),
    (
        [REPAIR, call("v3", "read_logs", service=variable("v2", "done"))],
        "step 2 of the plan takes the service of ops.read_logs from what an effect gives, before it has happened",
    ),
    (
        [REPAIR, call("v3", "restart_service", service=variable("v2", "done"))],
        "step 2 of the plan takes the service of ops.restart_service from what an effect gives, before it has happened",
    ),
    (
        [REPAIR, {"name": "v3", "read": "Facts", "of": variable("v2")}],
        "step 2 of the plan reads what an effect gives, before it has happened",
    ),
    ([{"name": "v1", "read": "Facts", "of": value("orders")}], "step 1 of the plan reads what is no variable"),
    ([LOOK | {"if": variable("v1")}], "the plan does not have the form of one, it has neither a call nor a reading"),
    (
        [LOOK | {"arguments": {"service": "orders"}}],
        "the plan does not have the form of one, it has an argument that comes from nowhere",
    ),
    ([LOOK | {"call": LOOK}], "the plan does not have the form of one, it has neither a call nor a reading"),
]


async def a_kit() -> Kit:
    """The kit of three steps at most, with any words of the task trusted."""
    tools = {record.name: record for record in await toolset(Site(Path())).records() if record.name in TOOLS}
    readers = {"Facts": Facts.model_json_schema()}
    return Kit(tools, readers, SPARE, {}, (TASK,), lambda tool, argument, given: str(given) in TASK, 3)


@pytest.mark.parametrize(("plan", "problem"), BAD, ids=[problem for _, problem in BAD])
async def test_a_bad_plan_is_refused_in_one_line(plan: list[Json], problem: str) -> None:
    with pytest.raises(ModelFailed) as raised:
        checked(await a_kit(), {"steps": plan}, trusted("local", "user"))
    assert str(raised.value) == problem
