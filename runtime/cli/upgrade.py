"""`bailiwick upgrade`: a log that an earlier version wrote, made into one that this version reads."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.page import plain, show, table
from runtime.cli.site import AsJson, Site, verb

if TYPE_CHECKING:
    from runtime.settings import Settings
    from runtime.upgrading import Outlook
    from store.ledger.upgrade import Upgrade


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "upgrade")(upgrade)


def upgrade(
    site: Site,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done.")] = False,
    backup: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the log goes as it was; beside the data folder if not given."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Let this version read a log that an earlier one wrote. The runtime must be stopped; there is no way back down.

    The log as it was is kept in a folder of its own, and what becomes of each open run is told.
    """
    from runtime.folders import only_ours
    from store.ledger.upgrade import Upgrade

    settings = site.own()
    if settings.data_dir.exists():
        only_ours(settings.data_dir)
    with Upgrade.begin(settings.data_dir) as found:
        runs = _outlooks(found, settings)
        told: dict[str, Any] = {"from": found.before, "to": found.before + len(found.steps), "steps": found.steps}
        if found.steps:
            place = _place(settings.data_dir.absolute(), backup)
            told |= {"backup": str(place)} | ({} if check else _done(found, settings, place))
        elif not check:
            found.finish()
    _tell(told, runs, json)


def _outlooks(found: "Upgrade", settings: "Settings") -> "list[Outlook]":
    """What becomes of the open runs. Raises SettingsError if a file with workflows cannot be used."""
    if not found.runs:
        return []
    from runtime.upgrading import outlook
    from runtime.workflows.catalog import load

    workflows = load(settings.workflows)
    return [outlook(each, workflows, settings.queues) for each in found.runs]


def _place(folder: Path, backup: Path | None) -> Path:
    """Where the log as it was goes: where somebody said, or beside the data folder, under the time in UTC."""
    return backup.absolute() if backup else folder.with_name(f"{folder.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


def _done(found: "Upgrade", settings: "Settings", backup: Path) -> dict[str, Any]:
    from runtime.site_key import site as site_of

    by = settings.user
    done = found.run(site_of(settings), backup, by.tenant, by.name)
    return {"events": done.events, "event": done.event}


def _tell(told: dict[str, Any], runs: "list[Outlook]", json: bool) -> None:
    from dataclasses import asdict

    from runtime.diagnostics import say

    if json:
        show(told | {"runs": [asdict(each) for each in runs]})
    elif not told["steps"]:
        print(f"nothing to upgrade: the log has format {told['to']}")
    else:
        what = "upgraded" if "event" in told else "would be upgraded"
        print(f"{what}: from format {told['from']} to {told['to']}: {'; '.join(told['steps'])}")
        print(f"kept as it was in {plain(told['backup'])}")
        if "event" in told:
            print(f"{told['events']} events are the same as before; event {told['event']} says so")
        rows = [(each.run, each.workflow, each.then, each.why) for each in runs]
        table(("OPEN RUN", "WORKFLOW", "THEN", "WHY"), rows) if rows else print("no run is open")
    if "event" in told and told["from"] == 1:
        say("the backup holds what was said as it was said, not encrypted: destroy it when nobody needs it any more")
