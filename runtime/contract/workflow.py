"""The workflow: a named, versioned `async def` over a Run, and the deterministic fallback it declares."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from runtime.contract.decision import ByModel, permits
from runtime.contract.run import Run
from store.records.canonical import sha256
from store.records.errors import SettingsError

Function = Callable[..., Awaitable[Any]]
Fallback = Callable[[Run], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow. Calling it calls its function, which is how a test with FakeRun runs it.

    `tools` are the tools it may use, none but these (empty: any); `fallback` finishes the job by rules when the model
    does not get there. `by_model` is what a model may decide; all else is decided by the function and the fallback, and
    a step that is not declared there is refused (empty: a model decides none; None: nobody says, so it may any). The
    reviewer needs no word in it, for it can only say no. `expected_cost` is what one task should cost on average, with
    the runs that it begins, in millionths of the site's currency unit (0: nobody says): an alert tells when it costs
    much more.
    """

    name: str
    version: int
    function: Function
    fallback: Fallback | None
    tools: tuple[str, ...]
    expected_cost: int = 0
    by_model: tuple[ByModel, ...] | None = None

    async def __call__(self, run: Run, *arguments: Any) -> Any:
        return await self.function(run, *arguments)

    def lets_model(self, step: str, tools: Iterable[str] = ()) -> bool:
        """Whether a model may decide a step of this kind, with these tools."""
        return permits(self.by_model, step, tools)

    @property
    def deterministic(self) -> bool:
        """Whether it is declared that no model decides anything."""
        return self.by_model == ()

    @property
    def description(self) -> str:
        """The first paragraph of the function's docstring: what the router reads."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @property
    def source(self) -> str:
        """The source of the function, and of the fallback. Functions that they call are not in it."""
        functions = [self.function] + ([self.fallback] if self.fallback else [])
        return "\n".join(inspect.getsource(function) for function in functions)

    @property
    def source_digest(self) -> str:
        """The hex SHA-256 of the source."""
        return sha256(self.source.encode())

    @property
    def input(self) -> type[BaseModel] | None:
        """The model of the function's second parameter, if it has one."""
        parameters = list(inspect.signature(self.function, eval_str=True).parameters.values())
        return parameters[1].annotation if len(parameters) > 1 else None


def workflow(
    name: str,
    *,
    version: int = 1,
    fallback: Fallback | None = None,
    tools: tuple[str, ...] = (),
    expected_cost: int = 0,
    by_model: tuple[ByModel, ...] | None = None,
) -> Callable[[Function], Workflow]:
    """Make an `async def` over a Run into a Workflow. Raises SettingsError if it is not one."""

    def declare(function: Function) -> Workflow:
        if not inspect.iscoroutinefunction(function):
            raise SettingsError(f"workflow {name!r} is not an async def", function.__qualname__, "write `async def`")
        if len(inspect.signature(function).parameters) not in (1, 2):
            raise SettingsError(f"workflow {name!r} takes a Run and at most one input", function.__qualname__)
        if version < 1:
            raise SettingsError(f"workflow {name!r} has version {version}", function.__qualname__, "count from 1")
        if not 0 <= expected_cost <= 2**53:
            raise SettingsError(f"workflow {name!r} expects to cost {expected_cost}", function.__qualname__)
        chosen = {tool for each in by_model or () for tool in each.tools}
        if tools and (beyond := sorted(chosen - set(tools))):
            what = f"workflow {name!r} lets a model use {beyond[0]}, which is none of its tools"
            raise SettingsError(what, function.__qualname__, "add it to `tools`")
        return Workflow(name, version, function, fallback, tools, expected_cost, by_model)

    return declare
