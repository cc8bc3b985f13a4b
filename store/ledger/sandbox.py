"""The process that runs an auditor's SELECT. Started by `query` as a script of its own, for one query.

It gets no environment, no data folder and no code of Bailiwick: only the rows, as Arrow files on descriptors it
inherits, and one request on its standard input. It must never reach a file, the network or the ledger. DuckDB's own
limits hold first; the kernel's hold where DuckDB does not count (memory inside functions) or does not listen (a
function over one huge value cannot be interrupted), and the parent kills it when its time is over.
"""

import json
import math
import mmap
import os
import resource
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow.ipc as arrow_ipc

_open_file: Callable[..., Any] = arrow_ipc.open_file  # pyarrow has no types

ROOM = 64 * 2**20
"""Bytes of memory beyond the query's own: threads, Arrow's bookkeeping, the rows on their way out."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "temp_directory": "",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}

_LOCKDOWN = (
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class Refused(Exception):
    """The text is not exactly one SELECT."""


def main() -> None:
    """Run the request on standard input, write the answer on standard output: one JSON object each."""
    request = json.loads(sys.stdin.buffer.read())
    try:
        answer = run(request)
    except (MemoryError, duckdb.OutOfMemoryException):
        answer = {"error": "memory"}
    except Refused as error:
        answer = {"error": "refused", "text": str(error)}
    except duckdb.Error as error:
        answer = {"error": "query", "text": f"the query does not run: {first_line(error)}"}
    sys.stdout.write(json.dumps(answer, allow_nan=False))


def run(request: dict[str, Any]) -> dict[str, Any]:
    """The columns and rows of the request's query, and whether there were more rows than asked for."""
    connection = duckdb.connect(":memory:", config={**_CONFIG, "memory_limit": f"{request['memory']}B"})
    for name, descriptor in request["tables"].items():
        connection.register(name, _rows(descriptor))
    for statement in (*request["views"], *_LOCKDOWN, "BEGIN TRANSACTION READ ONLY"):
        connection.execute(statement)
    confine(request["memory"], request["seconds"])
    check(connection, request["query"])
    connection.execute(request["query"])
    columns = [column[0] for column in connection.description or ()]
    rows = connection.fetchmany(request["max_rows"] + 1)
    return {
        "columns": columns,
        "rows": [[plain(value) for value in row] for row in rows[: request["max_rows"]]],
        "truncated": len(rows) > request["max_rows"],
    }


def check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse what is not exactly one SELECT. What hides inside one is stopped when it runs."""
    try:
        statements = connection.extract_statements(query)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise Refused(f"the query is not SQL: {first_line(error)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Refused("the query must be exactly one SELECT")
    if statements[0].named_parameters:
        raise Refused("the query must not have parameters")


def first_line(error: duckdb.Error) -> str:
    """What DuckDB says, without its hints."""
    return next(iter(str(error).splitlines()), "")


def _rows(descriptor: int) -> Any:
    """The table in an inherited Arrow file, without copying it: the kernel pages it in as it is read."""
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    os.close(descriptor)
    return _open_file(mapped).read_all()


def confine(memory: int, seconds: float) -> None:
    """Let the kernel hold what DuckDB may not: memory, processor time, files, core dumps."""
    resource.setrlimit(resource.RLIMIT_DATA, (used_data() + memory + ROOM,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (4 * math.ceil(seconds) + 1,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def used_data() -> int:
    """Bytes of private writable memory of this process, as RLIMIT_DATA counts them."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


def plain(value: object) -> object:
    """A value as JSON has it: times as ISO 8601, bytes as hex, what has no JSON as text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case Decimal() | UUID() | timedelta():
            return str(value)
    return str(value)


if __name__ == "__main__":
    main()
