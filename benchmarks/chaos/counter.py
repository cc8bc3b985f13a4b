"""The world of the fleet: a process that carries out effects and counts them. Never killed; knows nothing of us.

    python -I -S counter.py SOCKET FILE SEED HOLD_MS < pipe

It ends when its standard input does. An effect is a line in FILE, on disk before it is answered. It takes effect, and
is answered, after a random time of up to HOLD_MS each. One request a connection, a line of JSON; the kernel hands
connections over in the order in which they were made, so a question that was asked after a request, even by another
process, is answered in the knowledge of it.

    {"do": "effect", "kind", "reference", "key", "once"}   -> {"number"}; `once`: a key that was carried out, or is
                                                              being carried out, is answered with what came of it
    {"do": "status", "key"}                                -> {"happened": true, false, or null while it is under way}
    {"do": "times", "reference"}                           -> {"times"}
    {"do": "watch"}                                        -> {} as soon as the next effect has been asked for
"""

import json
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path

BACKLOG = 256
LINE_BYTES = 65536


class Counter:
    """What has happened, and what is under way."""

    def __init__(self, file: Path, seed: int, hold_s: float) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._chance, self._hold_s = random.Random(seed), hold_s
        self._changed = threading.Condition()
        self._asked = 0
        self._under_way: dict[str, int] = {}
        self._by_key: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._count = 0

    def take(self, connection: socket.socket) -> None:
        """Read a request and begin with it. Called for one connection after the other."""
        with connection.makefile("rb") as stream:
            line = stream.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            connection.close()  # whoever asked was killed before it had said what
            return
        request = json.loads(line)
        key = str(request.get("key", ""))
        match request["do"]:
            case "effect":
                with self._changed:
                    again = request["once"] and (key in self._by_key or key in self._under_way)
                    if not again:
                        self._under_way[key] = self._under_way.get(key, 0) + 1
                    self._asked += 1
                    pauses = [self._chance.uniform(0, self._hold_s) for _ in range(2)]
                    self._changed.notify_all()
                threading.Thread(target=self._effect, args=(connection, request, again, pauses), daemon=True).start()
            case "watch":
                threading.Thread(target=self._watch, args=(connection, self._asked), daemon=True).start()
            case "status":
                with self._changed:
                    happened = None if key in self._under_way else key in self._by_key
                    _answer(connection, {"happened": happened, "result": {"number": self._by_key.get(key, 0)}})
            case "times":
                with self._changed:
                    _answer(connection, {"times": self._times.get(str(request["reference"]), 0)})

    def _effect(self, connection: socket.socket, request: dict[str, str], again: bool, pauses: list[float]) -> None:
        key = request["key"]
        if again:
            with self._changed:
                self._changed.wait_for(lambda: key in self._by_key)
                number = self._by_key[key]
        else:
            time.sleep(pauses[0])
            number = self._carry_out(request)
            time.sleep(pauses[1])
        _answer(connection, {"number": number})

    def _carry_out(self, request: dict[str, str]) -> int:
        key, reference = request["key"], request["reference"]
        with self._changed:
            self._count += 1
            line = {name: request[name] for name in ("kind", "reference", "key")} | {"number": self._count}
            os.write(self._file, json.dumps(line).encode() + b"\n")
            os.fsync(self._file)
            self._times[reference] = self._times.get(reference, 0) + 1
            self._by_key.setdefault(key, self._count)
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
            self._changed.notify_all()
            return self._count

    def _watch(self, connection: socket.socket, asked: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._asked > asked)
        _answer(connection, {})


def _answer(connection: socket.socket, answer: object) -> None:
    try:
        connection.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        pass  # whoever asked is dead
    finally:
        connection.close()


def main(path: str, file: str, seed: str, hold_ms: str) -> None:
    """Serve until standard input ends."""
    counter = Counter(Path(file), int(seed), float(hold_ms) / 1000)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(BACKLOG)

    def serve() -> None:
        while True:
            counter.take(listener.accept()[0])

    threading.Thread(target=serve, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
