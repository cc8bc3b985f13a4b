"""An auditor's SQL: one SELECT over the columns, which reaches nothing else, takes no more than it may, and ends."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.ledger.ledger import Ledger
from store.ledger.query import select
from store.ledger.verify import verify
from store.records.errors import SettingsError, Timeout
from store.records.kinds import Kind


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, draft) -> Iterator[Ledger]:
    """A ledger with one run of three events and one event outside it. Shared: a query must not change it."""
    ledger = Ledger.open(tmp_path_factory.mktemp("query") / "data")
    ledger.append(draft(Kind.RUN_SUBMITTED, run="r1", principal="alice"), {"task": "secret words"})
    ledger.append(draft(Kind.STEP_COMPLETED, run="r1", step="1", tokens=5))
    ledger.append(draft(Kind.RUN_ENDED, run="r1", decision="completed"))
    ledger.append(draft(labels=None)).wait()
    yield ledger
    assert verify(ledger).events == 4
    ledger.close()


def test_a_select_sees_events_runs_and_payloads_as_people_expect(filled: Ledger) -> None:
    table = select(filled, "SELECT seq, kind, classification, integrity FROM events ORDER BY seq")
    assert table.columns == ("seq", "kind", "classification", "integrity")
    assert table.rows[0] == (1, "run.submitted", "internal", "trusted")
    assert table.rows[3] == (4, "note", None, None)
    assert not table.truncated
    assert select(filled, "SELECT run, status, events, tokens FROM runs").rows == (("r1", "completed", 3, 5),)
    assert select(filled, "SELECT * FROM payloads").columns == ("id", "tenant", "key", "bytes", "stored_bytes")
    first = select(filled, "FROM events LIMIT 1")
    assert first.columns[:7] == ("seq", "time", "kind", "run", "step", "actor", "decision")
    assert "bytes" not in first.columns


@pytest.mark.parametrize(
    "query",
    [
        "WITH ended AS (SELECT * FROM events WHERE kind = 'run.ended') SELECT count(*) FROM ended",
        "/* ; DROP TABLE events */ SELECT 1 -- ; DROP TABLE events",
        "SELECT 1;",
        "(SELECT 1) UNION SELECT 1",
        "VALUES (1)",
        "SELECT count(*) FROM events a JOIN events b USING (seq) WHERE a.kind = 'run.ended'",
    ],
)
def test_every_form_of_one_select_runs(filled: Ledger, query: str) -> None:
    assert select(filled, query).rows == ((1,),)


def test_values_come_as_plain_json(filled: Ledger) -> None:
    query = """SELECT 1.50::DECIMAL(4,2), 'nan'::DOUBLE, DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05', [1, NULL],
        {'a': 'é'}, 'a'::BLOB, NULL, true, 170141183460469231731687303715884105727::HUGEINT,
        '00000000-0000-0000-0000-000000000001'::UUID"""
    assert select(filled, query).rows[0] == (
        *("1.50", "nan", "2026-01-02", "2026-01-02T03:04:05", [1, None], {"a": "é"}, "61", None, True),
        *(2**127 - 1, "00000000-0000-0000-0000-000000000001"),
    )


def test_more_rows_than_asked_for_are_said_to_be_left_out(filled: Ledger) -> None:
    table = select(filled, "SELECT seq FROM events ORDER BY seq", max_rows=2)
    assert (table.rows, table.truncated) == (((1,), (2,)), True)
    assert not select(filled, "SELECT seq FROM events", max_rows=4).truncated


@pytest.mark.parametrize(
    "query",
    [
        *("", ";", "   -- nothing", "SELECT 1; DROP TABLE events", "SELECT 1; SELECT 2", "DROP TABLE events"),
        *("COPY events TO '/tmp/stolen.csv'", "ATTACH '/tmp/other.db'", "INSTALL httpfs", "LOAD httpfs"),
        *(
            "PRAGMA database_list",
            "SET threads = 1",
            "RESET ALL",
            "CALL pragma_version()",
            "CHECKPOINT",
            "EXPLAIN SELECT 1",
        ),
        *(
            "INSERT INTO events DEFAULT VALUES",
            "DELETE FROM events",
            "CREATE TABLE t (a INT)",
            "EXPORT DATABASE '/tmp/x'",
        ),
        *("BEGIN", "PREPARE p AS SELECT 1", "EXECUTE p", "USE memory", "SELECT ?", "SELECT $name", "SELEC 1", "SELECT"),
        *("PIVOT events ON kind", "CREATE SECRET s (TYPE s3)", "VACUUM", "\0"),
    ],
)
def test_anything_but_one_select_is_refused(filled: Ledger, query: str) -> None:
    with pytest.raises(SettingsError):
        select(filled, query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{path}')",
        "SELECT * FROM read_text('{path}')",
        "SELECT * FROM read_blob('{path}')",
        "SELECT * FROM read_json('{path}')",
        "SELECT * FROM read_parquet('{path}')",
        "SELECT * FROM sniff_csv('{path}')",
        "SELECT * FROM parquet_metadata('{path}')",
        "SELECT * FROM glob('{folder}/*')",
        "FROM '{path}'",
        "FROM '{folder}/*.csv'",
        "FROM 'http://127.0.0.1:9/x.csv'",
        "FROM read_text('http://127.0.0.1:9/x')",
        "FROM '/proc/self/environ'",
        "FROM read_text('/proc/self/fd/0')",
        "SELECT getenv('HOME')",
        "FROM duckdb_secrets()",
        "FROM query('DROP VIEW events')",
        "FROM query('FROM read_text(''{path}'')')",
        "FROM request",
        "FROM connection",
        "WITH gone AS (DELETE FROM stored_events RETURNING *) SELECT * FROM gone",
        "WITH more AS (INSERT INTO stored_payloads VALUES ('a', 'b', 'c', 1, 1) RETURNING *) SELECT * FROM more",
        "FROM ledger.events",
    ],
)
def test_what_hides_in_a_select_reaches_nothing(filled: Ledger, tmp_path: Path, query: str) -> None:
    path = tmp_path / "private.csv"
    path.write_text("a,b\nprivate,words\n")
    with pytest.raises(SettingsError, match="does not run") as refused:
        select(filled, query.format(path=path, folder=tmp_path))
    assert "words" not in str(refused.value)
    assert verify(filled).ok


def test_content_is_nowhere_to_be_found(filled: Ledger) -> None:
    tables = select(filled, "SELECT table_name FROM information_schema.tables ORDER BY 1").rows
    views = ("checkpoints", "events", "payloads", "runs", "tombstones")
    stored = ("stored_checkpoints", "stored_events", "stored_payloads", "stored_tombstones")
    assert tables == tuple((name,) for name in sorted((*views, *stored)))
    assert select(filled, "SELECT count(*) FROM duckdb_columns() WHERE column_name IN ('data')").rows == ((0,),)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT length(repeat('x', 1000000000))",
        "SELECT list_sort(range(50000000))[1]",
        "SELECT string_agg(i::VARCHAR, ',') FROM range(100000000) t(i)",
        "SELECT count(DISTINCT i) FROM range(1000000000) t(i)",
        "WITH a AS " + "(WITH a AS " * 400 + "(SELECT 1)",  # the parser tries every way to read it
    ],
)
def test_a_query_gets_no_more_memory_than_it_may(filled: Ledger, query: str) -> None:
    with pytest.raises(SettingsError, match="needs more than 128MB"):
        select(filled, query, timeout_s=120, memory="128MB")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM range(1000000000) a, range(1000000) b",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
        "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))",
    ],
)
def test_a_query_gets_no_more_time_than_it_may(filled: Ledger, query: str) -> None:
    with pytest.raises(Timeout, match="did not end in 1 s"):
        select(filled, query, timeout_s=1)


def test_a_result_gets_no_more_room_than_it_may(filled: Ledger) -> None:
    with pytest.raises(SettingsError, match="result has more than"):
        select(filled, "SELECT repeat('x', 40000000)", timeout_s=60)


@pytest.mark.parametrize("memory", ["", "MB", "-1MB", "1TB", "a lot"])
def test_an_amount_of_memory_must_be_one(filled: Ledger, memory: str) -> None:
    with pytest.raises(SettingsError, match="no amount of memory"):
        select(filled, "SELECT 1", memory=memory)


def test_appends_go_on_while_a_query_runs(ledger: Ledger, draft) -> None:
    def ask() -> None:
        with pytest.raises(Timeout):
            select(ledger, "SELECT count(*) FROM range(1000000000) a, range(1000000) b", timeout_s=1)

    thread = threading.Thread(target=ask)
    thread.start()
    appended = 0
    while thread.is_alive():
        ledger.append(draft()).wait(30)
        appended += 1
    assert appended > 1
    assert verify(ledger).ok


def test_a_closed_ledger_can_be_queried_when_no_runtime_is_up(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft()).wait()
    with Ledger.open(folder, read_only=True) as ledger:
        assert select(ledger, "SELECT count(*) FROM events").rows == ((1,),)


def test_the_sandbox_needs_no_code_of_ours(filled: Ledger, tmp_path: Path, monkeypatch) -> None:
    """A hostile folder and environment change nothing: the child sees neither."""
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert select(filled, "SELECT 1").rows == ((1,),)
    assert str(tmp_path) not in sys.path
