"""The judge: holds the ledger of a site against what the counter saw and what the driver was promised."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.book import KINDS, PER_RUN
from store.ledger.ledger import Ledger
from store.ledger.reader import EVERYTHING, RunRow
from store.ledger.verify import verify
from store.records.event import Event
from store.records.kinds import Kind

CERTAIN = frozenset(KINDS[:2])
"""The kinds whose effects nobody need be in doubt about."""
FINISHED = ("completed", "completed-by-fallback")
EFFECTS = (Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME, Kind.EFFECT_IN_DOUBT)
Place = tuple[str, str]


@dataclass
class Verdict:
    """What became of the runs of one site, or of several. Each text names a run, an effect or a damage.

    `runs`, `finished` and `in_doubt` count by kind. `duplicated` are effects carried out more than once under one
    reference; `flagged` is how many of them the ledger knows to be in doubt. `unfinished` are runs over the first two
    kinds that wait for a person or ended otherwise than by completing.
    """

    runs: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    in_doubt: Counter[str] = field(default_factory=Counter)
    effects: int = 0
    events: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    flagged: int = 0
    unfinished: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    def add(self, other: "Verdict") -> None:
        """Take another site's verdict in."""
        for name in ("runs", "finished", "in_doubt"):
            getattr(self, name).update(getattr(other, name))
        for name in ("effects", "events", "flagged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("lost", "duplicated", "unfinished", "damage"):
            getattr(self, name).extend(getattr(other, name))

    @property
    def finished_share(self) -> float:
        """The share of runs over the first two kinds that finished without a person; 0 if there are none."""
        runs = sum(self.runs[kind] for kind in CERTAIN)
        return sum(self.finished[kind] for kind in CERTAIN) / runs if runs else 0.0

    @property
    def doubtless(self) -> bool:
        """Whether nobody is in doubt about what nobody need be in doubt about."""
        return not any(self.in_doubt[kind] for kind in CERTAIN)


def judge(ledger: Ledger, counted: Iterable[Mapping[str, Any]], acknowledged: Mapping[str, str]) -> Verdict:
    """The verdict on one site whose runtime is down.

    `counted` are the counter's lines; `acknowledged` maps each run whose submission was answered to its kind.
    """
    verdict = Verdict()
    found = verify(ledger)
    verdict.events = found.events
    verdict.damage += found.problems
    times = Counter(str(line["reference"]) for line in counted)
    verdict.effects = sum(times.values())
    rows = {row.run: row for row in ledger.runs(EVERYTHING)}
    for run in acknowledged.keys() - rows.keys():
        verdict.lost.append(f"run {run} was acknowledged and is gone")
    places = _references(ledger)
    doubts = {places[place] for place in _places(ledger, Kind.EFFECT_IN_DOUBT) if place in places}
    for row in rows.values():
        _judge_run(verdict, row, *_error(ledger, row), times)
    _judge_effects(verdict, ledger, places, times)
    for reference, count in times.items():
        if count > 1:
            verdict.duplicated.append(f"effect {reference} was carried out {count} times")
            verdict.flagged += reference in doubts
    return verdict


def _judge_run(verdict: Verdict, row: RunRow, error: str, text: str, times: Mapping[str, int]) -> None:
    verdict.runs[row.workflow] += 1
    if row.status in FINISHED:
        verdict.finished[row.workflow] += 1
        missing = [n for n in range(1, PER_RUN + 1) if f"{row.run}/{n}" not in times]
        verdict.lost += [f"run {row.run} completed, and its effect {n} never happened" for n in missing]
    elif row.status == "parked" and error == "InDoubt":
        verdict.in_doubt[row.workflow] += 1
    elif row.status in ("running", "waiting"):
        verdict.lost.append(f"run {row.run} never ends")
    if row.workflow in CERTAIN and row.status not in FINISHED:
        verdict.unfinished.append(f"run {row.run} over {row.workflow} is {row.status}: {text}")


def _judge_effects(verdict: Verdict, ledger: Ledger, places: Mapping[Place, str], times: Mapping[str, int]) -> None:
    """An outcome of an effect that never happened, and an effect that no intent tells of."""
    for event in ledger.events(limit=EVERYTHING, kinds=[Kind.EFFECT_OUTCOME]):
        reference = places.get((event.run, event.step), "")
        if event.decision == "done" and not times.get(reference):
            verdict.lost.append(f"event {event.seq} says that effect {reference or event.step} was done; it was not")
    intended = set(places.values())
    verdict.lost += [f"effect {each} happened, and no intent tells of it" for each in times if each not in intended]


def _error(ledger: Ledger, row: RunRow) -> tuple[str, str]:
    """The class of the error that a run ended or was parked with, and its text."""
    outcome = ledger.payload(row.outcome) if row.outcome else {}
    return str((outcome.get("error") or {}).get("kind", "")), str(outcome.get("text", ""))


def _references(ledger: Ledger) -> dict[Place, str]:
    """The reference that each intent's arguments carry, by run and step."""
    intents = ledger.events(limit=EVERYTHING, kinds=[Kind.EFFECT_INTENT])
    return {(each.run, each.step): _reference(ledger, each) for each in intents}


def _reference(ledger: Ledger, intent: Event) -> str:
    return str(ledger.payload(intent.payload)["arguments"]["reference"])


def _places(ledger: Ledger, kind: Kind) -> set[Place]:
    return {(event.run, event.step) for event in ledger.events(limit=EVERYTHING, kinds=[kind])}
