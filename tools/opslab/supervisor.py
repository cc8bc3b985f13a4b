"""The supervisor: the lab's root process, run as `python -m tools.opslab.supervisor STATE`.

It reserves ports, starts the services, restarts what crashes, keeps the journal of effects, sends a customer to the
front door now and then, and takes commands over a Unix socket in STATE, a folder of mode 0700. When its standard input
ends (its parent is gone) or it is told to, it stops everything and leaves. Standard library only.
"""

import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tools.opslab.child import Child, fetch, health
from tools.opslab.effects import Effects, status
from tools.opslab.journal import Journal, Refused
from tools.opslab.layout import FRONT_DOOR_TIMEOUT_S, HOST, SERVICES, append
from tools.opslab.world import lay_out

MAX_COMMAND_BYTES = 1 << 20
QUIET_S, TROUBLED_S = 1.0, 4.0
OCCUPIED = 4


class Supervisor:
    """One lab. Everything happens in one thread: the services are its children, and die with that thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._stopping = asyncio.Event()
        self._children: dict[str, Child] = {}
        self._journal = Journal(state / "executions.jsonl")
        self._effects = Effects(state, self._children, self._journal)

    async def run(self) -> int:
        """Serve until told to stop; the exit status is 1 if a healthy lab could not be started."""
        with ExitStack() as stack:
            ports = {name: stack.enter_context(_reserved()) for name in SERVICES}
            numbers = {name: held.getsockname()[1] for name, held in ports.items()}
            lay_out(self._state, numbers)
            self._children.update({name: Child(self._state, name, numbers[name]) for name in SERVICES})
            try:
                if not all(await asyncio.gather(*(child.start() for child in self._children.values()))):
                    return 1
                await self._serve()
            finally:
                await asyncio.gather(*(child.stop() for child in self._children.values()))
        return 0

    async def _serve(self) -> None:
        path = self._state / "supervisor.sock"
        path.unlink(missing_ok=True)
        # A socket's path holds 107 bytes at most; through the open folder's own name any state folder will do.
        folder = os.open(self._state, os.O_PATH | os.O_DIRECTORY)
        try:
            server = await asyncio.start_unix_server(
                self._answer, f"/proc/self/fd/{folder}/supervisor.sock", limit=MAX_COMMAND_BYTES
            )
        finally:
            os.close(folder)
        customers = asyncio.create_task(self._send_customers())
        print("ready", flush=True)
        try:
            await self._stopping.wait()
        finally:
            customers.cancel()
            server.close()
            path.unlink(missing_ok=True)

    async def _send_customers(self) -> None:
        """Traffic, so that the logs tell what customers meet. Less of it while they meet trouble."""
        while True:
            code, _ = await fetch(self._children["gateway"].port, "/", FRONT_DOOR_TIMEOUT_S)
            await asyncio.sleep(QUIET_S if code == 200 else TROUBLED_S)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One command, one answer, each a line of JSON."""
        try:
            command = json.loads(await reader.readline())
            reply = {"ok": True, "result": await self._obey(command)}
        except Refused as refusal:
            reply = {"ok": False, "error": str(refusal)}
        except (ValueError, KeyError, TypeError):
            reply = {"ok": False, "error": "not a command"}
        with suppress(OSError):
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _obey(self, command: dict[str, Any]) -> Any:
        match command["command"]:
            case "status":
                return {name: child.report() for name, child in self._children.items()}
            case "health":
                return await self._health(command["services"])
            case "effect":
                return await self._effects.run(command["tool"], command["arguments"], command["key"])
            case "effect_status":
                return status(self._journal, command["key"])
            case "reload":
                return await self._child(command["service"]).restart(clean=False)
            case "signal":
                return await self._child(command["service"]).wake(signal.Signals[command["signal"]])
            case "stop":
                self._stopping.set()
                return "stopping"
            case _:
                raise Refused("no such command")

    def _child(self, name: str) -> Child:
        if name not in self._children:
            raise Refused("no such service")
        return self._children[name]

    async def _health(self, services: list[str]) -> dict[str, Any]:
        """State of each service: its own word, or the supervisor's when it has no process."""
        children = [self._child(name) for name in services]
        own = await asyncio.gather(*(health(child.port, 1.0) for child in children))
        found: dict[str, Any] = {}
        for child, said in zip(children, own, strict=True):
            gone = said["status"] == "unresponsive" and child.state != "running"
            found[child.name] = {"status": child.state, "detail": f"{child.exits} exits in a row"} if gone else said
        return found

    def stop(self) -> None:
        """Begin to stop."""
        self._stopping.set()


def _reserved() -> socket.socket:
    """A loopback port that nobody else can take: bound and never listening, shared with our own service."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((HOST, 0))
    return held


async def main(state: Path) -> int:
    """Run a lab in `state` until a signal, a stop command or the end of standard input."""
    supervisor = Supervisor(state)
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(supervisor.run())
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(sig, running.cancel)
    loop.add_reader(0, lambda: os.read(0, 4096) or (loop.remove_reader(0), running.cancel()))
    try:
        return await running
    except asyncio.CancelledError:
        return 0
    except OSError as error:
        append(state / "supervisor.log", f"cannot run the lab: {error.strerror}")
        return 1


def alone(state: Path) -> bool:
    """Whether this is the only supervisor in `state`; it stays so until this process ends."""
    held = os.open(state / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    os.umask(0o077)
    folder = Path(sys.argv[1])
    sys.exit(asyncio.run(main(folder)) if alone(folder) else OCCUPIED)
