"""AgentDojo's tools as a toolset, and what its environment knows of names, over one environment at a time."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_jsonable_python

from benchmarks.agentdojo.records import records
from runtime.gate.provenance.directory import Directories
from store.records.canonical import Json
from tools.record import ToolRecord
from tools.toolset import Outcome, Toolset


@dataclass(frozen=True)
class Call:
    """A call of one of AgentDojo's functions, with the fields that its checks look at."""

    function: str
    args: dict[str, Json]


@dataclass
class Dojo(Toolset):
    """The functions of a suite. `environment` is what they act on; `done` are the calls that were carried out."""

    functions: Any
    environment: Any = None
    done: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by_name: Mapping[str, ToolRecord] = records(self.functions.functions.values())

    def name_of(self, function: str) -> str:
        """The name of a function's tool."""
        return self.by_name[function].name

    def carry_out(self, call: Call) -> Outcome:
        """Make a call, with nothing in between."""
        given = dict(call.args)
        result, error = self.functions.run_function(self.environment, call.function, given)
        self.done.append(call)
        return Outcome(error or to_jsonable_python(result), error=bool(error))

    def directories(self) -> Directories:
        """The contacts, and the index of the drive's and the calendar's objects, as they are when a name is looked up.

        A contact goes by its whole name in any case, an object by its very name. The index is the system's own; a name
        in it may well be somebody else's choice, which is why one that two objects have stands for neither.
        """
        return Directories(
            people=_Index(self._contacts, fold=True),
            objects={"cloud_drive": _Index(self._files), "calendar": _Index(self._events)},
        )

    def _contacts(self) -> Iterable[tuple[str, str]]:
        inbox = getattr(self.environment, "inbox", None)
        return [(each.name, each.email) for each in getattr(inbox, "contact_list", ())]

    def _files(self) -> Iterable[tuple[str, str]]:
        return [(each.filename, key) for key, each in self.environment.cloud_drive.files.items()]

    def _events(self) -> Iterable[tuple[str, str]]:
        return [(each.title, key) for key, each in self.environment.calendar.events.items()]

    async def open(self) -> None:
        """Nothing has to be started."""

    async def records(self) -> list[ToolRecord]:
        """As Toolset.records."""
        return list(self.by_name.values())

    async def call(self, name: str, arguments: dict[str, Json], timeout_s: float) -> Outcome:
        """As Toolset.call."""
        del timeout_s
        return self.carry_out(Call(name.partition(".")[2], arguments))

    async def close(self) -> None:
        """Nothing has been started."""


@dataclass(frozen=True)
class _Index:
    """Names and what they stand for, read anew for each question."""

    read: Callable[[], Iterable[tuple[str, str]]]
    fold: bool = False

    def resolve(self, name: str) -> frozenset[str]:
        """As Directory.resolve."""
        asked = self._form(name)
        return frozenset(value for known, value in self.read() if self._form(known) == asked)

    def _form(self, name: str) -> str:
        return name.casefold() if self.fold else name
