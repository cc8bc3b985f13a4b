"""The ledger: what is appended is kept, in order, chained, and nobody waits in vain."""

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.ledger import schema
from store.ledger.errors import LedgerFailed, Unstorable
from store.ledger.ledger import Ledger, Pending
from store.ledger.watermark import Watermark
from store.records.errors import IntegrityError, SettingsError, Timeout
from store.records.event import GENESIS, Draft
from store.records.kinds import Kind
from store.records.labels import trusted


def test_an_appended_event_is_read_back_whole(ledger, draft) -> None:
    given = draft(Kind.STEP_COMPLETED, run="r1", step="1.2", tokens=12, workflow="triage", workflow_version=3)
    event = ledger.append(given, {"text": "hello"}).wait()
    assert ledger.events() == [event]
    assert (event.seq, event.epoch, event.prev, event.kind) == (1, 1, GENESIS, "step.completed")
    assert type(event.kind) is str
    assert ledger.payload(event.payload) == {"text": "hello"}
    assert ledger.last_seq() == 1


def test_each_actor_has_a_chain_of_its_own_across_openings(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        core = ledger.append(draft(actor="core")).event
        worker = ledger.append(draft(actor="worker")).wait()
        assert (core.epoch, core.prev, worker.prev) == (1, GENESIS, GENESIS)
    with Ledger.open(folder) as ledger:
        assert ledger.epoch == 2
        again = ledger.append(draft(actor="core")).wait()
        assert (again.seq, again.epoch, again.prev) == (3, 2, core.hash)


def test_a_payload_is_stored_once_and_its_id_depends_on_tenant_and_key(folder: Path, tmp_path: Path, draft) -> None:
    with Ledger.open(folder) as one, Ledger.open(tmp_path / "other") as two:
        ids = [one.append(draft(), ["same"]).wait().payload for _ in range(3)]
        foreign = one.append(draft(tenant="other"), ["same"]).wait().payload
        elsewhere_id = two.append(draft(), ["same"]).wait().payload
        with one.reader.cursor() as cursor:
            assert cursor.execute("SELECT count(*) FROM payloads").fetchall() == [(2,)]
    assert len({*ids, foreign, elsewhere_id}) == 3


def test_events_are_found_by_number_run_and_kind(ledger, draft) -> None:
    for number in range(6):
        ledger.append(draft(Kind.NOTE if number % 2 else Kind.DECISION, run=f"r{number % 3}"))
    ledger.append(draft()).wait()
    assert [event.seq for event in ledger.events(after=2, limit=3)] == [3, 4, 5]
    assert [event.seq for event in ledger.events(run="r1")] == [2, 5]
    assert [event.seq for event in ledger.events(kinds=(Kind.DECISION,))] == [1, 3, 5]
    assert [event.seq for event in ledger.events(after=1, run="r2", kinds=(Kind.NOTE,))] == [6]
    assert [event.seq for event in ledger.run_events("r0")] == [1, 4]
    assert ledger.run_events("") == []


def test_runs_are_summed_up_from_their_events(ledger, draft) -> None:
    ledger.append(draft(Kind.RUN_SUBMITTED, run="aa1", principal="alice"), {"task": "mend it"})
    ledger.append(draft(Kind.STEP_COMPLETED, run="aa1", workflow="triage", workflow_version=2, tokens=5, device_ms=9))
    ledger.append(draft(Kind.STEP_COMPLETED, run="aa1", model_digest="d" * 64, tokens=7))
    ledger.append(draft(Kind.RUN_ENDED, run="aa1", decision="denied"), {"why": "policy"})
    ledger.append(draft(Kind.RUN_SUBMITTED, run="aa2"))
    ledger.append(draft(Kind.APPROVAL_REQUESTED, run="aa2"))
    ledger.append(draft(Kind.RUN_SUBMITTED, run="bb3"))
    ledger.append(draft(Kind.EFFECT_IN_DOUBT, run="bb3"))
    ledger.append(draft(Kind.RUN_PARKED, run="bb3"), {"text": "in doubt"})
    ledger.append(draft(Kind.MODEL_LOADED)).wait()
    newest = ledger.runs()
    assert [(run.run, run.status) for run in newest] == [("bb3", "parked"), ("aa2", "waiting"), ("aa1", "denied")]
    done = newest[-1]
    assert (done.workflow, done.workflow_version, done.principal, done.tenant) == ("triage", 2, "alice", "acme")
    assert (done.events, done.tokens, done.device_ms, done.model_calls) == (4, 12, 9, 1)
    assert ledger.payload(done.submission) == {"task": "mend it"}
    assert ledger.payload(done.outcome) == {"why": "policy"}
    assert ledger.payload(newest[0].outcome) == {"text": "in doubt"}
    assert (done.started, done.ended) == (ledger.events()[0].time, ledger.events()[3].time)
    assert [run.run for run in ledger.open_runs()] == ["aa2", "bb3"]
    assert [run.run for run in ledger.runs(limit=1)] == ["bb3"]
    assert ledger.find_run("bb").run == "bb3"


@pytest.mark.parametrize("beginning", ["", "aa", "zz", "%", "a_"])
def test_a_run_must_be_named_without_doubt(ledger, draft, beginning: str) -> None:
    ledger.append(draft(Kind.RUN_SUBMITTED, run="aa1"))
    ledger.append(draft(Kind.RUN_SUBMITTED, run="aa2")).wait()
    with pytest.raises(SettingsError):
        ledger.find_run(beginning)


def test_an_answered_approval_no_longer_waits(ledger, draft) -> None:
    for kind in (Kind.RUN_SUBMITTED, Kind.RUN_STARTED, Kind.APPROVAL_REQUESTED, Kind.APPROVAL_ANSWERED):
        ledger.append(draft(kind, run="r"))
    ledger.append(draft()).wait()
    assert ledger.runs()[0].status == "running"


def test_threads_are_numbered_without_gaps_and_all_become_durable(ledger, draft) -> None:
    seen: list[int] = []

    def work(actor: str) -> None:
        for number in range(25):
            seen.append(ledger.append(draft(actor=actor), {"n": number}).wait(30).seq)

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 401))
    assert [event.seq for event in ledger.events(limit=1000)] == list(range(1, 401))


def test_when_one_event_is_durable_all_before_it_are(ledger, draft) -> None:
    pending = [ledger.append(draft()) for _ in range(2500)]
    pending[-1].wait()
    assert len(ledger.events(limit=5000)) == 2500


async def test_tasks_wait_for_durability_and_for_new_events(ledger, draft) -> None:
    assert not await ledger.beyond(0, 0.01)
    waiting = [asyncio.create_task(ledger.beyond(number, 30)) for number in range(20)]
    await asyncio.sleep(0)
    events = await asyncio.gather(*(ledger.append(draft()).durable() for _ in range(20)))
    assert [event.seq for event in events] == list(range(1, 21))
    assert await asyncio.gather(*waiting) == [True] * 20
    assert await ledger.beyond(19, 0)
    assert not await ledger.beyond(20, 0)


async def test_all_that_was_appended_so_far_can_be_waited_for(ledger, draft) -> None:
    await ledger.flushed()  # nothing was
    for number in range(30):
        ledger.append(draft(), {"n": number})
        await ledger.flushed()
        assert ledger.last_seq() == number + 1


async def test_what_somebody_waits_for_is_committed_at_once(
    folder: Path, draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.ledger.writer.LINGER_S", 1e6)
    with Ledger.open(folder) as ledger:
        ledger.append(draft())
        assert ledger.append(draft()).wait(60).seq == ledger.last_seq() == 2
        await ledger.append(draft()).durable()
        ledger.append(draft())
        await ledger.flushed()
        ledger.append(draft())
        assert ledger.wait(4, 60)
        ledger.append(draft())
        ledger.proofs.checkpoint()
        assert ledger.last_seq() == 6
        ledger.append(draft())
    with Ledger.open(folder, read_only=True) as ledger:
        assert len(ledger.events()) == 7


def test_what_nobody_waits_for_gets_to_the_disk_as_well(ledger, draft) -> None:
    for number in range(5):
        ledger.append(draft(), {"n": number})
    deadline = time.monotonic() + 60
    while ledger.last_seq() < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert ledger.last_seq() == 5


async def test_a_cancelled_wait_and_a_closed_loop_leave_the_writer_alone(ledger, draft) -> None:
    task = asyncio.create_task(ledger.beyond(0, 30))
    await asyncio.sleep(0)
    task.cancel()
    loop = asyncio.new_event_loop()
    abandoned = loop.create_task(ledger.beyond(0, 30))
    await asyncio.to_thread(loop.run_until_complete, asyncio.sleep(0))
    abandoned.cancel()
    await asyncio.to_thread(loop.run_until_complete, asyncio.gather(abandoned, return_exceptions=True))
    loop.close()
    assert (await ledger.append(draft()).durable()).seq == 1


def test_a_thread_waits_for_new_events(ledger, draft) -> None:
    assert not ledger.wait(0, 0.01)
    ledger.append(draft())
    assert ledger.wait(0, 30)


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": "two\nlines"},
        {"principal": "x" * 513},
        {"tenant": "a\0b"},
        {"tenant": ""},
        {"tokens": -1},
        {"tokens": 2**53},
        {"tokens": True},
        {"run": 7},
        {"run": "\ud800"},
    ],
)
def test_a_draft_with_text_or_wild_numbers_is_refused_and_leaves_no_gap(ledger, draft, wrong) -> None:
    with pytest.raises(Unstorable):
        ledger.append(draft(**wrong))
    assert ledger.append(draft()).wait().seq == 1


def test_what_is_not_json_is_refused_and_leaves_no_gap(ledger, draft) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), {"a": 2**60}, "\ud800", object(), deep, {1: 2}):
        with pytest.raises(Unstorable):
            ledger.append(draft(), value)
    assert ledger.append(draft(), {"fine": ["é", "\0", 1.5, None]}).wait().seq == 1


def test_an_empty_payload_is_a_payload(ledger, draft) -> None:
    for value in ({}, [], "", 0, False):
        event = ledger.append(draft(), value).wait()
        assert ledger.payload(event.payload) == value
    assert ledger.append(draft()).wait().payload == ""


def test_the_payloads_of_many_events_come_together(ledger, draft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.ledger.reader.TOGETHER", 2)
    values = [None, ["a"], ["b"], ["a"], None, ["c"], ["d"], ["e"]]
    pending = [ledger.append(draft(), value) for value in values]
    pending[-1].wait()
    assert ledger.payloads(ledger.events()) == values
    assert ledger.payloads([]) == []
    with pytest.raises(IntegrityError, match="payload no is missing"):
        ledger.payloads([replace(pending[0].event, payload="no"), *ledger.events()])


def test_an_unknown_payload_is_an_integrity_error(ledger) -> None:
    with pytest.raises(IntegrityError, match="missing"):
        ledger.payload("0" * 64)


def test_a_closed_ledger_takes_and_promises_nothing(folder: Path, draft) -> None:
    ledger = Ledger.open(folder)
    kept = ledger.append(draft())
    ledger.close()
    ledger.close()
    assert kept.wait(0).seq == 1
    with pytest.raises(LedgerFailed, match="closed"):
        ledger.append(draft())
    with pytest.raises(LedgerFailed, match="closed"):
        ledger.wait(1, 30)
    with pytest.raises(LedgerFailed):
        ledger.events()


def test_a_wait_that_takes_too_long_ends(ledger, draft) -> None:
    event = ledger.append(draft()).wait()
    with pytest.raises(Timeout, match="event 1 is not on disk"):
        Pending(event, Watermark(0)).wait(0.01)  # the mark of a disk that takes for ever


PRINTABLE = "".join(filter(str.isprintable, map(chr, range(0x3000)))) + "\U0001f600\ufffd"
NAMES = st.lists(st.text(PRINTABLE, max_size=40), min_size=20, max_size=60)


@given(NAMES)
@settings(max_examples=10, deadline=None)
def test_the_database_makes_the_same_bytes_of_an_event_as_python(names: list[str]) -> None:
    names += ['a "quoted" \\ name', "\u00e9\u2260\U0001f600", ""]
    facts = {"tenant": "acme", "actor": "core", "actor_version": "1", "kind": Kind.STEP_COMPLETED}
    with TemporaryDirectory() as folder, Ledger.open(Path(folder) / "data") as ledger:
        sealed = [
            ledger.append(Draft(**facts, step=name, labels=trusted(name, name) if name else None, tokens=at)).event
            for at, name in enumerate(names)
        ]
        ledger.flush()
        rows = ledger.reader.rows(f"SELECT {schema.BYTES} FROM events ORDER BY seq")
    assert [data for (data,) in rows] == [event.canonical() for event in sealed]


def test_the_database_makes_no_bytes_of_what_is_no_name(ledger, draft) -> None:
    event = ledger.append(draft()).wait()
    assert ledger.events() == [event]
    marks = ", ".join("?" * len(schema.EVENT_COLUMNS))
    connection = ledger._connection.cursor()
    for at in range(32):
        other = replace(event, seq=at + 2, step=f"a{chr(at)}b")
        row = [cell[:-1] if cell == event.time else cell for cell in schema.row(other, other.hash)]
        connection.execute(f"INSERT INTO events VALUES ({marks})", row)
    rows = connection.execute(f"SELECT {schema.BYTES} FROM events ORDER BY seq").fetchall()
    assert rows == [(event.canonical(),)] + [(None,)] * 32
