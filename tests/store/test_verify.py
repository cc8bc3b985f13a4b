"""Verification: whoever changes the file with DuckDB itself, in whatever place, is found out and the event named."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from store.ledger import schema
from store.ledger.ledger import Ledger
from store.ledger.verify import REPORTED, Verification, verify
from store.records.canonical import canonical, sha256
from store.records.errors import BailiwickError, IntegrityError
from store.records.kinds import Kind
from store.records.labels import trusted

EVENTS = 6


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, draft) -> Path:
    """A closed ledger of six events by two actors in two epochs, four of them with payloads."""
    folder = tmp_path_factory.mktemp("verify") / "data"
    for epoch in range(2):
        with Ledger.open(folder) as ledger:
            for number in range(3):
                more = {"run": "r1", "step": f"{epoch}.{number}", "tokens": number, "cause": epoch}
                actor = "worker" if number == 1 else "core"
                payload = {"text": f"{epoch} and {number}"} if number < 2 else None
                ledger.append(draft(Kind.STEP_COMPLETED, actor=actor, **more), payload)
    return folder


@pytest.fixture
def written(original: Path, folder: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(original, folder))


def tamper(folder: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Change the file behind the ledger's back. Only the last statement takes values."""
    with duckdb.connect(str(folder / "ledger.duckdb")) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)
        connection.execute(statements[-1], list(values))


def verified(folder: Path) -> Verification:
    with Ledger.open(folder, read_only=True) as ledger:
        return verify(ledger)


def stored_bytes(folder: Path, seq: int) -> bytes:
    with Ledger.open(folder, read_only=True) as ledger, ledger.reader.cursor() as cursor:
        return bytes(cursor.execute("SELECT bytes FROM events WHERE seq = ?", [seq]).fetchall()[0][0])


def names(found: Verification, seq: int) -> bool:
    """Whether a problem begins with this event."""
    return not found.ok and any(problem.startswith(f"event {seq} ") for problem in found.problems)


def test_an_untouched_ledger_verifies(written: Path) -> None:
    assert verified(written) == Verification(True, EVENTS, ())


def test_an_empty_ledger_verifies(folder: Path) -> None:
    with Ledger.open(folder) as ledger:
        assert verify(ledger) == Verification(True, 0, ())


def test_verification_works_beside_a_writer(ledger, draft) -> None:
    for number in range(50):
        ledger.append(draft(), {"n": number})
    assert verify(ledger).ok
    ledger.append(draft()).wait()
    assert verify(ledger).events == 51


@pytest.mark.parametrize("seq", range(1, EVENTS + 1))
def test_one_byte_of_any_event_is_found(written: Path, seq: int) -> None:
    data = stored_bytes(written, seq)
    for place in range(seq, len(data), len(data) // 4):
        changed = bytearray(data)
        changed[place] ^= 1
        tamper(written, "UPDATE events SET bytes = ? WHERE seq = ?", values=(bytes(changed), seq))
        assert names(verified(written), seq), place
    tamper(written, "UPDATE events SET bytes = ? WHERE seq = ?", values=(data, seq))
    assert verified(written).ok


@pytest.mark.parametrize("column", [*schema.FIELDS, "hash"])
def test_one_projected_column_is_found(written: Path, column: str) -> None:
    kind = schema.EVENT_COLUMNS[column]
    change = {
        "BIGINT": f'"{column}" + 1000',
        "TIMESTAMP": f'"{column}" + INTERVAL 1 MICROSECOND',
        "VARCHAR": f"\"{column}\" || 'x'",
    }
    tamper(written, f'UPDATE events SET "{column}" = {change[kind]} WHERE seq = 4')
    found = verified(written)
    assert names(found, 1004 if column == "seq" else 4), found.problems
    if column not in {"hash", "seq"}:
        assert any(f"another {column} in its column" in problem for problem in found.problems)


def test_labels_taken_away_are_found(written: Path) -> None:
    tamper(written, "UPDATE events SET labels = NULL WHERE seq = 2")
    assert names(verified(written), 2)


def test_a_forger_who_mends_hash_and_columns_breaks_the_chain(written: Path) -> None:
    body = json.loads(stored_bytes(written, 1))
    body["decision"] = "allow"
    data = canonical(body)
    change = "UPDATE events SET bytes = ?, hash = ?, decision = 'allow' WHERE seq = 1"
    tamper(written, change, values=(data, sha256(data)))
    assert verified(written).problems == (
        "event 3 does not chain to event 1, the same actor's last: one of them, or one between, was changed",
        "the checkpoint of 3 events signed other events than those that are there",
    )


def test_a_deleted_event_is_found(written: Path) -> None:
    tamper(written, "DELETE FROM events WHERE seq = 3")
    found = verified(written)
    assert "event 4 follows event 2: event 3 is missing" in found.problems
    assert found.events == EVENTS - 1


def test_a_deleted_beginning_is_found(written: Path) -> None:
    tamper(written, "DELETE FROM events WHERE seq < 4")
    assert "event 4 follows event 0: events 1 to 3 are missing" in verified(written).problems


def test_a_deleted_end_with_a_payload_is_found_by_what_it_leaves(written: Path) -> None:
    tamper(written, "DELETE FROM events WHERE seq > 4")
    assert any("belongs to no event" in problem for problem in verified(written).problems)


def test_an_inserted_event_is_found(written: Path) -> None:
    body = json.loads(stored_bytes(written, 6)) | {"seq": 7, "decision": "allow"}
    data = canonical(body)
    forged = "7 AS seq, 'allow' AS decision, ? AS hash, ? AS bytes"
    change = f"INSERT INTO events SELECT * REPLACE ({forged}) FROM events WHERE seq = 6"
    tamper(written, change, values=(sha256(data), data))
    assert names(verified(written), 7)


def test_a_repeated_event_is_found_in_a_table_that_lost_its_key(written: Path) -> None:
    tamper(
        written,
        "CREATE TABLE copied AS FROM events",
        "DROP TABLE events",
        "ALTER TABLE copied RENAME TO events",
        "INSERT INTO events FROM events WHERE seq = 2",
    )
    found = verified(written)
    assert "event 2 is there 2 times" in found.problems


def test_reordered_events_are_found(written: Path) -> None:
    swap = "UPDATE events SET seq = CASE seq WHEN 102 THEN 3 ELSE 2 END WHERE seq > 100"
    tamper(written, "UPDATE events SET seq = seq + 100 WHERE seq IN (2, 3)", swap)
    found = verified(written)
    assert names(found, 2)
    assert names(found, 3)


def test_a_swapped_payload_is_found(written: Path) -> None:
    with Ledger.open(written, read_only=True) as ledger:
        first, second, *_ = (event for event in ledger.events() if event.payload)
    data = "(SELECT data FROM payloads WHERE id = ?)"
    change = f"UPDATE payloads SET data = {data}, size = (SELECT size FROM payloads WHERE id = ?) WHERE id = ?"
    tamper(written, change, values=(second.payload, second.payload, first.payload))
    expected = f"event {first.seq}: payload {first.payload} is not what was recorded under this id"
    assert verified(written).problems == (expected,)
    with Ledger.open(written, read_only=True) as ledger, pytest.raises(IntegrityError, match="not what was recorded"):
        ledger.payload(first.payload)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DELETE FROM payloads WHERE id = ?", "is missing"),
        ("UPDATE payloads SET size = size + 1 WHERE id = ?", "has another size"),
        ("UPDATE payloads SET data = 'junk'::BLOB WHERE id = ?", "payload"),
        ("UPDATE payloads SET tenant = 'other' WHERE id = ?", "is another tenant's"),
        ("UPDATE payloads SET size = 1000000000000 WHERE id = ?", "has another size"),
    ],
)
def test_a_damaged_payload_is_found(written: Path, change: str, says: str) -> None:
    with Ledger.open(written, read_only=True) as ledger:
        target = ledger.events()[0]
    tamper(written, change, values=(target.payload,))
    found = verified(written)
    assert any(problem.startswith("event 1: ") and says in problem for problem in found.problems), found


def test_a_payload_without_an_event_is_found(written: Path) -> None:
    tamper(written, "INSERT INTO payloads VALUES (repeat('0', 64), 'acme', '', 1, 'x'::BLOB)")
    assert any("belongs to no event" in problem for problem in verified(written).problems)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 99},
        {"labels": {"tenant": "acme"}},
        {"seq": "2"},
        {"epoch": None},
        {"unknown": 1},
        {"cause": 7},
        {"epoch": 0},
        {"labels": []},
    ],
)
def test_bytes_that_are_no_event_of_ours_are_found(written: Path, change: dict[str, object]) -> None:
    data = canonical(json.loads(stored_bytes(written, 2)) | change)
    tamper(written, "UPDATE events SET bytes = ?, hash = ? WHERE seq = 2", values=(data, sha256(data)))
    assert names(verified(written), 2)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tokens", 2**60),
        ("tokens", -(2**53)),
        ("labels", {"tenant": "acme"}),
        ("labels", {"tenant": 1.0}),
    ],
)
def test_what_is_no_event_is_found_though_bytes_and_column_agree(written: Path, column: str, value: object) -> None:
    body = json.loads(stored_bytes(written, 2)) | {column: value}
    data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    shown = json.dumps(value, sort_keys=True, separators=(",", ":")) if column == "labels" else value
    change = f'UPDATE events SET bytes = ?, hash = ?, "{column}" = ? WHERE seq = 2'
    tamper(written, change, values=(data, sha256(data), shown))
    assert names(verified(written), 2)


def test_bytes_with_spaces_are_found(written: Path) -> None:
    data = json.dumps(json.loads(stored_bytes(written, 2))).encode()
    tamper(written, "UPDATE events SET bytes = ?, hash = ? WHERE seq = 2", values=(data, sha256(data)))
    assert "event 2 has bytes that are not canonical" in verified(written).problems


def test_a_changed_event_is_not_read(written: Path) -> None:
    tamper(written, "UPDATE events SET bytes = 'x'::BLOB WHERE seq = 2")
    with Ledger.open(written, read_only=True) as ledger, pytest.raises(IntegrityError, match="event 2 is not"):
        ledger.events()


def test_a_table_of_another_shape_is_refused(written: Path) -> None:
    tamper(written, "ALTER TABLE events ADD COLUMN extra VARCHAR")
    for read_only in (True, False):
        with pytest.raises(IntegrityError, match="not one that this version writes"):
            Ledger.open(written, read_only=read_only)


def test_bytes_flipped_in_the_file_itself_are_found(written: Path) -> None:
    path = written / "ledger.duckdb"
    original = path.read_bytes()
    data_starts = 3 * 4096  # behind DuckDB's three header blocks
    for place in range(data_starts, len(original), len(original) // 12):
        flipped = bytearray(original)
        flipped[place] ^= 0xFF
        path.write_bytes(bytes(flipped))
        try:
            found = verified(written)
        except BailiwickError:
            continue
        # A byte of a block that nothing uses harms nothing; the rows are then the same.
        assert found == Verification(True, EVENTS, ()) or not found.ok
    path.write_bytes(original)
    assert verified(written).ok


def test_many_problems_are_counted_and_not_all_named(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        for _ in range(REPORTED + 50):
            ledger.append(draft())
    tamper(folder, "UPDATE events SET decision = 'allow'")
    found = verified(folder)
    assert len(found.problems) == REPORTED + 1
    assert found.problems[-1] == "and 50 more"


def test_labels_of_the_fixture_are_columns(written: Path) -> None:
    with Ledger.open(written, read_only=True) as ledger, ledger.reader.cursor() as cursor:
        rows = cursor.execute("SELECT DISTINCT labels FROM events").fetchall()
    assert rows == [(canonical(trusted("acme", "user").json()).decode(),)]


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (("CREATE MACRO strftime(a, b) AS '2026-01-01T00:00:00.000000Z'",), "function 'strftime'"),
        (("CREATE MACRO duckdb_views() AS TABLE SELECT 1",), "function 'duckdb_views'"),
        (("ALTER TABLE events RENAME TO real", "CREATE VIEW events AS SELECT * FROM real"), "'(events|real)'"),
        (("CREATE SCHEMA y", "CREATE TABLE y.events AS SELECT * FROM events"), "'(y|events)'"),
        (("CREATE TABLE more (a INT)",), "table 'more'"),
        (("CREATE TYPE mood AS ENUM ('a')",), "type 'mood'"),
        (("CREATE SEQUENCE s",), "sequence 's'"),
        (("ALTER TABLE tombstones ALTER event SET DEFAULT 7",), "table 'tombstones'"),
    ],
)
def test_whatever_else_is_in_the_database_is_refused(written: Path, made: tuple[str, ...], what: str) -> None:
    tamper(written, *made)
    for read_only in (True, False):
        with pytest.raises(IntegrityError, match=what):
            Ledger.open(written, read_only=read_only)
