"""The database file of a ledger, the folder that it lies in, and the keystore beside it: how each is opened.

DuckDB may reach nothing but its file, and nothing is configured later.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from store.keys.files import destroy, read_key
from store.keys.keystore import FILE, Keystore
from store.keys.site_key import Site
from store.ledger import schema, upgrade
from store.ledger.archive import Archive
from store.ledger.lock import unusable
from store.ledger.writer import first_line
from store.records.errors import IntegrityError, SettingsError

DATABASE, KEYS = "ledger.duckdb", "keys"
EARLIER = "payload.key"
"""The key that named the payloads of version 0.1; needed until they are encrypted, and no longer."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
    # Four times DuckDB's own: a checkpoint holds the writer up, and 64 MB of log are read back in a third of a second.
    "checkpoint_threshold": "64MB",
    "lock_configuration": True,
}


def open_for_reading(folder: Path, site: Site) -> tuple[duckdb.DuckDBPyConnection, Keystore]:
    """The database and the keystore, whose site key is not asked for before content is to be opened."""
    connection = connect(folder / DATABASE, True)
    try:
        schema.check(connection, str(folder))
        return connection, Keystore.open(folder / KEYS, site)
    except BaseException:
        connection.close()
        raise


def open_for_writing(folder: Path, site: Site) -> tuple[duckdb.DuckDBPyConnection, Keystore, bool]:
    """The database and the keystore, made if they are not there, converted if an earlier version wrote them; and
    whether that version signed nothing. The caller has the folder's lock."""
    path = folder / DATABASE
    upgrade.finish(path)
    connection = connect(path, False)
    try:
        plain = schema.plain(connection)
        keystore = _keystore(folder, site, plain or not _used(connection))
        if plain:
            connection.close()
            _convert(folder, keystore)
            connection = connect(path, False)
        unsigned = schema.prepare(connection, str(folder))
        schema.check(connection, str(folder))
        destroy(folder / KEYS / EARLIER)  # with it a guess at what 0.1 recorded could be tested for ever
        return connection, keystore, unsigned
    except BaseException:
        connection.close()
        raise


def _convert(folder: Path, keystore: Keystore) -> None:
    """Have the payloads of version 0.1 encrypted."""
    path = folder / DATABASE
    try:
        with connect(path, False) as connection:
            schema.only_ours(connection, str(folder))
            connection.execute("CHECKPOINT")  # so that nothing of it is in a log of its own
        upgrade.encrypt(path, Archive(keystore), read_key(folder / KEYS / EARLIER), _connect_two)
    except (duckdb.Error, OSError) as error:
        do = "see to the disk, then start again: nothing is lost"
        raise SettingsError(f"the ledger cannot be converted: {first_line(error)}", str(path), do) from None


def _used(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether there ever was content: in the archive, destroyed, or referred to."""
    there = schema.tables(connection)
    asked = {"payloads": "true", "tombstones": "true", "events": "payload <> ''"}
    queries = (f"SELECT 1 FROM {table} WHERE {where} LIMIT 1" for table, where in asked.items() if table in there)
    return any(connection.execute(query).fetchall() for query in queries)


def _keystore(folder: Path, site: Site, fresh: bool) -> Keystore:
    """The keystore, open. One is made only where nothing was ever encrypted."""
    keys = folder / KEYS
    keystore = Keystore.make(keys, site) if fresh and not (keys / FILE).exists() else Keystore.open(keys, site)
    keystore.unlock_for_writing()
    return keystore


def prepare_folder(folder: Path) -> None:
    """Have a folder that only this user can enter. Raises SettingsError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            # DuckDB makes its write-ahead log under the umask of the moment; the folder is what keeps others out.
            folder.chmod(0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise unusable(folder, error) from None


@contextmanager
def _private() -> Iterator[None]:
    """Files made meanwhile are for this user alone. The umask belongs to the process: keep this short."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _connect_two(path: Path, also: Path) -> duckdb.DuckDBPyConnection:
    """A new database at a path, from which one other can be reached as well. Raises duckdb.Error."""
    later = ("enable_external_access", "lock_configuration")
    with _private():
        connection = duckdb.connect(
            str(path), config={name: value for name, value in _CONFIG.items() if name not in later}
        )
    connection.execute("SET allowed_paths = $1", [[str(also), f"{also}.wal"]])
    for name in later:
        connection.execute(f"SET {name} = {_CONFIG[name]}")
    return connection


def connect(path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    """The database at a path. Raises SettingsError if it cannot be used, IntegrityError if it is none."""
    if read_only and not path.exists():
        raise SettingsError("there is no ledger yet", str(path.parent), "run a task first")
    try:
        with _private():
            return duckdb.connect(str(path), read_only=read_only, config=_CONFIG)
    except duckdb.Error as error:
        if path.exists() and not os.access(path, os.R_OK if read_only else os.R_OK | os.W_OK):
            raise SettingsError("the ledger cannot be opened", str(path), "run as the user that owns it") from None
        raise IntegrityError(f"the ledger cannot be opened: {first_line(error)}", str(path)) from None
