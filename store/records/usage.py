"""Usage and cost: what was used of the local units that budgets are in. Money is in millionths of the site's unit."""

from dataclasses import dataclass
from typing import Literal

OVER_BUDGET = "over-budget"
"""The decision of an event that says that the budget did not let a call through which policy had."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one agent used for one user: on this day, earlier in this month, or before that (`since` is empty).

    `run` is the run that it was for, or the one that began that, and so on; empty if all of these have ended. `calls`
    counts each step once whose tool call policy let through and the budget did not stop; `tokens` are prompted and
    generated; `device_ms` are milliseconds of the device.
    """

    run: str
    tenant: str
    unit: str
    user: str
    agent: str
    since: Literal["day", "month", ""]
    calls: int
    tokens: int
    device_ms: int
    cost_micros: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What was used under one key (an agent, a user, ...) of a tenant, and for how many runs, the `successful` among
    them. A run counts as one with those that it began."""

    tenant: str
    key: str
    runs: int
    successful: int
    calls: int
    tokens: int
    device_ms: int
    cost_micros: int
