"""What was used so far, summed up from the events: by whom on this day and in this month, and by open run.

The sums are made by the database, over columns: at a start nobody has to read what has ended long ago event by event.
`SPENT` says what counts as used, here and in what it cost.
"""

from datetime import UTC, datetime

from store.ledger.reader import Reader
from store.records.kinds import Kind
from store.records.usage import OVER_BUDGET, Usage

FAMILY = "split_part(run, '-', 1)"
"""A run that another began is called as that one and its step: the first of them stands for all."""
_LIVING = (
    f"SELECT run FROM events WHERE run <> '' AND run NOT IN (SELECT run FROM events WHERE kind = '{Kind.RUN_ENDED}')"
)
_LET_THROUGH = f"""
    FROM (
        SELECT *, coalesce(max(seq) FILTER (decision = '{OVER_BUDGET}') OVER (PARTITION BY run, step), 0) AS refused
        FROM events WHERE run <> '' AND kind = '{Kind.DECISION}' AND tool <> ''
    ) WHERE decision = 'allow' AND seq > refused
"""
_FIRST = ", ".join(
    f"arg_min({column}, seq) AS {column}" for column in ("tenant", "unit", "principal", "actor", "tool", "time")
)
SPENT = f"""
    SELECT run, tenant, unit, principal, actor, tool, time, model_digest, seq, 0 AS calls, tokens, device_ms,
        cost_micros
    FROM events WHERE run <> '' AND kind <> '{Kind.RUN_ENDED}' AND (tokens > 0 OR device_ms > 0 OR cost_micros > 0)
    UNION ALL
    SELECT run, {_FIRST}, '', min(seq), 1, 0, 0, 0 {_LET_THROUGH} GROUP BY run, step
"""
"""One row for each use. Tokens, time and cost are on the events that tell of them; a call that is judged again, in
another life of its run, say, is the same call. A run's last event, which sums up the others, is not counted again."""

_NEVER = 2**62
_USED = f"""
    WITH families AS (SELECT DISTINCT {FAMILY} AS family FROM ({_LIVING})),
    begins AS (
        SELECT coalesce(min(seq) FILTER (time >= ?), {_NEVER}) AS day,
            coalesce(min(seq) FILTER (time >= ?), {_NEVER}) AS month FROM events
    ),
    spent AS (
        SELECT *, CASE WHEN seq >= day THEN 'day' WHEN seq >= month THEN 'month' ELSE '' END AS since
        FROM ({SPENT}), begins
    )
    SELECT coalesce(family, ''), tenant, unit, principal, actor, since,
        sum(calls)::BIGINT, sum(tokens)::BIGINT, sum(device_ms)::BIGINT, sum(cost_micros)::BIGINT
    FROM spent LEFT JOIN families ON family = {FAMILY}
    WHERE since <> '' OR family IS NOT NULL GROUP BY ALL ORDER BY ALL
"""


def usage(reader: Reader, day: datetime, month: datetime) -> list[Usage]:
    """What was used since the beginnings of a day and of its month, and of all time by runs that have not ended.

    A period begins with the first event that is dated in it. What comes after is in it, whatever a clock that was set
    back has dated it.
    """
    return [Usage(*row) for row in reader.rows(_USED, _naive(day), _naive(month))]


def allowed(reader: Reader) -> list[tuple[str, str]]:
    """Run and step of each tool call that `usage` has counted, of the runs that have not ended."""
    return reader.rows(f"SELECT DISTINCT run, step {_LET_THROUGH} AND run IN ({_LIVING})")


def charged(reader: Reader) -> list[tuple[str, str]]:
    """Run and step of each tool call whose price is on record, of the runs that have not ended."""
    query = f"SELECT DISTINCT run, step FROM events WHERE kind = '{Kind.CALL_CHARGED}' AND run IN ({_LIVING})"
    return reader.rows(query)


def newest_time(reader: Reader) -> datetime | None:
    """The latest time (UTC) that any event is dated; None if there is no event."""
    [(found,)] = reader.rows("SELECT max(time) FROM events")
    return found.replace(tzinfo=UTC) if found else None


def _naive(time: datetime) -> datetime:
    """As the column has it: UTC, without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None)
