"""A wall clock that is set back: no event is dated before the one in front of it, but for one that says so."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.audit_folder import export
from runtime.queries import LedgerQueries
from store.ledger import sealer
from store.ledger.ledger import Ledger
from store.ledger.verify import verify
from store.records.errors import IntegrityError
from store.records.event import Event
from store.records.kinds import Kind
from store.records.labels import Labels
from store.verify import audit

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SILENT = "is dated before event {}, and nothing says that the clock was set back"


class Clock:
    """Shows what a test sets."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def go(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(ledger: Ledger) -> list[Event]:
    """The events that say that the clock was set back."""
    ledger.flush()
    return ledger.events(kinds=[Kind.CLOCK_SET_BACK])


def checked(ledger: Ledger, to: Path) -> None:
    """Both verifiers find nothing wrong."""
    assert verify(ledger).problems == ()
    assert asyncio.run(export(LedgerQueries(ledger), to)).problems == ()


def test_a_jump_back_is_said_once_and_first(folder: Path, draft: Any, clock: Clock, tmp_path: Path) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        first = ledger.append(draft(), {"text": "before"}).event
        clock.go(hours=-1, microseconds=-1)
        second = ledger.append(draft(tenant="other"), {"text": "after"}).event
        clock.go(minutes=1)
        ledger.append(draft())
        [said] = told(ledger)
        assert (said.seq, said.cause, said.step) == (first.seq + 1, first.seq, "3600001")
        assert (said.time, said.actor, said.tenant, said.payload) == (second.time, "ledger", "other", "")
        assert second.time == "2026-11-23T10:59:59.999999Z"
        assert second.seq == said.seq + 1
        assert ledger.payload(second.payload) == {"text": "after"}
        checked(ledger, tmp_path / "out")


def test_each_jump_is_said_whatever_its_size(folder: Path, draft: Any, clock: Clock, tmp_path: Path) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        ledger.append(draft())
        for jump in ({"microseconds": -1}, {"days": 365}, {"days": -365}, {"days": -20_000}, {"milliseconds": -5}):
            clock.go(**jump)
            for _ in range(3):
                ledger.append(draft())
        assert [said.step for said in told(ledger)] == ["1", "31536000000", "1728000000000", "5"]
        checked(ledger, tmp_path / "out")


def test_a_clock_that_stands_or_goes_on_is_no_matter(folder: Path, draft: Any, clock: Clock) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        for _ in range(3):
            ledger.append(draft())
        clock.go(days=400)
        ledger.append(draft())
        assert told(ledger) == []
        assert verify(ledger).ok


def test_a_clock_that_was_set_back_while_nothing_ran(folder: Path, draft: Any, clock: Clock, tmp_path: Path) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        ledger.append(draft())
    clock.go(seconds=-90)
    with Ledger.open(folder, clock=clock) as ledger:
        assert told(ledger) == []  # nothing is dated yet
        ledger.append(draft())
        [said] = told(ledger)
        assert (said.cause, said.step, said.epoch) == (1, "90000", 2)
        checked(ledger, tmp_path / "out")


def test_threads_that_append_at_once_are_dated_in_order(folder: Path, draft: Any, clock: Clock) -> None:
    def append() -> None:
        for number in range(50):
            clock.now = NOON + timedelta(seconds=number % 7)
            ledger.append(draft())

    with Ledger.open(folder, clock=clock) as ledger:
        threads = [threading.Thread(target=append) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told(ledger)
        assert verify(ledger).problems == ()
        assert len([event for event in ledger.events(limit=1000) if event.kind != Kind.CLOCK_SET_BACK]) == 200


def test_a_refused_draft_says_nothing_of_the_clock(folder: Path, draft: Any, clock: Clock) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        ledger.append(draft())
        clock.go(hours=-1)
        with pytest.raises(sealer.Unstorable):
            ledger.append(draft(run="two\nlines"))
        assert told(ledger) == []


def test_labels_whose_sources_are_a_list_are_refused(ledger: Ledger, draft: Any) -> None:
    with pytest.raises(sealer.Unstorable, match="labels hold names"):
        ledger.append(draft(labels=Labels("acme", sources=["user"])))  # type: ignore[arg-type]


def test_what_fails_while_it_is_sealed_takes_no_number_and_says_nothing(folder: Path, draft: Any, clock: Clock) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        ledger.append(draft())
        clock.go(hours=-1)
        with pytest.raises(AttributeError):
            ledger.append(draft(labels=Labels("acme", classification=7)))  # type: ignore[arg-type]
        assert ledger.append(draft()).wait().seq == 3
        assert [event.seq for event in told(ledger)] == [2]
        assert verify(ledger).problems == ()
    Ledger.open(folder).close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that takes the clock at its word, as earlier ones did."""

    monkeypatch.setattr(sealer.Sealer, "_told", lambda _self, draft, payload, _now: [(draft, payload)])


def test_times_that_go_back_in_silence_are_a_finding(
    folder: Path, draft: Any, clock: Clock, tmp_path: Path, silent: None
) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        for minutes in (0, 5, -3, 1):
            clock.go(minutes=minutes)
            ledger.append(draft())
        ledger.flush()
        problem = f"event 3 {SILENT.format(2)}"
        assert verify(ledger).problems == (problem,)
        with pytest.raises(IntegrityError, match="the log is not what was recorded"):
            asyncio.run(export(LedgerQueries(ledger), tmp_path / "out"))
        assert audit(tmp_path / "out").problems == (problem,)


@pytest.mark.parametrize(
    "lie",
    [
        {"step": "1000", "cause": 1},  # it was a minute
        {"step": "60000", "cause": 0},
        {"step": "a minute", "cause": 1},
        {"step": "", "cause": 1},
    ],
)
def test_an_event_that_says_it_wrongly_explains_nothing(
    folder: Path, draft: Any, clock: Clock, tmp_path: Path, silent: None, lie: dict[str, Any]
) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        ledger.append(draft())
        clock.go(minutes=-1)
        ledger.append(draft(Kind.CLOCK_SET_BACK, **lie))
        ledger.flush()
        problem = "event 2 does not say how the clock was set back after event 1"
        assert verify(ledger).problems == (problem,)
        with pytest.raises(IntegrityError, match="the log is not what was recorded"):
            asyncio.run(export(LedgerQueries(ledger), tmp_path / "out"))
        assert audit(tmp_path / "out").problems == (problem,)


def test_an_event_that_says_it_of_a_clock_that_went_on_is_a_finding(
    folder: Path, draft: Any, clock: Clock, silent: None
) -> None:
    with Ledger.open(folder, clock=clock) as ledger:
        ledger.append(draft())
        clock.go(milliseconds=7)
        ledger.append(draft(Kind.CLOCK_SET_BACK, step="-7", cause=1))
        ledger.flush()
        assert verify(ledger).problems == ("event 2 does not say how the clock was set back after event 1",)
