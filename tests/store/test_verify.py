"""Verification: whoever changes the file with DuckDB itself, in whatever place, is found out and the event named."""

import shutil
from pathlib import Path

import duckdb
import pytest

from store.ledger import schema
from store.ledger.ledger import Ledger
from store.ledger.verify import REPORTED, Verification, verify
from store.records.canonical import canonical, canonical_names, sha256
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


def forge(folder: Path, seq: int, **fields: object) -> None:
    """Change an event, and its hash with it."""
    with Ledger.open(folder, read_only=True) as ledger:
        event = ledger.reader.event(seq)
    body = event.json() | fields
    digest = sha256(canonical_names(body))
    shown = {name: canonical_names(value).decode() if name == "labels" else value for name, value in fields.items()}
    changes = ", ".join(f'"{name}" = ?' for name in shown)
    tamper(folder, f"UPDATE events SET {changes}, hash = ? WHERE seq = ?", values=(*shown.values(), digest, seq))


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


@pytest.mark.parametrize("column", [*schema.FIELDS, "hash"])
def test_one_changed_column_is_found(written: Path, column: str) -> None:
    kind = schema.EVENT_COLUMNS[column]
    change = {
        "BIGINT": f'"{column}" + 1000',
        "TIMESTAMP": f'"{column}" + INTERVAL 1 MICROSECOND',
        "VARCHAR": f"\"{column}\" || 'x'",
    }
    tamper(written, f'UPDATE events SET "{column}" = {change[kind]} WHERE seq = 4')
    found = verified(written)
    assert names(found, 1004 if column == "seq" else 4), found.problems


def test_labels_taken_away_are_found(written: Path) -> None:
    tamper(written, "UPDATE events SET labels = NULL WHERE seq = 2")
    assert names(verified(written), 2)


def test_a_deleted_beginning_is_found(written: Path) -> None:
    tamper(written, "DELETE FROM events WHERE seq < 4")
    assert "event 4 follows event 0: events 1 to 3 were deleted" in verified(written).problems


def test_a_deleted_end_with_a_payload_is_found_by_what_it_leaves(written: Path) -> None:
    tamper(written, "DELETE FROM events WHERE seq > 4")
    assert any("belongs to no event" in problem for problem in verified(written).problems)


@pytest.mark.parametrize(
    "made",
    [
        ["CREATE TABLE copied AS FROM events", "DROP TABLE events", "ALTER TABLE copied RENAME TO events"],
        ["ALTER TABLE events ALTER principal DROP NOT NULL", "UPDATE events SET principal = NULL WHERE seq = 2"],
        ["ALTER TABLE events ALTER hash DROP NOT NULL"],
    ],
)
def test_a_table_that_lost_its_keys_or_may_have_gaps_is_refused(written: Path, made: list[str]) -> None:
    tamper(written, *made)
    for read_only in (True, False):
        with pytest.raises(IntegrityError, match="not one that this version writes"):
            Ledger.open(written, read_only=read_only)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DELETE FROM payloads WHERE id = ?", "is missing"),
        ("UPDATE payloads SET size = size + 1 WHERE id = ?", "has another size"),
        ("UPDATE payloads SET data = 'junk'::BLOB WHERE id = ?", "payload"),
        ("UPDATE payloads SET tenant = 'other' WHERE id = ?", "is another tenant's"),
        ("UPDATE payloads SET place = place + 1 WHERE id = ?", "stands in another's place"),
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
    tamper(written, "INSERT INTO payloads VALUES (repeat('0', 64), 'acme', '', 1, 'x'::BLOB, 0)")
    assert any("belongs to no event" in problem for problem in verified(written).problems)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("schema", 99),
        ("cause", 7),
        ("epoch", 0),
        ("tokens", 2**60),
        ("tokens", -(2**53)),
        ("tokens", -1),
        ("step", "\x1b"),
        ("step", "two\nlines"),
        ("payload", "\x00"),
        ("run", "x" * 513),
        ("time", "infinity"),
        ("time", "12345-01-01 00:00:00"),
        ("labels", {"tenant": "a\tb"}),
        ("labels", {"tenant": "acme"}),
        ("labels", []),
        ("labels", {"tenant": 1.0}),
    ],
)
def test_what_is_no_event_of_ours_is_found_though_its_hash_fits(written: Path, column: str, value: object) -> None:
    forge(written, 2, **{column: value})
    assert names(verified(written), 2)


@pytest.mark.parametrize(("column", "value"), [("step", "\x1b"), ("payload", "\x0b"), ("time", "infinity")])
def test_what_is_no_event_is_never_signed(folder: Path, draft, column: str, value: str) -> None:
    with Ledger.open(folder) as ledger:
        for _ in range(3):
            ledger.append(draft())
    tamper(folder, "DELETE FROM checkpoints")
    forge(folder, 3, **{column: value})
    with pytest.raises(IntegrityError, match="event 3 is not"):
        Ledger.open(folder)
    with Ledger.open(folder, read_only=True) as ledger:
        assert names(verify(ledger), 3)
        assert ledger.reader.checkpoint() is None


def test_labels_that_are_not_canonical_are_found(written: Path) -> None:
    tamper(written, "UPDATE events SET labels = replace(labels, ',', ', ') WHERE seq = 2")
    assert "event 2 is no event: its fields are not what an event has" in verified(written).problems


def test_a_changed_event_is_not_read(written: Path) -> None:
    tamper(written, "UPDATE events SET decision = 'x' WHERE seq = 2")
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
    assert found.problems[-1] == "and 52 more"  # with the tree and what the checkpoint signed


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
