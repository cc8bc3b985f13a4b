"""One service as the supervisor sees it: started, started again with a growing wait, given up on, restarted on request.

Standard library only. A child dies with its supervisor: the kernel sees to that (see tools/process.py).
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path

from tools.opslab.layout import HOST, Place, place
from tools.opslab.parts import Log

FIRST_WAIT_S = 0.1
GIVE_UP_AFTER = 4
STEADY_S = 3.0
STOP_GRACE_S = 0.5
READY_S = 8.0


class Child:
    """A supervised process. `state` is starting, running, crash-looping or stopped."""

    def __init__(self, state: Path, name: str, port: int) -> None:
        self._folder, self.name, self.port = state, name, port
        self.home: Place = place(state, name)
        self._log = Log(self.home.log, name)
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.state = "stopped"
        self.exits = 0
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The process id, 0 while there is no process."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def start(self) -> bool:
        """Start it and wait until it answers; False if it does not within READY_S seconds, or keeps crashing."""
        self.state, self.exits = "starting", 0
        self._task = asyncio.create_task(self._keep_alive(), name=f"child {self.name}")
        for _ in range(int(READY_S / 0.03)):
            if self.state == "crash-looping":
                return False
            if self.pid and await self.answers(1.0):
                return True
            await asyncio.sleep(0.03)
        return False

    async def stop(self) -> None:
        """Ask it to end, then make it: a hung process hears nothing."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._process and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_GRACE_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        self.state = "stopped"

    async def restart(self, clean: bool) -> bool:
        """Stop and start it. With `clean` its run folder is emptied in between, as an operator's restart does."""
        await self.stop()
        if clean:
            self.home.lock.unlink(missing_ok=True)
        self.restarts += 1
        self._log.write("INFO", f"supervisor: {'restart' if clean else 'reload'} on request")
        return await self.start()

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self._process = await self._spawn()
            self.state = "running"
            code = await self._process.wait()
            self.exits = 1 if loop.time() - began > STEADY_S else self.exits + 1
            if self.exits >= GIVE_UP_AFTER:
                self.state = "crash-looping"
                self._log.write(
                    "ERROR", f"supervisor: crash loop, {self.exits} exits in a row, last code {code}; gave up"
                )
                return
            self.state = "starting"
            wait_s = FIRST_WAIT_S * 2 ** (self.exits - 1)
            self._log.write("ERROR", f"supervisor: process exited with code {code}; restart in {wait_s:.1f} s")
            await asyncio.sleep(wait_s)

    async def _spawn(self) -> Process:
        # Isolated mode: neither the current folder nor PYTHON* variables decide which code runs.
        module = ("-I", "-m", "tools.opslab.service", str(self._folder), self.name, str(os.getpid()))
        return await asyncio.create_subprocess_exec(
            sys.executable, *module, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, cwd="/", env={"LANG": "C.UTF-8"}
        )

    async def answers(self, patience_s: float) -> bool:
        """Whether its /health answers in time."""
        return (await fetch(self.port, "/health", patience_s))[0] == 200

    async def wake(self, sig: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.pid:
            os.kill(self.pid, sig)

    def report(self) -> dict[str, object]:
        """What the supervisor knows."""
        return {"state": self.state, "pid": self.pid, "exits": self.exits, "restarts": self.restarts}


async def fetch(port: int, path: str, patience_s: float) -> tuple[int, bytes]:
    """GET a path of a service: status and body; status 0 if it refuses, or does not answer in time."""
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), body
    except (IndexError, ValueError):
        return 0, b""


async def health(port: int, patience_s: float) -> dict[str, str]:
    """What a service says of itself: `status` (ok, slow, failing, unresponsive) and `detail`."""
    status, body = await fetch(port, "/health", patience_s)
    if status == 200:
        with suppress(ValueError):
            found: dict[str, str] = json.loads(body)
            return found
    return {"status": "unresponsive", "detail": f"no answer within {patience_s:g} s"}
