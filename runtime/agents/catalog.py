"""The agents there are, for a person to read: what each does, with which prompt, and what it may never do."""

from dataclasses import dataclass
from typing import Any

from runtime.agents import reviewer, worker
from runtime.agents.proposal import VERSION
from store.records.canonical import Json, digest, sha256

NEVER = "call a tool, read a file, write an event, or reach anything but its model"


@dataclass(frozen=True, slots=True)
class Profile:
    """One agent. `prompt_digest` is that of its standing instructions, with a line break between two of them, hex
    SHA-256; `schema` that of its answers."""

    name: str
    version: str
    description: str
    prompt_digest: str
    schema: Json

    def json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "does": self.description,
            "never": NEVER,
            "prompt_digest": self.prompt_digest,
            "schema_digest": digest(self.schema) if self.schema else "",
        }


def agents() -> tuple[Profile, ...]:
    """Router, worker, reviewer."""
    return (
        Profile("router", VERSION, "says which workflow a task is for, by nearness of meaning", "", None),
        Profile(
            "worker",
            VERSION,
            "proposes the next call, or answers a typed question",
            sha256("\n".join((worker.SYSTEM, worker.SYSTEM_TOOLS, worker.SYSTEM_ASK)).encode()),
            None,
        ),
        Profile(
            "reviewer",
            VERSION,
            "judges a change set before policy is asked",
            sha256(reviewer.SYSTEM.encode()),
            reviewer.SCHEMA,
        ),
    )
