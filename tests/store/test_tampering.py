"""The table of tampering: what somebody who can write the files does, by name, and what finds it and says so by name.

Each is done to a database, which is then opened for reading and verified, and to an audit folder, which the verifier of
one file then checks in a process of its own. Whoever does it knows the format: hashes, numbers and links are mended as
far as is said, but nobody can sign with the key of the log, except in a fork, where its owner does.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.audit_folder import export
from runtime.queries import LedgerQueries
from store.ledger import schema
from store.ledger.ledger import Ledger
from store.ledger.verify import verify
from store.records.event import GENESIS, Draft, Event
from store.records.kinds import Kind
from store.verify import CHECKPOINTS_FILE, EVENTS_FILE, KEY_FILE, Checkpoint, Key, Peaks, leaf_hash

EVENTS = 8
"""Odd ones by `core`, even ones by `worker`; a checkpoint covers four, another all."""
History = list[Event]


@dataclass(frozen=True)
class Site:
    """A ledger, its mirror, and its export; the key that whoever verifies has pinned, and a checkpoint they kept."""

    data: Path
    mirror: Path
    out: Path
    pinned: str
    kept: Path

    def history(self) -> History:
        """The events that are there."""
        with Ledger.open(self.data, read_only=True) as ledger:
            return ledger.events()

    def write(self, events: Sequence[Event], database: bool) -> None:
        """Put other events in the place of all that are there."""
        if not database:
            (self.out / EVENTS_FILE).write_bytes(b"".join(event.canonical() + b"\n" for event in events))
            return
        marks = ", ".join("?" * len(schema.EVENT_COLUMNS))
        with duckdb.connect(str(self.data / "ledger.duckdb")) as connection:
            connection.execute("DELETE FROM events")
            rows = [schema.row(event, event.hash) for event in events]
            connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)

    def problems(self, database: bool) -> list[str]:
        """What is found, by whoever has the mirror and the pinned key."""
        if database:
            with Ledger.open(self.data, read_only=True, mirror=self.mirror) as ledger:
                return list(verify(ledger).problems)
        command = [sys.executable, "-I", str(self.out / "verify.py"), str(self.out), "--key", self.pinned]
        done = subprocess.run([*command, "--since", str(self.kept)], capture_output=True, text=True, check=False)
        assert done.returncode == (0 if done.stdout.startswith("ok: ") else 7), done.stderr
        return [line for line in done.stdout.splitlines() if not line.startswith("ok: ")]


def exported(data: Path, mirror: Path | None, out: Path) -> None:
    with Ledger.open(data, read_only=True, mirror=mirror) as ledger:
        asyncio.run(export(LedgerQueries(ledger), out))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with it all, and a copy of the data folder as it was after four events."""
    top = tmp_path_factory.mktemp("tampering")
    data, mirror = top / "data", top / "mirror"
    mirror.mkdir()
    for first in (0, EVENTS // 2):
        if first:
            shutil.copytree(data, top / "half")
        append(data, mirror, first)
    exported(data, mirror, top / "out")
    (top / "kept").write_text(json.loads(max(mirror.glob("*")).read_text().splitlines()[-1])["note"])
    return top


def append(data: Path, mirror: Path | None, first: int, decision: str = "deny") -> None:
    """Four events, signed when the ledger is closed."""
    with Ledger.open(data, mirror=mirror) as ledger:
        for number in range(first, first + EVENTS // 2):
            actor = "worker" if number % 2 else "core"
            draft = Draft(kind=Kind.DECISION, tenant="acme", actor=actor, actor_version="1", decision=decision)
            ledger.append(draft, {"text": f"{decision} {number}"})


@pytest.fixture
def site(original: Path, tmp_path: Path) -> Site:
    """A copy of it, to be tampered with."""
    top = Path(shutil.copytree(original, tmp_path / "site"))
    pinned = Key.parse((top / "out" / KEY_FILE).read_text()).fingerprint
    return Site(top / "data", top / "mirror", top / "out", pinned, top / "kept")


def chained(events: Sequence[Event]) -> History:
    """The events numbered anew, and each actor's linked anew."""
    heads: dict[str, str] = {}
    found = []
    for seq, event in enumerate(events, 1):
        found.append(replace(event, seq=seq, prev=heads.get(event.actor, GENESIS)))
        heads[event.actor] = found[-1].hash
    return found


def flip_a_bit(site: Site, database: bool) -> None:
    """Of event 3, whose hash stays as it was."""
    if database:
        with duckdb.connect(str(site.data / "ledger.duckdb")) as connection:
            connection.execute("UPDATE events SET tokens = xor(tokens, 1) WHERE seq = 3")
    else:
        lines = (site.out / EVENTS_FILE).read_bytes().splitlines(keepends=True)
        lines[2] = lines[2].replace(b'"tokens":0', b'"tokens":1')  # '0' and '1' differ in one bit
        (site.out / EVENTS_FILE).write_bytes(b"".join(lines))


def change(site: Site, database: bool) -> None:
    """Event 3 says allow, and has a hash that fits."""
    history = site.history()
    site.write([replace(each, decision="allow") if each.seq == 3 else each for each in history], database)


def delete(site: Site, database: bool) -> None:
    """Event 3 is gone."""
    site.write([each for each in site.history() if each.seq != 3], database)


def delete_and_renumber(site: Site, database: bool) -> None:
    """Event 3 is gone, and those after it have moved up."""
    left = [each for each in site.history() if each.seq != 3]
    site.write([replace(each, seq=seq) for seq, each in enumerate(left, 1)], database)


def insert(site: Site, database: bool) -> None:
    """An event between the third and the fourth, linked to its actor's last; those after it have moved down."""
    history = site.history()
    forged = replace(history[2], decision="allow", prev=history[2].hash, payload="")
    events = [*history[:3], forged, *history[3:]]
    site.write([replace(each, seq=seq) for seq, each in enumerate(events, 1)], database)


def reorder(site: Site, database: bool) -> None:
    """Events 2 and 3 have changed places, and numbers."""
    first, second, third, *rest = site.history()
    site.write([first, replace(third, seq=2), replace(second, seq=3), *rest], database)


def truncate(site: Site, database: bool) -> None:
    """All after event 4 is gone, with what was signed over it here; the mirror has that, or who verifies."""
    site.write(site.history()[:4], database)
    if database:
        with duckdb.connect(str(site.data / "ledger.duckdb")) as connection:
            connection.execute("DELETE FROM checkpoints WHERE size > 4")
            connection.execute("DELETE FROM payloads WHERE id NOT IN (SELECT payload FROM events)")
    else:
        lines = (site.out / CHECKPOINTS_FILE).read_text().splitlines(keepends=True)
        (site.out / CHECKPOINTS_FILE).write_text(lines[0])


def fork(site: Site, database: bool) -> None:
    """The log's owner shows another history since event 4, as long and signed with the same key."""
    other = site.data.with_name("half")
    append(other, None, 4, "allow")
    if database:
        (other / "ledger.duckdb").replace(site.data / "ledger.duckdb")
        shutil.rmtree(site.data / "keys")
        (other / "keys").replace(site.data / "keys")
    else:
        shutil.rmtree(site.out)
        exported(other, None, site.out)


def backdate(site: Site, database: bool) -> None:
    """Event 6 is dated a day before, and everything after it made to fit; only nothing is signed."""
    day = "2020-01-01"
    history = [replace(each, time=day + each.time[10:]) if each.seq == 6 else each for each in site.history()]
    site.write(chained(history), database)


def swap_payloads(site: Site, database: bool) -> None:
    """What was said in events 5 and 6 has changed places: the rows of the archive; an export has references only."""
    history = site.history()
    fifth, sixth = history[4], history[5]
    if not database:
        swapped = [*history[:4], replace(fifth, payload=sixth.payload), replace(sixth, payload=fifth.payload)]
        site.write([*swapped, *history[6:]], database)
        return
    with duckdb.connect(str(site.data / "ledger.duckdb")) as connection:
        query = "SELECT key, size, data FROM payloads WHERE id = ?"
        rows = {each.payload: connection.execute(query, [each.payload]).fetchone() for each in (fifth, sixth)}
        for to, source in ((fifth, sixth), (sixth, fifth)):
            update = "UPDATE payloads SET key = ?, size = ?, data = ? WHERE id = ?"
            connection.execute(update, [*rows[source.payload], to.payload])


def point_to_another_payload(site: Site, database: bool) -> None:
    """Event 5 refers to what was said in event 6, and its hash fits."""
    history = site.history()
    site.write([replace(each, payload=history[5].payload) if each.seq == 5 else each for each in history], database)


def forge_a_key(site: Site, database: bool) -> None:
    """Another history from event 6 on, everything made to fit, and all of it signed with a key of the forger's own."""
    events = chained([replace(each, decision="allow") if each.seq > 5 else each for each in site.history()])
    site.write(events, database)
    old = Key.parse((site.out / KEY_FILE).read_text())
    secret = Ed25519PrivateKey.generate()
    key = Key(old.name, secret.public_key().public_bytes_raw())
    peaks, notes = Peaks(), {}
    for event in events:
        peaks.append(leaf_hash(event.canonical()))
        text = str(Checkpoint(key.name, peaks.size, peaks.root()))
        signature = base64.b64encode(key.id + secret.sign(text.encode())).decode()
        notes[peaks.size] = f"{text}\n\u2014 {key.name} {signature}\n"
    if database:
        with duckdb.connect(str(site.data / "ledger.duckdb")) as connection:
            for size in (4, 8):
                connection.execute("UPDATE checkpoints SET note = ? WHERE size = ?", [notes[size], size])
    else:
        (site.out / KEY_FILE).write_text(str(key))
        (site.out / CHECKPOINTS_FILE).write_text("".join(json.dumps({"note": notes[size]}) + "\n" for size in (4, 8)))


def exchange_the_key(site: Site, database: bool) -> None:
    """The same, and the forger's key stands where the log's was: only what is elsewhere can tell."""
    forge_a_key(site, database)
    secret = Ed25519PrivateKey.generate()
    if database:
        (site.data / "keys" / "checkpoint.key").write_bytes(secret.private_bytes_raw())


CHANGED = "the same actor's last: one of them, or one between, was changed"
BACKDATED = "event 6 is dated before event 5, and nothing says that the clock was set back"
UNSIGNED = (
    "the checkpoint of 8 events signed other events than those that are there: of events 5 to 8 some were changed"
)
FORKED = "the log was forked after event 4: its key has signed 8 events of this history, and 8 of another"
FORGED = "the note is not signed with this key: it is forged"
Tampering = Callable[[Site, bool], None]
Says = tuple[str, ...]
TABLE: dict[str, tuple[Tampering, Says, Says]] = {
    "flip-a-bit": (
        flip_a_bit,
        ("event 3 is not what its hash was made of: it was changed", UNSIGNED.replace("8", "4").replace("5", "1")),
        (f"event 5 does not chain to event 3, {CHANGED}",),
    ),
    "change-and-mend-the-hash": (
        change,
        (f"event 5 does not chain to event 3, {CHANGED}",),
        (f"event 5 does not chain to event 3, {CHANGED}",),
    ),
    "delete": (
        delete,
        ("event 4 follows event 2: event 3 was deleted",),
        ("event 3 is numbered 4 and follows 2: event 3 was deleted",),
    ),
    "delete-and-renumber": (
        delete_and_renumber,
        (f"event 4 does not chain to event 1, {CHANGED}",),
        (f"event 4 does not chain to event 1, {CHANGED}",),
    ),
    "insert": (
        insert,
        ("event 6 chains to what came before event 4, the same actor's last: that one was inserted",),
        ("event 6 chains to what came before event 4, the same actor's last: that one was inserted",),
    ),
    "reorder": (
        reorder,
        ("event 3 was made before the event in front of it: events were moved",),
        ("event 3 was made before the event in front of it: events were moved",),
    ),
    "truncate-after-a-mirrored-checkpoint": (
        truncate,
        ("a mirrored checkpoint signed 8 events, 4 are there: events were cut off",),
        ("a checkpoint signed 8 events, 4 are there: events were cut off",),
    ),
    "fork": (fork, (FORKED,), (FORKED,)),
    "backdate": (backdate, (BACKDATED, UNSIGNED), (BACKDATED, UNSIGNED)),
    "swap-payloads": (
        swap_payloads,
        (
            "event 5: payload * is not what was recorded under this id: exchanged or damaged",
            "event 6: payload * is not what was recorded under this id: exchanged or damaged",
        ),
        (f"event 7 does not chain to event 5, {CHANGED}", f"event 8 does not chain to event 6, {CHANGED}"),
    ),
    "point-to-another-payload": (
        point_to_another_payload,
        (
            f"event 7 does not chain to event 5, {CHANGED}",
            "payload * belongs to no event: an event is missing or changed",
        ),
        (f"event 7 does not chain to event 5, {CHANGED}",),
    ),
    "forge-a-key": (
        forge_a_key,
        (f"the checkpoint of 4 events does not hold: {FORGED}", f"the checkpoint of 8 events does not hold: {FORGED}"),
        ("the key is not the pinned one, so all may be forged: it is *",),
    ),
    "exchange-the-key": (
        exchange_the_key,
        ("the mirror has a checkpoint of this log that its key has not signed: one is forged",),
        (f"the checkpoint that was kept does not hold: {FORGED}",),
    ),
}
"""By its name: who tampers, and what verification says of a database and of an export, with a * for an id."""


@pytest.mark.parametrize("database", [True, False], ids=["database", "export"])
def test_nothing_is_found_where_nobody_tampered(site: Site, database: bool) -> None:
    assert site.problems(database) == []


@pytest.mark.parametrize("database", [True, False], ids=["database", "export"])
@pytest.mark.parametrize("name", TABLE)
def test_tampering_is_found_by_name(site: Site, name: str, database: bool) -> None:
    tampers, *says = TABLE[name]
    tampers(site, database)
    found = site.problems(database)
    for head, _, tail in (each.partition("*") for each in says[0 if database else 1]):
        assert any(each.startswith(head) and tail in each for each in found), found
