"""The format of a ledger's database: a number in a table of its own, so that no version guesses what another wrote.

    1  payloads are as they were said (version 0.1); no number
    2  payloads are encrypted; no number
    3  events without their canonical bytes, which follow from the columns; payloads found by a number; this number

A database of another format is neither read nor written. `upgrade` makes a new one out of an older one; nothing goes
down. It must never change a database.
"""

import duckdb

from store.records.errors import IntegrityError, SettingsError

FORMAT = 3
"""The one that this version reads and writes."""
TABLE = "format"
COLUMNS = {"number": "BIGINT"}


def format_of(connection: duckdb.DuckDBPyConnection, where: str) -> int:
    """The format of a database; 0 if it is none of a ledger. Raises IntegrityError if it says none, or several."""
    there = tables(connection)
    if TABLE in there:
        found = connection.execute(f"SELECT * FROM main.{TABLE} LIMIT 2").fetchall()
        if len(found) != 1 or len(found[0]) != 1 or type(found[0][0]) is not int or found[0][0] < 3:
            raise IntegrityError("the ledger does not say its format", where, "restore a backup")
        return int(found[0][0])
    if "events" not in there:
        return 0
    columns = "SELECT column_name FROM system.main.duckdb_columns() WHERE table_name = 'payloads'"
    return 2 if ("key",) in connection.execute(columns).fetchall() else 1


def check_format(number: int, where: str) -> None:
    """Raise SettingsError if a database of this format is not for this version."""
    if 0 < number < FORMAT:
        what = f"the ledger has format {number}, this version reads {FORMAT}"
        raise SettingsError(what, where, "`bailiwick upgrade` converts it, and makes a backup first")
    if number > FORMAT:
        what = f"a newer version wrote the ledger: it has format {number}, this version reads {FORMAT}"
        raise SettingsError(what, where, "use that version: a ledger does not go down")


def tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The names of all tables, but for those of databases that are attached."""
    query = "SELECT table_name FROM system.main.duckdb_tables() WHERE database_name = current_database()"
    return {row[0] for row in connection.execute(query).fetchall()}
