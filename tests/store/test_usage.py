"""What was used and what is open, found by the database: the same as if every event were read."""

from collections import Counter
from datetime import datetime
from random import Random

from store.ledger.usage import allowed, charged, usage
from store.records.kinds import Kind
from store.records.usage import Usage

CALL = {"decision": "allow", "tool": "ops.look"}


def since_today(reader):
    """What was used since the ledger's first event, as of this day."""
    first = datetime.fromisoformat(reader.event(1).time)
    return usage(reader, first, first)


def test_each_allowed_call_and_each_token_counts_once(ledger, draft) -> None:
    def tell(kind: Kind, **more) -> None:
        ledger.append(draft(kind, **{"run": "r1", "principal": "alice", **more}))

    tell(Kind.DECISION, step="1", **CALL)
    tell(Kind.DECISION, step="1", **CALL)
    tell(Kind.DECISION, step="2", decision="deny", tool="ops.send_mail")
    tell(Kind.DECISION, step="3", decision="suspend", tool="ops.rollback_config")
    tell(Kind.DECISION, step="4", decision="allow")
    tell(Kind.DECISION, step="7", **CALL)
    tell(Kind.DECISION, step="7", decision="over-budget", tool="ops.look")
    tell(Kind.CALL_CHARGED, step="1", tool="ops.look", cost_micros=11)
    tell(Kind.STEP_COMPLETED, step="5", tokens=40, device_ms=90, cost_micros=5)
    tell(Kind.MODEL_LOADED, run="", tokens=40)
    tell(Kind.STEP_COMPLETED, run="r1-6", step="1", tokens=2)
    tell(Kind.STEP_COMPLETED, run="r2", step="1", tokens=7)
    tell(Kind.RUN_ENDED, run="r2", tokens=7, device_ms=90)
    ledger.flush()
    assert since_today(ledger.reader) == [
        Usage("", "acme", "", "alice", "core", "day", 0, 7, 0, 0),
        Usage("r1", "acme", "", "alice", "core", "day", 1, 42, 90, 16),
    ]
    assert allowed(ledger.reader) == [("r1", "1")]
    assert charged(ledger.reader) == [("r1", "1")]


def test_it_comes_to_what_reading_every_event_comes_to(ledger, draft) -> None:
    dice = Random(7)
    runs = [f"r{number}{child}" for number in range(8) for child in ("", "-2", "-2-1")]
    for _ in range(600):
        more = {"run": dice.choice(runs), "step": str(dice.randrange(9)), "principal": dice.choice(["alice", "bob"])}
        kind = dice.choice([Kind.DECISION, Kind.DECISION, Kind.STEP_COMPLETED, Kind.MODEL_CALLED])
        more |= CALL if kind == Kind.DECISION else {"tokens": dice.randrange(50), "device_ms": dice.randrange(9)}
        ledger.append(draft(kind, **more))
    over = [run for run in runs if run[1] in "0123" and (run[1] != "3" or run.endswith("-1"))]
    for run in over:
        ledger.append(draft(Kind.RUN_ENDED, run=run, tokens=99))
    ledger.flush()

    sums, seen = Counter(), {}
    for event in ledger.events(limit=10_000):
        if event.kind != Kind.RUN_ENDED:
            root = event.run.partition("-")[0]
            living = root if any(each.startswith(root) for each in set(runs) - set(over)) else ""
            counts = event.kind == Kind.DECISION and seen.setdefault((event.run, event.step), event) is event
            for unit, amount in (("calls", int(counts)), ("tokens", event.tokens), ("device_ms", event.device_ms)):
                sums[living, event.principal, unit] += amount
    found = Counter()
    for each in since_today(ledger.reader):
        for unit in ("calls", "tokens", "device_ms"):
            found[each.run, each.user, unit] += getattr(each, unit)
    assert found == sums
    assert sorted(allowed(ledger.reader)) == sorted(place for place in seen if place[0] not in over)


def test_of_effects_those_that_are_open_and_those_of_open_runs_are_read(ledger, draft) -> None:
    def tell(run: str, *kinds: Kind) -> None:
        for kind in kinds:
            ledger.append(draft(kind, run=run, step="1.1", decision="not" if kind == Kind.EFFECT_SETTLED else ""))

    tell("open", Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME)
    tell("doubtful", Kind.EFFECT_INTENT, Kind.EFFECT_IN_DOUBT)
    tell("ended", Kind.EFFECT_INTENT, Kind.EFFECT_OUTCOME, Kind.NOTE, Kind.RUN_ENDED)
    tell("cut", Kind.EFFECT_INTENT, Kind.RUN_ENDED)
    tell("settled", Kind.EFFECT_INTENT, Kind.EFFECT_IN_DOUBT, Kind.EFFECT_SETTLED)
    ledger.flush()
    assert [(event.run, event.kind) for event in ledger.reader.unsettled()] == [
        ("open", Kind.EFFECT_INTENT),
        ("open", Kind.EFFECT_OUTCOME),
        ("doubtful", Kind.EFFECT_INTENT),
        ("doubtful", Kind.EFFECT_IN_DOUBT),
        ("cut", Kind.EFFECT_INTENT),
        ("settled", Kind.EFFECT_INTENT),
        ("settled", Kind.EFFECT_IN_DOUBT),
        ("settled", Kind.EFFECT_SETTLED),
    ]
