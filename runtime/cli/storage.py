"""`bailiwick storage`, `backup` and `restore`: what takes space, copies of log and memory, and going back to one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import facts, plain, show, table, told
from runtime.cli.site import AsJson, Site, verb, wait_for
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import BackupView, StorageView

MIB = 2**20
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the backup.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the top group."""
    verb(app, "storage")(storage)
    verb(app, "backup")(backup)
    verb(app, "restore")(restore)


def storage(site: Site, json: AsJson = False) -> None:
    """What takes space, by class of content and memory; for an auditor by table and file, too, and when the disk is
    full if it goes on so."""
    from runtime.cli.backend import queries

    settings = site.settings()

    async def ask() -> "StorageView":
        async with queries(settings) as q:
            return await q.storage()

    found = wait_for(ask())
    if json:
        show(found.model_dump(mode="json") | {"free_space_mb": settings.free_space_mb})
        return
    _print(found, f"no new run starts below {settings.free_space_mb:,} MiB")


def _print(found: "StorageView", least: str) -> None:
    if found.tables:
        table(("TABLE", "ROWS", "MIB"), [(each.table, each.rows, _mib(each.bytes)) for each in found.tables])
        print()
    rows = [(each.tenant, each.retention, each.payloads, _mib(each.bytes)) for each in found.content]
    table(("TENANT", "CLASS", "PAYLOADS", "MIB"), rows)
    print()
    if found.memory:
        kept = [(each.tenant, each.retention, each.memories, _mib(each.bytes)) for each in found.memory]
        table(("TENANT", "CLASS", "MEMORIES", "MIB"), kept)
        print()
    if found.files:
        table(("FILES", "MIB"), [(name, _mib(size)) for name, size in found.files.items()])
        print()
    facts({"free": f"{_mib(found.free)} MiB at {found.folder}; {least}"})
    if found.bytes_per_day is not None and found.events_per_day is not None:
        facts({"growth a day": f"{_mib(found.bytes_per_day)} MiB, {found.events_per_day:,.0f} events"})
    if found.full_in_days is not None:
        facts({"full in": f"{found.full_in_days:,.0f} days at that rate"})


def backup(
    site: Site,
    folder: Folder,
    with_keys: Annotated[bool, typer.Option("--with-keys", help="All keys, too, under a passphrase.")] = False,
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its first line is the passphrase; asked for if not given.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Copy the log and what agents remember, as they are at one event, to a folder that does not exist yet; verify it.

    Works while the runtime does. Without --with-keys no key is in it: who has only the backup reads no content.
    """
    from runtime.cli.backend import storing

    settings = site.own() if with_keys else site.settings()  # no key of another machine leaves it
    if passphrase_file and not with_keys:
        raise SettingsError("a passphrase is for keys", do="add --with-keys, or leave out --passphrase-file")
    path = folder.absolute()

    async def ask() -> "BackupView":
        async with storing(settings) as s:
            return await s.backup(str(path))

    if with_keys:
        from runtime.site_key import passphrase
        from runtime.site_key import site as site_of
        from store.keys.backup import write_backup
        from store.keys.keystore import Keystore
        from store.ledger.database import KEYS
        from store.ledger.restore import KEYS_FILE

        given, keys, where = (
            passphrase(passphrase_file, "the backup", new=True)(),
            settings.data_dir / KEYS,
            site_of(settings),
        )
        Keystore.open(keys, where).unlock()  # what can fail is to fail before anything is written
        done = wait_for(ask())
        write_backup(path / KEYS_FILE, Keystore.open(keys, where), given)  # those that were made meanwhile, too
    else:
        done = wait_for(ask())
    remembered = "" if done.memories is None else f"{done.memories} memories, "
    kept = f"{done.events} events, {remembered}verified, {'with' if with_keys else 'without'} keys"
    what = {"folder": str(path), "with_keys": with_keys}
    told(json, done.model_dump(mode="json") | what, f"backed up: {kept}: {plain(path)}")


def restore(
    site: Site,
    folder: Folder,
    replace: Annotated[bool, typer.Option("--replace", help="Move aside the log that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Go back to a backup of log and memory. The runtime must be stopped. Every open run waits until it is resumed.

    The log says for ever what is missing in between. Keys are not restored: `keys init --from` does that, before.
    """
    from dataclasses import asdict

    from runtime.diagnostics import say
    from runtime.site_key import site as site_of
    from store.ledger.restore import restore as put_back
    from store.memory.upkeep import Upkeep

    settings = site.own().open_folders()
    where, by = site_of(settings), settings.user
    data, mirror = settings.data_dir, settings.mirror_dir
    done = put_back(
        folder.absolute(), data, where, by.tenant, by.name, mirror=mirror, replace=replace, memory=Upkeep.open
    )
    if json:
        show(asdict(done))
    else:
        missing = done.signed - done.kept
        print(f"restored: {done.kept} events, epoch {done.epoch}; event {done.event} says so")
        print(f"missing since: {missing} signed events" if missing else "missing since: nothing that is known of")
        print(f"parked: {', '.join(done.parked)}" if done.parked else "no run was open")
        if done.memories is not None:
            print(f"remembered again: {done.memories - done.forgotten} memories")
        if done.destroyed:
            print(f"destroyed since, and again now: {done.destroyed} payloads")
        if done.aside:
            print(f"the log that was there: {done.aside}")
    if done.memories is None:
        say("the backup has no memory: agents remember nothing from before")
    if done.forgotten:
        say(f"{done.forgotten} memories did not come back: the keys of those whose they were are no more")
    if done.closed:
        say(f"{done.closed} payloads stay closed: their keys are not in the keystore")
    if done.trouble:
        say(f"the log that was there could not tell what was destroyed: {done.trouble}")


def _mib(size: float) -> str:
    return f"{size / MIB:,.1f}"
