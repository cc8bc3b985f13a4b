"""`bailiwick schedules`: what is run again and again, on behalf of whoever set it up."""

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.page import plain, show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import ScheduleChange, ScheduleSpec, ScheduleView

app = noun("Schedules: have a task run at times of a cron expression, while the runtime is up.")

Name = Annotated[str, typer.Argument(help="A schedule's name.")]


@verb(app, "list")
def list_schedules(site: Site, json: AsJson = False) -> None:
    """All schedules, when they fire next, and their last run."""
    from runtime.cli.backend import client

    async def ask() -> "list[ScheduleView]":
        async with client(site.settings()) as c:
            return await c.schedules()

    found = wait_for(ask())
    if json:
        show([each.model_dump(mode="json") for each in found])
        return
    columns = ("NAME", "CRON", "ZONE", "NEXT", "LAST", "RUN", "BY", "WORKFLOW", "QUEUE", "TASK")
    rows = []
    for each in found:
        spec, due = each.schedule, "paused" if each.paused else each.next
        what = (spec.workflow or "-", spec.queue or "default", spec.task)
        rows.append((spec.name, spec.cron, spec.zone, due, each.last or "-", each.run or "-", each.by, *what))
    table(columns, rows)


@verb(app, "add")
def add(
    site: Site,
    name: Name,
    cron: Annotated[str, typer.Option(metavar="TEXT", help='Minute, hour, day, month, weekday: "0 6 * * 1-5".')],
    workflow: Annotated[str, typer.Option(metavar="NAME", help="The workflow to run.")],
    task: Annotated[str, typer.Option(metavar="TEXT", help="What is to be done, in your own words.")],
    zone: Annotated[str, typer.Option(metavar="ZONE", help="The zone of these times, as in Europe/Zurich.")] = "UTC",
    queue: Annotated[str, typer.Option(metavar="NAME", help="The queue its runs wait in.")] = "",
    input: Annotated[str, typer.Option(metavar="JSON", help="The workflow's input, a JSON object.")] = "{}",
    json: AsJson = False,
) -> None:
    """Have a task run at certain times, on your behalf."""
    from runtime.cli.backend import client
    from runtime.gateway.messages import ScheduleSpec

    typed = _object(input)
    spec = ScheduleSpec(name=name, cron=cron, zone=zone, workflow=workflow, task=task, input=typed, queue=queue)

    async def ask(spec: "ScheduleSpec") -> "ScheduleView":
        async with client(site.settings()) as c:
            return await c.add_schedule(spec)

    found = wait_for(ask(spec))
    if json:
        show(found.model_dump(mode="json"))
        return
    print(plain(f"{name} fires next at {found.next}"))


@verb(app, "remove")
def remove(site: Site, name: Name, json: AsJson = False) -> None:
    """Take a schedule away. What it has begun goes on."""
    wait_for(_change(site, name, "remove"))
    told(json, {"schedule": name, "change": "remove"}, plain(f"{name} is removed"))


@verb(app, "pause")
def pause(site: Site, name: Name, json: AsJson = False) -> None:
    """Let a schedule fire no more until it is resumed."""
    wait_for(_change(site, name, "pause"))
    told(json, {"schedule": name, "change": "pause"}, plain(f"{name} is paused"))


@verb(app, "resume")
def resume(site: Site, name: Name, json: AsJson = False) -> None:
    """Let a schedule fire again. What the pause left out is not made up for."""
    wait_for(_change(site, name, "resume"))
    told(json, {"schedule": name, "change": "resume"}, plain(f"{name} fires again"))


async def _change(site: Site, name: str, change: "ScheduleChange") -> None:
    from runtime.cli.backend import client

    async with client(site.settings()) as c:
        await c.change_schedule(name, change)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json_text.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SettingsError("the input is not a JSON object", "flag --input", "write it as in '{\"days\": 7}'")
    return value
