"""Plausible operations text from a seed: what the benchmark's prompts are made of. No model is asked."""

import random
import re
from collections.abc import Callable

SERVICES = ("billing", "checkout", "search", "ledger", "mailer", "gateway", "inventory", "reports")
CAUSES = ("disk full", "memory leak", "bad deploy", "expired certificate", "slow query", "lost leader", "none")
TOOLS = ("read_logs", "check_health", "restart_service", "roll_back", "open_ticket", "page_on_call", "drain_node")
RULES = ("no-restart-at-peak", "two-people", "ticket-first", "no-data-export", "read-before-write", "canary-first")

_ACTORS = ("the on-call engineer", "the change manager", "a reviewer", "the router", "each worker", "the site lead")
_ACTS = ("records", "checks", "announces", "confirms", "compares", "measures", "documents")
_THINGS = ("the error rate", "the queue depth", "the deploy history", "the certificate chain", "the replica lag")
_WHENS = (
    "before a restart",
    "after each change",
    "when an alert repeats",
    "during the peak hours",
    "within ten minutes",
)
_LEVELS = ("INFO", "WARN", "ERROR")
_EVENTS = (
    "connection reset by peer",
    "request took too long",
    "retry scheduled",
    "health check passed",
    "queue is full",
)
_PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")


def estimate(text: str) -> int:
    """About how many tokens a text has: a token for every word, digit and mark, and some more for long words."""
    return sum(1 + (len(piece) > 7) for piece in _PIECE.findall(text))


def system_prompt(name: str, tokens: int, random_: random.Random) -> str:
    """What all requests of a level share, of about `tokens` tokens: a duty, a list of tools, a policy.

    `name` stands first, so that two levels with other names share nothing.
    """
    parts = [
        f"Site {name}. You are one of several agents that look after its services. Answer with JSON only.",
        "Tools:",
    ]
    parts += [f"- {tool}(service, lines): {_clause(random_)}." for tool in TOOLS]
    parts.append("Services: " + ", ".join(SERVICES) + ".")
    parts.append("Policy:")
    parts += [f"- {rule}: {_clause(random_)}." for rule in RULES]
    parts.append("Procedures:")
    return _grow(parts, tokens, lambda number: f"{number}. {_clause(random_)}, and {_clause(random_)}.")


def private_part(task: str, tokens: int, random_: random.Random) -> str:
    """What only one request has, of about `tokens` tokens: an excerpt of logs, then the task."""
    body = _grow(["Excerpt of the logs:"], max(tokens - estimate(task), 1), lambda _: log_line(random_))
    return f"{body}\n{task}"


def log_line(random_: random.Random) -> str:
    """One line of a service's log."""
    clock = f"{random_.randrange(24):02}:{random_.randrange(60):02}"
    event = random_.choice(_EVENTS)
    return f"{clock} {random_.choice(_LEVELS)} {random_.choice(SERVICES)}: {event} ({random_.randrange(10, 999)} ms)"


def _clause(random_: random.Random) -> str:
    return " ".join(random_.choice(words) for words in (_ACTORS, _ACTS, _THINGS, _WHENS))


def _grow(parts: list[str], tokens: int, line: Callable[[int], str]) -> str:
    """Adds lines until the text has about `tokens` tokens."""
    count, number = sum(estimate(part) + 1 for part in parts), 0
    while count < tokens:
        number += 1
        parts.append(line(number))
        count += estimate(parts[-1]) + 1
    return "\n".join(parts)
