"""The pipe to one tool server: newline-delimited JSON-RPC over the standard streams of a guarded process.

The mcp package has a stdio transport too. This one differs where it matters here: the child gets exactly the
environment it is given, its lines are bounded, what it leaves behind is ended, its stderr never reaches ours, and
nothing that it says is ever logged. One line that is not JSON-RPC ends the connection.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from io import FileIO
from pathlib import Path

import anyio
import mcp_types as types
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from tools.mcp import guard
from tools.process import descendants, signal_all

Inward = MemoryObjectSendStream[SessionMessage | Exception]
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

MAX_LINE_BYTES = 4 << 20
"""One message. A result of the largest size allowed comes twice in it, as text and structured, with escapes."""
MAX_STDERR_BYTES = 1 << 20
EXIT_GRACE_S = 2.0
KILL_GRACE_S = 3.0
DRAIN_S = 1.0


class ServerPipe:
    """One server process and its streams. `ended` is set when it will answer no more; `failure` then says why."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path | None, stderr: Path | None) -> None:
        self._command, self._env, self._cwd, self._stderr = list(command), dict(env), cwd, stderr
        self.ended = anyio.Event()
        self.failure = ""
        self.lines = 0
        self.pid = 0

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Streams, None]:
        """Start the server; on leaving, end it and all its descendants. Raises OSError if it cannot be started."""
        with FileIO(self._stderr or os.devnull, "wb", opener=_private) as log:
            async with self._running(log) as streams:
                yield streams

    @asynccontextmanager
    async def _running(self, log: FileIO) -> AsyncGenerator[Streams, None]:
        with anyio.CancelScope(shield=True):  # a start cancelled halfway would leave pipes and a process behind
            process = await self._start()
        inward, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write_stream, outward = anyio.create_memory_object_stream[SessionMessage](0)
        assert process.stdin
        assert process.stdout
        assert process.stderr
        drained = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, process.stdout, inward, drained[0])
            tasks.start_soon(self._write, process.stdin, outward)
            tasks.start_soon(_keep, process.stderr, log, drained[1])
            try:
                yield read_stream, write_stream
            finally:
                with anyio.CancelScope(shield=True):
                    for end in (read_stream, write_stream, inward, outward):
                        end.close()
                    await _end(process, 0.0 if self.ended.is_set() else EXIT_GRACE_S)
                    with anyio.move_on_after(DRAIN_S):
                        for event in drained:
                            await event.wait()
                    await process.stdout.aclose()
                    await process.stderr.aclose()
                tasks.cancel_scope.cancel()

    async def _start(self) -> Process:
        # Run by path, isolated and without site packages: the guard starts in 30 ms whatever the server needs.
        guarded = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *self._command]
        process = await anyio.open_process(
            guarded,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        )
        self.pid = process.pid
        return process

    async def _read(self, stdout: ByteReceiveStream, inward: Inward, drained: anyio.Event) -> None:
        with anyio.CancelScope(shield=True):  # ends with the stream, which `streams` sees to
            try:
                async with inward:
                    self.failure = await self._messages(stdout, inward)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
                self.failure = "the connection to it broke"
            finally:
                self.ended.set()
            # An unread pipe would stay open in asyncio for ever, and keep a server that writes from leaving.
            async for _ in _chunks(stdout):
                pass
            drained.set()

    async def _messages(self, stdout: ByteReceiveStream, inward: Inward) -> str:
        """Hand over message after message; returns why there are no more."""
        buffer, searched = bytearray(), 0
        async for chunk in stdout:
            buffer += chunk
            while (end := buffer.find(b"\n", searched)) >= 0:
                line, searched = bytes(buffer[:end]), 0
                del buffer[: end + 1]
                try:
                    message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    return "it wrote something that is not a JSON-RPC message"
                self.lines += 1
                await inward.send(SessionMessage(message))
            searched = len(buffer)
            if searched > MAX_LINE_BYTES:
                return f"it wrote a message of more than {MAX_LINE_BYTES >> 20} MiB"
        return "its process ended"

    async def _write(self, stdin: ByteSendStream, outward: MemoryObjectReceiveStream[SessionMessage]) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
            async with outward:
                async for item in outward:
                    text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await stdin.send(text.encode() + b"\n")


async def _chunks(stream: ByteReceiveStream) -> AsyncGenerator[bytes, None]:
    """What a stream gives until it ends in whatever way."""
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
        async for chunk in stream:
            yield chunk


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


async def _keep(stderr: ByteReceiveStream, log: FileIO, drained: anyio.Event) -> None:
    """Drain the server's stderr into the log, up to a size; never anywhere else. A full disk stops nothing."""
    room = MAX_STDERR_BYTES
    with anyio.CancelScope(shield=True):
        async for chunk in _chunks(stderr):
            with suppress(OSError):
                room -= log.write(chunk[:room])
        drained.set()


async def _end(process: Process, grace_s: float) -> None:
    """Close the server's stdin and wait; then ask its guard to end it; then kill all that is left of the family."""
    assert process.stdin
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await process.stdin.aclose()
    if not await _ended(process, grace_s):
        signal_all([process.pid], signal.SIGTERM)
        if not await _ended(process, KILL_GRACE_S):
            signal_all([process.pid, *descendants(process.pid)], signal.SIGKILL)
    await process.wait()  # whatever ended it, it is reaped here and nowhere else


async def _ended(process: Process, patience_s: float) -> bool:
    with anyio.move_on_after(patience_s):
        while process.returncode is None:
            await anyio.sleep(0.01)
    return process.returncode is not None
