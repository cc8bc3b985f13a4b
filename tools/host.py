"""The tool host: every toolset of a site behind one call. It owns the sessions and takes calls from the core only.

It checks shapes, never rights: that a call may happen was settled in the gate. Arguments that do not fit never leave;
results that do not fit never come back. Calls of an older core than the newest one seen are refused, and what such a
core began has ended before the newer one repeats it or asks what became of it. A call is carried out at most once:
Unreachable and BadArguments mean that it never left, anything else that it may have happened.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from store.records.canonical import Json, canonical
from store.records.errors import UNREACHABLE, BailiwickError, SettingsError, Timeout, ToolFailed, Unreachable
from tools.catalog import Catalog
from tools.process import become_subreaper, end_descendants
from tools.record import Effect, ToolRecord
from tools.references import check_references
from tools.results import BadResult
from tools.schema import Checker
from tools.toolset import Outcome, Toolset

MAX_ARGUMENT_BYTES = 256 * 1024


class StaleEpoch(BailiwickError):
    """The call came from a core that has been replaced. It never left."""

    exit_code: ClassVar[int] = UNREACHABLE


class BadArguments(ToolFailed):
    """The arguments do not fit the tool's schema. The call never left."""


class ToolHost:
    """All toolsets of a site. Plain class; one event loop. An actor that wraps it calls `become_subreaper()` first."""

    def __init__(self, log_dir: Path | None = None, alone: bool = False) -> None:
        """`log_dir` takes the servers' stderr; `alone` says that this process is the host's, with all its children."""
        self._log_dir, self._alone = log_dir, alone
        self._toolsets: list[Toolset] = []
        self._where: dict[str, Toolset] = {}
        self._records: dict[str, ToolRecord] = {}
        self._checkers: dict[str, tuple[Checker, Checker | None]] = {}
        self._epoch = 0
        self._effects: dict[asyncio.Event, tuple[int, ToolRecord]] = {}

    async def open(self, catalogs: Sequence[Catalog], toolsets: Sequence[Toolset] = ()) -> None:
        """Start every server of the catalogs, and the toolsets given. All or none.

        Raises Unreachable for a server that does not start, SettingsError for catalogs that contradict each other.
        """
        try:
            for toolset in (*self._servers(catalogs), *toolsets):
                self._toolsets.append(toolset)
                await toolset.open()
                for record in await toolset.records():
                    self._add(record, toolset)
            check_references(self._records)
        except BaseException:
            await self.close()
            raise

    def _servers(self, catalogs: Sequence[Catalog]) -> list[Toolset]:
        named = [item for catalog in catalogs for item in catalog.server.items()]
        if len({name for name, _ in named}) < len(named):
            raise SettingsError("two tools files name a server alike", do="rename one of them")
        if not named:
            return []
        from tools.mcp.toolset import McpToolset  # late: the mcp package takes a second to import

        return [McpToolset(name, server, self._log_dir) for name, server in named]

    def _add(self, record: ToolRecord, toolset: Toolset) -> None:
        if record.name in self._records:
            raise SettingsError("two toolsets offer a tool of one name", record.name, "rename one of the servers")
        self._records[record.name] = record
        self._where[record.name] = toolset
        output = Checker(record.output_schema) if record.output_schema is not None else None
        self._checkers[record.name] = (Checker(record.input_schema), output)

    def records(self) -> dict[str, ToolRecord]:
        """Name -> record, for every tool. Key arguments are not in the schemas: `call` fills them in."""
        return dict(self._records)

    async def call(self, name: str, arguments: dict[str, Json], key: str, timeout_s: float, epoch: int) -> Outcome:
        """Call one tool, once, under `epoch`. `key` is the idempotency key of an effect, empty for a read.

        Takes at most `timeout_s`, and at most the tool's own limit, in seconds. Raises StaleEpoch, BadArguments,
        Unreachable (none of which left the machine), ToolFailed, BadResult or Timeout (which may have).
        """
        if epoch < self._epoch:
            raise StaleEpoch(f"epoch {epoch} is over; the core of epoch {self._epoch} has taken its place", name)
        self._epoch = epoch
        if name not in self._records:
            raise BadArguments("there is no such tool", name, "see `bailiwick tools list`")
        record = self._records[name]
        sent = self._arguments(record, arguments, key)
        await self._older(name, epoch)
        with self._under_way(record, epoch):
            outcome = await self._where[name].call(name, sent, min(timeout_s, record.timeout_s))
        checker = self._checkers[name][1]
        if checker and not outcome.error and (problem := checker.problem(outcome.value)):
            raise BadResult(f"the tool's result does not fit its schema: {problem}", name, "report it to its owner")
        return outcome

    async def _older(self, name: str, epoch: int) -> None:
        """Wait for what an older core began: asked in the midst of an effect, or told to repeat it, a tool would say or
        do what is no longer true a moment later. At most as long as that effect may take.
        """
        for ended, (began, record) in list(self._effects.items()):
            if began < epoch and name in (record.name, record.reconcile):
                await ended.wait()

    @contextmanager
    def _under_way(self, record: ToolRecord, epoch: int) -> Iterator[None]:
        ended = asyncio.Event()
        if record.effect is Effect.WRITE:
            self._effects[ended] = epoch, record
        try:
            yield
        finally:
            self._effects.pop(ended, None)
            ended.set()

    def _arguments(self, record: ToolRecord, arguments: dict[str, Json], key: str) -> dict[str, Json]:
        """What is sent: the arguments, checked, and the key where the tool takes it."""
        try:
            size = len(canonical(arguments))
        except (ValueError, TypeError, RecursionError):
            raise BadArguments("the arguments are not JSON", record.name) from None
        if size > MAX_ARGUMENT_BYTES:
            raise BadArguments(
                f"the arguments have {size} bytes, more than {MAX_ARGUMENT_BYTES >> 10} KiB", record.name
            )
        if record.key_argument and record.key_argument in arguments:
            raise BadArguments(f"{record.key_argument} is the runtime's to set", record.name, "leave it out")
        if problem := self._checkers[record.name][0].problem(arguments):
            raise BadArguments(f"the arguments do not fit: {problem}", record.name, "follow its schema")
        if record.effect is Effect.WRITE and record.key_argument and not key:
            raise BadArguments("an effect needs an idempotency key", record.name, "call it through the gate")
        return {**arguments, record.key_argument: key} if record.key_argument else dict(arguments)

    async def close(self) -> None:
        """End every server, and alone in its process also what a killed guard left to us. May be called twice."""
        for toolset in reversed(self._toolsets):
            await toolset.close()
        if self._alone:
            await asyncio.to_thread(end_descendants)
        self._toolsets.clear()
        self._where.clear()
        self._records.clear()
        self._checkers.clear()


__all__ = ["BadArguments", "BadResult", "StaleEpoch", "Timeout", "ToolHost", "Unreachable", "become_subreaper"]
