"""The tools file: which tool servers there are, how they start, and how somebody classified their tools.

TOML, read strictly: an unknown field is an error, not a hint. A server starts from a list of arguments, never from a
shell string, and gets the environment named here and nothing else of ours. A tool that the file does not classify
keeps the defaults of a ToolRecord: a write that leaves the machine and cannot be undone.
"""

import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from store.records.errors import SettingsError
from store.records.problems import problems
from tools.record import Effect, OutputLabel

NAME = r"^[a-z][a-z0-9_]*$"
TOOL = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$"
MAX_FILE_BYTES = 1 << 20
MARK = "BAILIWICK_TOOL_CHILD"
"""Set for every tool server: the gateway refuses a caller that carries it, or comes of one that does."""
OURS = ("BAILIWICK_", "RAY_")
"""Beginnings of variable names that belong to the runtime: no tool server gets one, whatever the file says."""

ToolName = Annotated[str, Field(pattern=TOOL)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Label(_Strict):
    """The label of a tool's results, in the words of store.records.labels."""

    classification: Literal["public", "internal", "confidential", "restricted"] = "restricted"
    integrity: Literal["untrusted", "trusted"] = "untrusted"

    def record(self) -> OutputLabel:
        """As the tool record holds it."""
        return OutputLabel(classification=self.classification, integrity=self.integrity)


class Classification(_Strict):
    """What somebody says about one tool. The fields mean what they mean in a ToolRecord."""

    effect: Effect = Effect.WRITE
    egress: bool = True
    irreversible: bool = True
    scopes: tuple[str, ...] = ()
    owner: str = ""
    consequential: tuple[str, ...] = ()
    target: str = ""
    key_argument: str = ""
    timeout_s: float = Field(30.0, gt=0, le=3600)
    reconcile: ToolName | Literal[""] = ""
    compensate: ToolName | Literal[""] = ""
    output: Label = Label()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.effect is Effect.READ and (self.key_argument or self.reconcile or self.compensate):
            raise ValueError("a read has no key_argument, reconcile or compensate")
        if self.reconcile and not self.key_argument:
            raise ValueError("reconcile needs a key_argument: the key is what it asks about")
        return self


class Server(_Strict):
    """One tool server: an MCP server over stdio."""

    command: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str] = Field(default_factory=dict)
    inherit: tuple[str, ...] = Field((), description="variables taken over from our own environment, by name")
    cwd: str = ""
    owner: str = ""
    start_timeout_s: float = Field(30.0, gt=0, le=600)
    tools: dict[Annotated[str, Field(pattern=NAME)], Classification] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.command[0].strip():
            raise ValueError("command names no program")
        if any("\0" in text for text in (*self.command, self.cwd, *self.env.values())):
            raise ValueError("NUL in command, cwd or env")
        for name in (*self.env, *self.inherit):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError("env and inherit take names of variables")
            if name.startswith(OURS):
                raise ValueError(f"{name} belongs to the runtime and is given to no tool server")
        return self

    def environment(self) -> dict[str, str]:
        """All variables that the server's process will have. Raises SettingsError if one of `inherit` is not set."""
        base = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            MARK: "1",
        }
        for name in self.inherit:
            if name not in os.environ:
                raise SettingsError(f"the tools file inherits {name}, which is not set", do=f"set {name}")
            base[name] = os.environ[name]
        return base | self.env


class Catalog(_Strict):
    """A tools file that was read: server name -> server."""

    server: dict[Annotated[str, Field(pattern=NAME)], Server] = Field(min_length=1)


def load(path: Path, values: Mapping[str, str] | None = None) -> Catalog:
    """The catalog in a tools file.

    In command, cwd and env, `{python}` stands for this interpreter and `{NAME}` for values[NAME]. Who can have written
    the file is for the caller to find out: it names programs to run.

    Raises SettingsError, in one line, if the file cannot be read or used.
    """
    document = _read(path)
    known = {"python": sys.executable, **(values or {})}
    try:
        catalog = Catalog.model_validate(document)
    except ValidationError as error:
        raise SettingsError(
            f"the tools file is not usable: {problems(error, 'the file')}", str(path), "correct it"
        ) from None
    return Catalog(server={name: _filled(server, known, path) for name, server in catalog.server.items()})


def _read(path: Path) -> object:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"cannot read the tools file: {error.strerror}", str(path), "check the path") from None
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError("the tools file is larger than 1 MiB", str(path), "is it the right file?")
    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise SettingsError(f"the tools file is not TOML: {error}", str(path), "correct it") from None


def _filled(server: Server, known: Mapping[str, str], path: Path) -> Server:
    def fill(text: str) -> str:
        return re.sub(r"\{([a-z_]+)\}", value, text)

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise SettingsError(
                f"unknown placeholder {match[0]}", str(path), f"known are {', '.join(f'{{{name}}}' for name in known)}"
            )
        return known[match[1]]

    return server.model_copy(
        update={
            "command": tuple(fill(part) for part in server.command),
            "cwd": fill(server.cwd),
            "env": {name: fill(text) for name, text in server.env.items()},
        }
    )
