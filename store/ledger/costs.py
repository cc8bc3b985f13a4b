"""What tasks cost, summed up from the events by whatever one asks for. Any two sums come to the same total.

A run and those that it began are one task, and stand under the workflow and the end of the first of them.
"""

from datetime import UTC, datetime

from store.ledger.reader import Reader
from store.ledger.usage import FAMILY, SPENT
from store.records.kinds import Kind
from store.records.usage import Cost

KEYS = {
    "agent": "actor",
    "user": "principal",
    "unit": "unit",
    "workflow": "workflow",
    "model": "model_digest",
    "tool": "tool",
}
"""What costs can be summed up by, and the column that tells it. What has no model, or no tool, stands under ''."""
_OF_ALL = ("user", "unit", "workflow")
"""Every task has these, also one that has used nothing."""
_DONE = "('completed', 'completed-by-fallback')"
_ASKED = f"""
    SELECT run, tenant, unit, principal, '' AS actor, '' AS tool, time, '' AS model_digest, seq, 0 AS calls,
        0 AS tokens, 0 AS device_ms, 0 AS cost_micros
    FROM events WHERE kind = '{Kind.RUN_SUBMITTED}' AND NOT contains(run, '-')
"""
_TASKS = f"""
    SELECT run AS family, coalesce(arg_max(workflow, seq) FILTER (workflow <> ''), '') AS workflow,
        coalesce(bool_or(kind = '{Kind.RUN_ENDED}' AND decision IN {_DONE}), false) AS successful
    FROM events WHERE run <> '' AND NOT contains(run, '-') GROUP BY run
"""
_COSTS = f"""
    WITH tasks AS ({_TASKS})
    SELECT tenant, coalesce({{key}}, ''), count(DISTINCT {FAMILY}), count(DISTINCT {FAMILY}) FILTER (successful),
        sum(calls)::BIGINT, sum(tokens)::BIGINT, sum(device_ms)::BIGINT, sum(cost_micros)::BIGINT
    FROM ({{lines}}) LEFT JOIN tasks ON family = {FAMILY}
    WHERE time >= coalesce(?, time) AND time < coalesce(?, time + INTERVAL 1 SECOND) AND tenant = coalesce(?, tenant)
    GROUP BY ALL ORDER BY ALL
"""
_NEWEST = f"""
    WITH newest AS (
        SELECT run AS family FROM events
        WHERE kind = '{Kind.RUN_ENDED}' AND decision IN {_DONE} AND NOT contains(run, '-')
            AND tenant = ? AND workflow = ? ORDER BY seq DESC LIMIT ?
    )
    SELECT (SELECT count(*) FROM newest), coalesce(sum(cost_micros), 0)::BIGINT
    FROM events JOIN newest ON family = {FAMILY} WHERE cost_micros > 0
"""


def costs(
    reader: Reader,
    by: str,
    since: datetime | None = None,
    until: datetime | None = None,
    tenant: str | None = None,
) -> list[Cost]:
    """What was used from `since` until before `until`, of one tenant or of all, by one of KEYS, in its order."""
    lines = f"{SPENT} UNION ALL {_ASKED}" if by in _OF_ALL else SPENT
    query = _COSTS.format(key=KEYS[by], lines=lines)
    return [Cost(*row) for row in reader.rows(query, _naive(since), _naive(until), tenant)]


def newest_cost(reader: Reader, tenant: str, workflow: str, runs: int) -> tuple[int, int]:
    """How many of a workflow's newest successful tasks there are, up to `runs`, and what these cost together."""
    [(count, micros)] = reader.rows(_NEWEST, tenant, workflow, runs)
    return count, micros


def _naive(time: datetime | None) -> datetime | None:
    return time.astimezone(UTC).replace(tzinfo=None) if time else None
