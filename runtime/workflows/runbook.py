"""The deterministic rules of the triage workflow's fallback: what a log line means, and which repair it calls for.

They are the runbooks of the lab as code: first match wins, the most telling words first. No model is asked.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

RESTART, ROLL_BACK = "ops.restart_service", "ops.rollback_config"
CLEAR, POINT = "ops.clear_quota", "ops.set_dependency"


@dataclass(frozen=True, slots=True)
class Rule:
    """Words in a service's log, and the repair of that service they call for."""

    pattern: re.Pattern[str]
    tool: str


RULES = (
    Rule(re.compile(r"disk quota exceeded"), CLEAR),
    Rule(re.compile(r"lock file .* is corrupt"), RESTART),
    Rule(re.compile(r"watchdog: deadlock"), RESTART),
    Rule(re.compile(r"the session cache grows and is never evicted"), RESTART),
    Rule(re.compile(r"\(.*config v(?:[2-9]|\d{2,})\)"), ROLL_BACK),
    Rule(re.compile(r"dependency \w+ refused the connection"), POINT),
)
"""In order: a symptom that a fault elsewhere also causes (a refused connection) comes after all that cannot be."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A tool and its arguments."""

    tool: str
    arguments: dict[str, Any]


def diagnose(logs: Mapping[str, Iterable[str]], depends_on: Mapping[str, str]) -> Repair | None:
    """The repair that the logs call for, or None. `logs` are lines by service, `depends_on` the trusted inventory's."""
    for rule in RULES:
        for service, lines in logs.items():
            if any(rule.pattern.search(line) for line in lines):
                arguments = {"service": service}
                if rule.tool == POINT:
                    arguments["dependency"] = depends_on.get(service, "")
                return Repair(rule.tool, arguments)
    return None
