"""Tools written in Python, in this process: a toolset for an author's own functions and for tests.

The function's signature is its input schema. A function that is not async runs in a thread of its own; one that does
not end in time is left behind, since Python cannot stop a thread, and the caller gets Timeout.
"""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs, to_jsonable_python

from store.records.canonical import Json
from store.records.errors import SettingsError, Timeout, ToolFailed
from store.records.problems import problems
from tools.record import ToolRecord
from tools.results import BadResult, checked
from tools.toolset import Outcome, Toolset

F = TypeVar("F", bound=Callable[..., Any])


class FunctionToolset(Toolset):
    """Functions as tools `server.name`. Register each with `tool` before the toolset is opened.

    >>> lab = FunctionToolset("lab")
    >>> @lab.tool(effect="read", egress=False, irreversible=False)
    ... def double(number: int) -> dict[str, int]:
    ...     return {"double": 2 * number}
    """

    def __init__(self, server: str, version: str = "1", threads: int = 8) -> None:
        self._server, self._version, self._threads = server, version, threads
        self._records: dict[str, ToolRecord] = {}
        self._functions: dict[str, tuple[TypeAdapter[Any], Callable[..., Any]]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def tool(self, **classification: Any) -> Callable[[F], F]:
        """Register a function. `classification` takes fields of ToolRecord; what is not said keeps its defaults.

        Raises SettingsError for a field that does not fit, or an argument named there that the function lacks.
        """

        def register(function: F) -> F:
            adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, function))
            record = self._record(function, adapter.json_schema(), classification)
            self._records[record.name] = record
            self._functions[record.name] = (adapter, function)
            return function

        return register

    def _record(self, function: Callable[..., Any], schema: dict[str, Any], said: dict[str, Any]) -> ToolRecord:
        name = f"{self._server}.{getattr(function, '__name__', '')}"
        key = said.get("key_argument", "")
        properties = schema.get("properties", {})
        for argument in (key, said.get("target", ""), *said.get("consequential", ())):
            if argument and argument not in properties:
                raise SettingsError(f"the function has no argument {argument!r}", name, "correct its classification")
        try:
            return ToolRecord(
                **{"version": self._version, "description": inspect.getdoc(function) or "", **said},
                name=name,
                input_schema=without(schema, key),
            )
        except ValidationError as error:
            raise SettingsError(f"cannot make a tool of the function: {problems(error)}", name) from None

    async def open(self) -> None:
        """Start the threads that functions run in."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=f"tools-{self._server}")

    async def records(self) -> list[ToolRecord]:
        """The tools, in the order in which they were registered."""
        return list(self._records.values())

    async def call(self, name: str, arguments: dict[str, Json], timeout_s: float) -> Outcome:
        """Call one function. What it raises as ToolFailed becomes an error outcome; any other exception is its bug."""
        if self._pool is None or name not in self._functions:
            raise ToolFailed("there is no such tool" if self._pool else "the toolset is not open", name)
        try:
            async with asyncio.timeout(timeout_s):
                value = await self._run(*self._functions[name], arguments)
        except TimeoutError:
            raise Timeout(f"the tool did not answer in {timeout_s:g} s", name) from None
        except ToolFailed as error:
            if isinstance(error, BadResult):
                raise
            return Outcome(str(error), error=True)
        except ValidationError as error:
            raise ToolFailed(
                "arguments that its signature does not allow", name, f"{error.error_count()} wrong"
            ) from None
        except Exception as error:
            raise ToolFailed(f"the tool's code failed with {type(error).__name__}", name, "see its author") from error
        return Outcome(checked(to_jsonable_python(value, fallback=repr), name))

    async def _run(self, adapter: TypeAdapter[Any], function: Callable[..., Any], arguments: dict[str, Json]) -> Any:
        call = ArgsKwargs((), arguments)
        if inspect.iscoroutinefunction(function):
            return await adapter.validate_python(call)
        return await asyncio.get_running_loop().run_in_executor(self._pool, adapter.validate_python, call)

    async def close(self) -> None:
        """Forget the threads; a function still running in one is not waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def without(schema: dict[str, Any], argument: str) -> dict[str, Any]:
    """An object schema without one of its properties: the key argument is the runtime's, no model sees it."""
    if not argument:
        return schema
    shown = dict(schema)
    shown["properties"] = {name: rule for name, rule in schema.get("properties", {}).items() if name != argument}
    if required := [name for name in schema.get("required", ()) if name != argument]:
        shown["required"] = required
    else:
        shown.pop("required", None)
    return shown
