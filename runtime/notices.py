"""What people are told while they are not looking: that something waits for them. Never what it is about.

A notice holds names and numbers: no arguments, no text of a task, a model or a tool.
"""

from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from store.records.address import is_loopback


@dataclass(frozen=True, slots=True)
class Notice:
    """Something waits: an approval or a question to be answered, or a run that is parked because nobody knows whether
    one of its effects happened. `id` is the approval's or the run's; `expires` is UTC ISO 8601, empty if it does not.
    """

    kind: Literal["approval", "question", "in-doubt"]
    id: str
    run: str
    workflow: str
    tool: str = ""
    expires: str = ""


def nobody(_: Notice) -> None:
    """Tells nobody."""


class NotifyBy(BaseModel):
    """How notices go out: to a command's stdin, or to a webhook on this machine or on one that `hosts` names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = Field((), description="a program and its arguments; no shell reads them")
    webhook: str = ""
    hosts: tuple[str, ...] = Field((), description="other machines that a webhook may be on, over https")
    timeout_s: float = Field(10.0, gt=0, le=300)
    gather_s: float = Field(2.0, ge=0, le=3600, description="notices that come within it go out together")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        """Exactly one way out, which may be used."""
        if bool(self.command) == bool(self.webhook):
            raise _wrong("give either a command or a webhook")
        if self.command and not self.command[0].startswith("/"):
            raise _wrong("give the command's program by its absolute path")
        if self.webhook and (problem := self._problem()):
            raise _wrong(problem)
        return self

    def _problem(self) -> str:
        try:
            parts = urlsplit(self.webhook)
            host, _ = parts.hostname, parts.port
        except ValueError:
            return "the webhook is no URL"
        if not (self.webhook.isascii() and self.webhook.isprintable()) or " " in self.webhook or not host:
            return "the webhook is no URL"
        if parts.scheme not in ("http", "https") or parts.username is not None or parts.fragment:
            return "the webhook is no plain URL of http or https"
        if is_loopback(host):
            return ""
        if host not in self.hosts:
            return f"the webhook may be on another machine, which `hosts` does not name (127.0.0.1 is this one): {host}"
        return "" if parts.scheme == "https" else "a webhook on another machine must be https"


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("notify", "{what}", {"what": what})
