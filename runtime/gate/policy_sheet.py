"""A sheet: calls as people write them down, to be judged and never made. A policy set's own tests are one; so is a
question what would be decided.

TOML or JSON, read strictly: a field that nobody would read is an error. What a call does not say is as harmless as can
be (trusted, nothing reviewed), so that each test says itself what it is about.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.gate.call import ToolCall
from runtime.gate.decision import Ruling
from runtime.gate.inventory import Inventory
from runtime.gate.policy_files import PolicyFile
from runtime.gate.provenance.origin import Origin, consequential
from store.records.errors import SettingsError
from store.records.identity import NO_UID, Agent, Principal, User
from store.records.labels import Classification, Integrity, Labels
from store.records.problems import problems
from tools.record import Effect, ToolRecord

Role = Literal["requester", "approver", "auditor", "admin"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SheetTool(_Strict):
    """A tool that a sheet speaks of. The fields mean what they mean in a ToolRecord; `arguments` are JSON Schemas, or
    the names of JSON types, by name."""

    effect: Effect = Effect.WRITE
    egress: bool = True
    irreversible: bool = True
    scopes: tuple[str, ...] = ()
    consequential: tuple[str, ...] = ()
    target: str = ""
    arguments: dict[str, str | dict[str, Any]] = {}

    def record(self, name: str) -> ToolRecord:
        """As the gate knows tools. Raises ValueError if no tool can be called that."""
        properties = {key: {"type": each} if isinstance(each, str) else each for key, each in self.arguments.items()}
        return ToolRecord(
            name=name,
            input_schema={"type": "object", "properties": properties},
            **self.model_dump(exclude={"arguments"}),
        )


class Case(_Strict):
    """One call; and, in a test, what must be decided about it, and by which policies: those that permit an allow, that
    forbid a deny (none: nothing permits it), or that hold a suspend for `approvers` people, with `distinct` none of
    them who asked. `untrusted` names the consequential arguments that nothing vouches for."""

    name: str = ""
    tool: str
    arguments: dict[str, Any] = {}
    user: str = "somebody"
    uid: int = NO_UID
    tenant: str = "local"
    unit: str = ""
    roles: tuple[Role, ...] = ("requester",)
    groups: tuple[str, ...] = ()
    agent: str = "worker"
    agent_version: str = "1"
    workflow: str = ""
    workflow_version: int = 0
    reviewed: bool = False
    integrity: Literal["trusted", "untrusted"] = "trusted"
    classification: Literal["public", "internal", "confidential", "restricted"] = "internal"
    sources: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()
    decide: Ruling | None = None
    by: tuple[str, ...] | None = None
    approvers: int | None = None
    distinct: bool | None = None

    def call(self, records: Mapping[str, ToolRecord]) -> ToolCall:
        """The call of one of these tools. Raises SettingsError if none is called that, or `untrusted` names what is no
        consequential argument of the call."""
        record = records.get(self.tool)
        if record is None:
            raise SettingsError(f"no tool is called {self.tool}", do="describe it under `tools`, or name a tools file")
        decisive = [name for name in sorted(self.arguments) if consequential(record, name)]
        if unknown := sorted(set(self.untrusted) - set(decisive)):
            raise SettingsError(f"{unknown[0]!r} is no consequential argument of the call of {self.tool}")
        labels = Labels(
            self.tenant,
            Classification[self.classification.upper()],
            Integrity[self.integrity.upper()],
            tuple(sorted(self.sources)),
        )
        origins = tuple(Origin(name, name not in self.untrusted, ()) for name in decisive)
        return ToolCall(
            run="",
            step="",
            record=record,
            arguments=self.arguments,
            principal=self._principal(),
            labels=labels,
            workflow=self.workflow,
            workflow_version=self.workflow_version,
            reviewed=self.reviewed,
            origins=() if record.local_read else origins,
        )

    def _principal(self) -> Principal:
        user = User(self.user, self.uid, self.tenant, self.unit, self.roles, tuple(sorted(self.groups)))
        return Principal(user, Agent(self.agent, self.agent_version))


class _Written(_Strict):
    tools: dict[str, SheetTool] = {}
    inventory: dict[str, tuple[str, ...]] | None = None
    test: tuple[Case, ...] = Field((), description="[[test]] in TOML")


@dataclass(frozen=True)
class Sheet:
    """A sheet that was read. Its tools stand for those of the site of the same name; None: the site's inventory."""

    path: str
    tools: Mapping[str, ToolRecord]
    inventory: Inventory | None
    cases: tuple[Case, ...]

    @classmethod
    def parse(cls, file: PolicyFile) -> "Sheet":
        """The sheet in a file's text, JSON if its name says so. Raises SettingsError if it is none."""
        try:
            value = json.loads(file.text) if file.path.endswith(".json") else tomllib.loads(file.text)
            written = _Written.model_validate_json(json.dumps(value), strict=True)
            tools = {name: tool.record(name) for name, tool in written.tools.items()}
        except ValidationError as error:
            raise SettingsError(problems(error), file.path, "correct it there") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise SettingsError(f"the file cannot be read: {' '.join(str(error).split())[:200]}", file.path) from None
        inventory = None if written.inventory is None else Inventory(written.inventory)
        return cls(file.path, tools, inventory, written.test)
