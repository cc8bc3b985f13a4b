"""An auditor's SQL: one SELECT over a copy of the columns, in a process that can reach nothing else.

DuckDB does not count memory inside functions and cannot be interrupted within one huge value, and its parser can take
all memory for a text of one kilobyte. So a query is parsed and run in a child (`sandbox`) that the kernel limits and
that is killed when its time is over; here it is a text. It sees, of one tenant or of all, the views `events`,
`runs`, `checkpoints`, `payloads` (without content) and `tombstones` (of payloads that are no more), as of the moment it
was asked; nothing it does can reach the ledger.
"""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow.ipc as arrow_ipc

from store.ledger import schema
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import SettingsError, Timeout, Unreachable

_new_file: Callable[..., Any] = arrow_ipc.new_file  # pyarrow has no types

RESULT_BYTES = 32 * 2**20
"""The most that a result may take as JSON."""

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}

_OWN = "tenant = coalesce($tenant, tenant)"
_TABLES = {
    "stored_events": f"SELECT * FROM events WHERE seq <= $last AND {_OWN} ORDER BY seq",
    "stored_checkpoints": "SELECT size, time, note FROM checkpoints WHERE size <= $last ORDER BY size",
    "stored_tombstones": "SELECT id, event FROM tombstones "
    f"WHERE event <= $last AND event IN (SELECT seq FROM events WHERE {_OWN}) ORDER BY event, id",
    "stored_payloads": "SELECT id, tenant, key, size AS bytes, octet_length(data) AS stored_bytes FROM payloads "
    f"WHERE {_OWN}",
}
"""What the child gets. A checkpoint is a number and a hash over all events, and no tenant's."""
_LABELS = ", ".join(f"json_extract_string(labels, '$.{name}') AS {name}" for name in ("classification", "integrity"))
_FIRST = "seq, time, kind, run, step, actor, decision"  # what a person looks for
_VIEWS = (
    f"CREATE VIEW events AS SELECT {_FIRST}, * EXCLUDE ({_FIRST}), {_LABELS} FROM stored_events",
    f"CREATE VIEW runs AS {schema.RUNS.format(events='stored_events')}",
    "CREATE VIEW payloads AS FROM stored_payloads",
    "CREATE VIEW tombstones AS FROM stored_tombstones",
    "CREATE VIEW checkpoints AS FROM stored_checkpoints",
)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a query, as plain JSON values. `truncated` says that there were more rows than asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Json, ...], ...]
    truncated: bool


def select(
    ledger: Ledger,
    query: str,
    max_rows: int = 1000,
    timeout_s: float = 10.0,
    memory: str = "256MB",
    tenant: str | None = None,
) -> Table:
    """The rows of one SELECT over what is there of a tenant, or of all. Blocks for up to `timeout_s`; call it from a
    thread of its own.

    Raises SettingsError if it is anything but one SELECT, does not run, needs more memory or gives too much, and
    Timeout.
    """
    limit = _bytes(memory)
    with ExitStack() as stack:
        files = {name: stack.enter_context(tempfile.TemporaryFile()) for name in _TABLES}
        _export(ledger, files, tenant)
        request = {
            "query": query,
            "tables": {name: file.fileno() for name, file in files.items()},
            "views": _VIEWS,
            "max_rows": max_rows,
            "memory": limit,
            "seconds": timeout_s,
        }
        answer = _ask(request, [file.fileno() for file in files.values()], timeout_s)
    if answer.get("error") == "memory":
        raise SettingsError(f"the query needs more than {memory}", do="narrow it, or aggregate")
    if "error" in answer:
        raise SettingsError(answer["text"])
    return Table(tuple(answer["columns"]), tuple(tuple(row) for row in answer["rows"]), answer["truncated"])


def _bytes(memory: str) -> int:
    number, unit = memory[:-2], memory[-2:]
    if not number.isdigit() or unit not in _UNITS:
        raise SettingsError(f"{memory!r} is no amount of memory", do="write it as in 256MB")
    return int(number) * _UNITS[unit]


def _export(ledger: Ledger, files: Mapping[str, IO[bytes]], tenant: str | None) -> None:
    """Write the rows into files that have no name. A cursor's snapshot: the writer goes on meanwhile."""
    asked = {"last": ledger.last_seq(), "tenant": tenant}
    with ledger.reader.cursor() as cursor:
        for name, file in files.items():
            used = {key: value for key, value in asked.items() if f"${key}" in _TABLES[name]}
            reader = cursor.sql(_TABLES[name], params=used).to_arrow_reader(10_000)
            with _new_file(file, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
            file.flush()


def _ask(request: dict[str, Json], descriptors: list[int], timeout_s: float) -> dict[str, Json]:
    """Run the sandbox for one request."""
    script = Path(__file__).with_name("sandbox.py")
    with subprocess.Popen(
        [sys.executable, "-I", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        cwd="/",
        env={},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        alarm = threading.Timer(timeout_s, stop)
        alarm.start()
        try:
            child.stdin.write(json.dumps(request).encode())
            child.stdin.close()
            output = child.stdout.read(RESULT_BYTES + 1)
            if len(output) <= RESULT_BYTES:
                child.wait()  # it has closed its output; the alarm ends it if it hangs
        except BrokenPipeError:
            output = b""
            child.wait()
        finally:
            alarm.cancel()
            child.kill()
    if late.is_set() or child.returncode == -signal.SIGXCPU:
        raise Timeout(f"the query did not end in {timeout_s:g} s", do="narrow it, or aggregate")
    if len(output) > RESULT_BYTES:
        raise SettingsError(f"the result has more than {RESULT_BYTES:,} bytes", do="select less")
    if child.returncode > 0:
        raise Unreachable("the process for queries does not run", str(script), "install the application again")
    # A child that a signal ended without a word met its limit: an allocation failed inside native code.
    answer: dict[str, Json] = json.loads(output) if output else {"error": "memory"}
    return answer
