"""The peer as a program: a `llama-server` that somebody built, for instance for a GPU, started and asked over HTTP.

It listens on a Unix socket in a folder of its own: no port is taken, and nothing but this process reaches it.
"""

import http.client
import json
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.engine.answer import Answer
from benchmarks.engine.driver import OnText
from benchmarks.engine.peer import Setting, answered, chat, checked
from benchmarks.engine.workload import Job

START_S = 600.0
"""Seconds that it may take to load the model."""
ANSWER_S = 3600.0
END_S = 30.0


class Program:
    """llama.cpp's server at `setting.program`. `context` is the KV memory of all its slots together, in tokens."""

    def __init__(self, file: str, setting: Setting, slots: int, context: int, threads: int) -> None:
        """Loads the GGUF at `file`. Raises OSError if the program does not start, RuntimeError if it cannot load."""
        self._setting = setting
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            self._socket = str(Path(folder) / "server.sock")
            # Its log goes where this process's own errors go.
            self._process = subprocess.Popen(
                [setting.program, *arguments(file, setting, slots, context, threads), "--host", self._socket],
                stdin=subprocess.DEVNULL,
            )
            stack.callback(self._end)
            self._await()
            self._resources = stack.pop_all()

    def answer(self, job: Job, on_text: OnText | None = None) -> Answer:
        """Answers one job; see Contender. It does not stream: `on_text` must be None."""
        if on_text is not None:
            raise NotImplementedError("a program that was given is not asked for streams")
        body = chat(job, self._setting)
        started = time.perf_counter()
        try:
            reply = checked(self._ask("POST", "/v1/chat/completions", body)[1])
        except (RuntimeError, OSError, http.client.HTTPException) as error:
            return Answer(error=str(error)[:300] or type(error).__name__)
        text = reply["choices"][0]["message"]["content"] or ""
        return answered(reply["timings"], text, (time.perf_counter() - started) * 1000)

    def work(self) -> tuple[int, float]:
        """It tells no steps, and has no Python between them."""
        return 0, 0.0

    def prompt(self, job: Job) -> list[int]:
        """Nobody has asked for them yet: its answers tell how many there are."""
        raise NotImplementedError("a program that was given tells no tokens of prompts")

    def close(self) -> None:
        """Ends the program and waits for it."""
        self._resources.close()

    def _await(self) -> None:
        """Waits until it has loaded the model."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._setting.program} ended with code {self._process.returncode}")
            try:
                if self._ask("GET", "/health")[0] == http.HTTPStatus.OK:
                    return
            except OSError:
                pass  # It does not listen yet.
            time.sleep(0.1)
        raise RuntimeError(f"{self._setting.program} has not loaded the model in {START_S:.0f} s")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """One request: its status and its JSON."""
        connection = _Connection(self._socket)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def arguments(file: str, setting: Setting, slots: int, context: int, threads: int) -> list[str]:
    """The command line that says what a Peer's parameters say; what goes to a GPU is left to the server: all that fits.

    The socket is not among them.
    """
    numbers = {
        "--ctx-size": context,
        "--parallel": slots,
        "--threads": threads,
        "--threads-batch": threads,
        "--batch-size": setting.batch,
        "--ubatch-size": setting.micro_batch,
        "--cache-ram": setting.ram_cache,
        "--cache-reuse": setting.reuse,
    }
    flags = ["--model", file, "--no-ui", "--kv-unified" if setting.unified else "--no-kv-unified"]
    return flags + [word for name, number in numbers.items() for word in (name, str(number))]
