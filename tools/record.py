"""The tool record: the one description that drives prompts, grammars, policy, approvals, retries and listings."""

from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from store.records.canonical import digest


class Effect(StrEnum):
    """What a call does to the world: nothing (`read`), or something that cannot be unseen (`write`)."""

    READ = "read"
    WRITE = "write"


class OutputLabel(BaseModel):
    """How a tool's results are labelled. Unless somebody classified the tool: untrusted, top classification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classification: str = "restricted"
    integrity: str = "untrusted"


class ToolRecord(BaseModel):
    """One tool. Whatever nobody has classified is a write that leaves the machine and cannot be undone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$", description="server.tool, as in ops.read_logs")
    version: str = "0"
    description: str = ""
    input_schema: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})
    output_schema: dict[str, Any] | None = None
    owner: str = ""
    scopes: tuple[str, ...] = ()
    effect: Effect = Effect.WRITE
    egress: bool = True
    irreversible: bool = True
    consequential: tuple[str, ...] = Field((), description="arguments whose value decides what is touched")
    target: str = Field("", description="the argument that names the inventory object acted on, if any")
    key_argument: str = Field("", description="the argument that takes the idempotency key, if the tool has one")
    timeout_s: float = Field(30.0, gt=0)
    reconcile: str = Field("", description="the read tool that says whether the effect under a key happened")
    compensate: str = ""
    output_label: OutputLabel = OutputLabel()

    @property
    def local_read(self) -> bool:
        """True for what may run at once: a read whose query does not leave the machine."""
        return self.effect is Effect.READ and not self.egress

    @cached_property
    def digest(self) -> str:
        """The hex SHA-256 of the whole record; approvals bind to it."""
        return digest(self.model_dump(mode="json"))
