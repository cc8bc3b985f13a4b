"""`bailiwick keys`: what content is encrypted with, and what becomes of content."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.page import facts, plain, show, table, told
from runtime.cli.site import AsJson, Site, noun, verb, wait_for
from store.keys.source import Source
from store.records.errors import SettingsError

if TYPE_CHECKING:
    from runtime.gateway.messages import ContentScope, GoneView, HoldView
    from runtime.settings import Settings
    from store.keys.keystore import Keystore
    from store.keys.scope import Owner

app = noun("Keys of the content: back them up, renew them, destroy them; holds and retention.")

Tenant = Annotated[str, typer.Option(help="Whose content.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Only this user's; all of the tenant's if not given.")]
Class = Annotated[str | None, typer.Option("--class", metavar="CLASS", help="Only of this retention class.")]
From = Annotated[Source | None, typer.Option("--source", help="Where the site key comes from.")]
PassphraseFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Its first line is the passphrase; asked for if not given.")
]


@verb(app, "init")
def init(
    site: Site,
    source: From = None,
    backup: Annotated[Path | None, typer.Option("--from", metavar="BACKUP", help="Put back what is missing.")] = None,
    passphrase_file: PassphraseFile = None,
    json: AsJson = False,
) -> None:
    """Make the keystore before the first start, or bring lost keys back from a backup.

    Without it the first start makes one, with the site key in a file. Content under keys that are newer than the backup
    stays closed, and the log goes on.
    """
    from runtime.cli.backend import writable
    from runtime.site_key import passphrase
    from runtime.site_key import site as site_of
    from store.keys.backup import restore
    from store.keys.keystore import Keystore
    from store.keys.site_key import Site as KeySite
    from store.ledger.database import DATABASE, KEYS
    from store.ledger.lock import FolderLock

    settings = site.own().open_folders()
    folder, where = settings.data_dir / KEYS, site_of(settings)
    lock = FolderLock(settings.data_dir, shared=False)
    try:
        if backup:
            restore(backup, folder, where, passphrase(passphrase_file, "the backup")())
        elif (settings.data_dir / DATABASE).exists():
            do = "`keys init --from BACKUP` restores its keys, `keys rotate` renews them"
            raise SettingsError("there is a ledger already", str(settings.data_dir), do)
        else:
            given = passphrase(passphrase_file or settings.passphrase_file, new=True)
            Keystore.make(folder, KeySite(where.folder, given), source or Source.FILE)
    finally:
        lock.release(clear=True)
    if (settings.data_dir / DATABASE).exists():
        with writable(settings, lose=bool(backup)):
            pass  # a start, which destroys again what was shredded since the backup
    if json:
        show({"site": _site(_keystore(settings)), "restored": backup is not None})


@verb(app, "list")
def list_keys(site: Site, json: AsJson = False) -> None:
    """The data keys: whose content each is for, and whether new content goes under it. Then the legal holds, if any.

    To list holds is on record: their reasons are content.
    """
    settings = site.own()
    keystore, held = _keystore(settings), _holds(settings)
    records = [record.json() for record in keystore.records.values()]
    if json:
        show({"site": _site(keystore), "keys": records, "holds": [each.model_dump(mode="json") for each in held]})
        return
    facts({"site key": keystore.header.id, "source": str(keystore.header.source)})
    columns = ("id", "tenant", "user", "retention", "made")
    rows = [[*(each[name] for name in columns), "retired" if each["retired"] else "in use"] for each in records]
    table(("KEY", "TENANT", "USER", "CLASS", "MADE", "STATE"), rows)
    if held:
        print()
        ordered = [(each.event, *_names(each.scope), each.by, each.since, each.reason or "-") for each in held]
        table(("HELD SINCE EVENT", "TENANT", "USER", "BY", "SINCE", "REASON"), ordered)


@verb(app, "backup")
def backup(
    site: Site,
    file: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    passphrase_file: PassphraseFile = None,
    json: AsJson = False,
) -> None:
    """Write all keys, encrypted under a passphrase. Shredding cannot reach it: destroy old ones yourself."""
    from runtime.site_key import passphrase
    from store.keys.backup import write_backup

    keystore = _keystore(site.own())
    keystore.unlock()
    write_backup(file.absolute(), keystore, passphrase(passphrase_file, "the backup", new=True)())
    done = {"backup": str(file.absolute()), "site": keystore.header.id}
    told(json, done, f"backed up: all keys, under the passphrase: {plain(done['backup'])}")


@verb(app, "rotate")
def rotate(
    site: Site,
    data: Annotated[
        bool, typer.Option("--data", help="New data keys for what comes, instead. Likewise stopped.")
    ] = False,
    source: From = None,
    passphrase_file: PassphraseFile = None,
    json: AsJson = False,
) -> None:
    """Renew the site key, and destroy the old one. The runtime must be stopped."""
    from runtime.cli.backend import writable
    from runtime.site_key import passphrase
    from runtime.site_key import site as site_of
    from store.keys.site_key import Site as KeySite

    settings = site.own()
    if data and (source or passphrase_file):
        raise SettingsError("data keys come from nowhere else", do="leave out --data, or the rest")
    with writable(settings) as ledger:
        if data:
            event = ledger.keeper.rotate_data_keys(settings.tenant, settings.user.name).seq
            done = f"new content of tenant {settings.tenant} gets new data keys; the old ones open what there is"
            told(json, {"rotated": "data", "tenant": settings.tenant, "event": event}, f"{plain(done)} (event {event})")
            return
        where = None
        if (source or ledger.keystore.header.source) is Source.PASSPHRASE:
            given = passphrase(passphrase_file or settings.passphrase_file, new=True)
            where = KeySite(site_of(settings).folder, given)
        event = ledger.keeper.rotate_site_key(settings.tenant, settings.user.name, source, where).seq
        renewed = {"rotated": "site", "site": _site(ledger.keystore), "event": event}
        told(json, renewed, f"the site key is renewed (event {event})")


@verb(app, "shred")
def shred(site: Site, tenant: Tenant, user: OfUser = None, retention: Class = None, json: AsJson = False) -> None:
    """Destroy content beyond recovery: its keys, and what is encrypted under them. Events stay.

    It reaches the log's content, its keys and what agents remember in this data folder; not backups of the keys.
    """
    from runtime.cli.backend import keeping

    async def order() -> "GoneView":
        async with keeping(site.settings()) as keeper:
            return await keeper.shred(_scope(tenant, user, retention))

    _tell([wait_for(order())], "destroyed", json)


@verb(app, "hold")
def hold(
    site: Site,
    tenant: Tenant,
    reason: Annotated[str, typer.Option(help="Why; it is content of the log.")],
    user: OfUser = None,
    json: AsJson = False,
) -> None:
    """Keep content, whatever is ordered or out of date, until the hold is released."""
    from runtime.cli.backend import keeping
    from runtime.diagnostics import say

    settings, scope = site.settings(), _scope(tenant, user, None)
    # Asked before: the reason is content of the tenant itself. Whose there is elsewhere cannot be seen from here.
    known = settings.connect or any(each.tenant == tenant and user in (None, each.user) for each in _owners(settings))

    async def order() -> int:
        async with keeping(settings) as keeper:
            return await keeper.hold(scope, reason)

    event = wait_for(order())
    told(json, {"held": scope.model_dump(mode="json"), "event": event}, f"held since event {event}")
    if not known:
        whose = f"tenant {tenant}" if user is None else f"tenant {tenant}, user {user}"
        say(
            plain(f"there is no content yet of {whose}: what comes is held; `bailiwick keys list` shows whose there is")
        )


@verb(app, "release")
def release(site: Site, tenant: Tenant, user: OfUser = None, json: AsJson = False) -> None:
    """End a hold of exactly this tenant, or of this user of it."""
    from runtime.cli.backend import keeping

    scope = _scope(tenant, user, None)

    async def order() -> int:
        async with keeping(site.settings()) as keeper:
            return await keeper.end_hold(scope)

    event = wait_for(order())
    told(json, {"released": scope.model_dump(mode="json"), "event": event}, f"released by event {event}")


@verb(app, "sweep")
def sweep(
    site: Site,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: AsJson = False,
) -> None:
    """Take away content that is older than the setting retention_days keeps its class, and what is remembered as long.

    What is held stays, and what an open run needs.
    """
    from runtime.cli.backend import keeping

    async def order() -> "list[GoneView]":
        async with keeping(site.settings()) as keeper:
            return await keeper.sweep(dry_run)

    _tell(wait_for(order()), "would go" if dry_run else "taken away", json)


def _keystore(settings: "Settings") -> "Keystore":
    """The keystore of the data folder, which others cannot have put there. It is read only."""
    from runtime.folders import only_ours
    from runtime.site_key import site as site_of
    from store.keys.keystore import Keystore
    from store.ledger.database import KEYS

    folder = settings.data_dir / KEYS
    if not folder.exists():
        raise SettingsError("there are no keys yet", str(folder), "run a task first, or `bailiwick keys init`")
    return Keystore.open(only_ours(folder), site_of(settings))


def _site(keystore: "Keystore") -> dict[str, str]:
    """Which site key it is, and where it comes from."""
    return {"id": keystore.header.id, "source": str(keystore.header.source)}


def _holds(settings: "Settings") -> "list[HoldView]":
    """The legal holds; none before there is a ledger."""
    from runtime.cli.backend import queries
    from store.ledger.database import DATABASE

    async def ask() -> "list[HoldView]":
        async with queries(settings) as q:
            return await q.holds()

    return wait_for(ask()) if (settings.data_dir / DATABASE).exists() else []


def _owners(settings: "Settings") -> "list[Owner]":
    """Whose content there are keys for."""
    return [record.owner for record in _keystore(settings).records.values()]


def _names(scope: "ContentScope") -> tuple[str, str]:
    """Tenant and user of a hold, as `keys hold` and `keys release` take them."""
    return scope.tenant, "(all)" if scope.user is None else scope.user


def _scope(tenant: str, user: str | None, retention: str | None) -> "ContentScope":
    from runtime.gateway.messages import ContentScope

    return ContentScope(tenant=tenant, user=user, retention=retention)


def _tell(gone: "list[GoneView]", what: str, json: bool) -> None:
    if json:
        show([each.model_dump(mode="json") for each in gone])
        return
    for each in gone:
        said = f"; events {', '.join(map(str, each.events))}" if each.events else ""
        remembered = f", {each.memories} memories" if each.memories else ""
        print(f"{what}: {each.scope}: {each.payloads} payloads{remembered}{said}")
    if not gone:
        print("nothing is out of date")
