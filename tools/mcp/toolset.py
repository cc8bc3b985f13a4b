"""An MCP server over stdio as a toolset: starts it, calls it, starts it again when it has died.

Whoever calls decides whether a call may be repeated: this room never repeats one. Unreachable means that a call never
left; ToolFailed and Timeout mean that it may have been carried out. The server's definitions are read once: a tool
whose definition is another after a restart is not called.
"""

import asyncio
import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path

import anyio
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    TextContent,
    Tool,
)
from pydantic import ValidationError

from store.records.canonical import Json, parse
from store.records.errors import BailiwickError, SettingsError, Timeout, ToolFailed, Unreachable
from tools.catalog import Server
from tools.mcp.definitions import records
from tools.mcp.transport import ServerPipe
from tools.record import ToolRecord
from tools.results import BadResult, checked
from tools.toolset import Outcome, Toolset

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
MAX_PAGES = 50
PROBE_S = 2.0

for _name in ("mcp", "client"):  # the package's loggers; they quote what a server wrote, which must stay out of logs
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class _Link:
    """One connection, from start to end, owned by one task: the client's cancel scopes must be left where entered."""

    def __init__(self, name: str, server: Server, stderr: Path | None) -> None:
        cwd = Path(server.cwd) if server.cwd else None
        self.pipe = ServerPipe(server.command, server.environment(), cwd, stderr)
        self._name, self._patience_s = name, server.start_timeout_s
        self.client: Client | None = None
        self._scope = anyio.CancelScope()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"tool server {name}")
        self.stale_since: int | None = None

    async def ready(self) -> Client:
        """The client, once the handshake is done. Raises Unreachable if there is none in time."""
        await asyncio.wait({self._ready}, timeout=self._patience_s)
        if not self._ready.done():
            await self.close()
            self._consume()
            raise Unreachable(f"the tool server did not start in {self._patience_s:g} s", self._name, "see its stderr")
        await self._ready
        assert self.client
        return self.client

    async def _run(self) -> None:
        try:
            with self._scope:
                async with Client(
                    self.pipe.streams(), cache=None, read_timeout_seconds=self._patience_s
                ) as self.client:
                    self._ready.set_result(None)
                    await self.pipe.ended.wait()
        except Exception as error:  # whatever the handshake meets is one thing to the caller: it did not start
            if not self._ready.done():
                reason = self.pipe.failure or getattr(error, "strerror", None) or type(error).__name__
                self._ready.set_exception(
                    Unreachable(
                        f"the tool server did not start: {reason}", self._name, "check its command in the tools file"
                    )
                )
        finally:
            self.pipe.ended.set()
            if not self._ready.done():
                self._ready.set_exception(Unreachable("the tool server was stopped while starting", self._name))

    def _consume(self) -> None:
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()

    async def usable(self) -> bool:
        """False when it has ended, or when a call timed out and it answers nothing at all.

        A slow tool is no reason to end its server, and with it an effect under way: so ask before judging.
        """
        if self.stale_since == self.pipe.lines and self.client and not self.pipe.ended.is_set():
            try:
                async with asyncio.timeout(PROBE_S):
                    await self.client.list_tools()
            except (TimeoutError, MCPError, ValidationError, RuntimeError):
                return False
        return not self.pipe.ended.is_set()

    async def close(self) -> None:
        """End the server and everything it started."""
        self._scope.cancel()
        await asyncio.wait({self._task})
        self._consume()


class McpToolset(Toolset):
    """The tools of one server of a catalog. `log_dir`, if given, takes the server's stderr in a private file."""

    def __init__(self, name: str, server: Server, log_dir: Path | None = None) -> None:
        self._name, self._server = name, server
        self._stderr = log_dir / f"{name}.stderr" if log_dir else None
        self._link: _Link | None = None
        self._opened = False
        self._tools: dict[str, tuple[str, ToolRecord]] = {}
        self._changed: set[str] = set()
        self._failures = 0
        self._not_before = 0.0
        self._starting = asyncio.Lock()

    async def open(self) -> None:
        """Start the server and read its definitions. Raises Unreachable, or SettingsError if the tools file misfits."""
        if self._opened:
            return
        program = self._server.command[0]
        if shutil.which(program, path=self._server.environment()["PATH"]) is None:
            raise Unreachable(f"there is no program {program!r}", f"tool server {self._name}", "correct the tools file")
        if self._server.cwd and not Path(self._server.cwd).is_dir():
            raise Unreachable("the folder it should run in does not exist", f"tool server {self._name}", "make it")
        self._opened = True
        try:
            await self._client()
        except BaseException:
            await self.close()
            raise

    async def records(self) -> list[ToolRecord]:
        """The tools as they were when the toolset was opened."""
        return [record for _, record in self._tools.values()]

    @property
    def pid(self) -> int:
        """The process id of the server's guard, 0 while none runs."""
        return self._link.pipe.pid if self._link and not self._link.pipe.ended.is_set() else 0

    async def call(self, name: str, arguments: dict[str, Json], timeout_s: float) -> Outcome:
        """Call one tool, once. Starts the server first if it is gone; raises Unreachable if that cannot be done."""
        if name not in self._tools:
            raise ToolFailed("there is no such tool", name, "see `bailiwick tools list`")
        link: _Link | None = None
        try:
            async with asyncio.timeout(timeout_s):
                client = await self._client()
                link = self._link
                if name in self._changed:
                    raise ToolFailed(
                        "the tool's definition has changed since it was accepted", name, "start again to accept it"
                    )
                result = await _sent(client, self._tools[name][0], arguments, timeout_s)
        except TimeoutError:
            raise self._late(name, timeout_s, link) from None
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise self._late(name, timeout_s, link) from None
            if error.code == CONNECTION_CLOSED:
                reason = (link.pipe.failure if link else "") or "the connection closed"
                raise ToolFailed(f"the tool server is gone: {reason}", name, "the next call starts it again") from None
            return Outcome(error.message, error=True)
        except (ValidationError, RuntimeError):  # the package's message quotes the result: it is not passed on
            raise BadResult("the tool server answered what its protocol or schema does not allow", name) from None
        self._failures = 0
        return _outcome(result, name)

    def _late(self, name: str, timeout_s: float, link: _Link | None) -> BailiwickError:
        if link is None:
            return Unreachable(f"the tool server did not start again in {timeout_s:g} s", name, "see its stderr")
        link.stale_since = link.pipe.lines
        return Timeout(f"the tool did not answer in {timeout_s:g} s", name, "it may still have been carried out")

    async def _client(self) -> Client:
        """The client of a server that runs; starts one, after a wait that grows while starts keep failing."""
        async with self._starting:
            if not self._opened:
                raise Unreachable("the toolset is not open", f"tool server {self._name}")
            if self._link and self._link.client and await self._link.usable():
                return self._link.client
            await self._drop()
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            self._failures += 1
            wait_s = min(FIRST_WAIT_S * 2 ** (self._failures - 1), LONGEST_WAIT_S)
            self._not_before = time.monotonic() + wait_s
            link = self._link = _Link(self._name, self._server, self._stderr)
            try:
                client = await link.ready()
                await self._learn(client)
            except BaseException:
                await self._drop()
                raise
            return client

    async def _learn(self, client: Client) -> None:
        """Read the definitions; the first time they become the records, later ones are only compared with them."""
        tools: list[Tool] = []
        cursor: str | None = None
        try:
            for _ in range(MAX_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                if (cursor := page.next_cursor) is None:
                    break
        except (MCPError, ValidationError, RuntimeError):
            raise Unreachable("the tool server does not list its tools", self._name, "is it an MCP server?") from None
        info = client.server_info
        try:
            found = records(self._name, self._server, (info.version if info else "") or "0", tools)
        except SettingsError:
            if not self._tools:
                raise
            found = {}
        self._tools = self._tools or found
        self._changed = {
            name
            for name, (_, record) in self._tools.items()
            if name not in found or found[name][1].digest != record.digest
        }

    async def _drop(self) -> None:
        if (link := self._link) is not None:
            await link.close()
            # Only now: a caller whose time is up may leave above, and then the next one ends the server.
            if self._link is link:
                self._link = None

    async def close(self) -> None:
        """End the server and everything it started. May be called twice."""
        self._opened = False
        with suppress(Unreachable):
            await self._drop()


async def _sent(client: Client, tool: str, arguments: dict[str, Json], timeout_s: float) -> CallToolResult:
    """The server's answer to one call. Not by `client.call_tool`, which would hold the result against the server's own
    schema with regular expressions that backtrack; the tool host does so in bounded time (tools.schema)."""
    request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
    return await client.session.send_request(request, CallToolResult, request_read_timeout_seconds=timeout_s)


def _outcome(result: CallToolResult, name: str) -> Outcome:
    """Structured content if there is any; else the text, as JSON if it is JSON."""
    if result.result_type != "complete":
        raise BadResult("the tool asks for more input, and nobody here answers tools", name, "it cannot be used here")
    texts = [part.text for part in result.content if isinstance(part, TextContent)]
    if result.is_error:
        return Outcome(checked("\n".join(texts) or "the tool gave no reason", name), error=True)
    if result.structured_content is not None:
        return Outcome(checked(result.structured_content, name))
    if len(texts) != len(result.content):
        raise BadResult("the tool answered with something other than text or JSON", name, "it cannot be used here")
    text = "\n".join(texts)
    try:
        return Outcome(checked(parse(text.encode()), name))
    except (ValueError, RecursionError):  # brackets nested by the thousand are no JSON that anybody meant
        return Outcome(checked({"text": text}, name))
