"""What a service of the lab is made of: a store under a quota, a session cache, a lock file, a log.

Real parts with real bugs, each dormant until a fault wakes it. Standard library only: a service starts in 0.2 s.
"""

import errno
import json
import os
import threading
import time
import zlib
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from tools.opslab.layout import append

KEEP_BYTES = 64 * 1024
MAX_LOG_BYTES = 1 << 20
LEAK_STEP = 12_000
LEAK_UNTIL_S = 1.9
MAX_ENTRIES = 600_000
NORMAL_ENTRIES = 64


class Log:
    """A service's log: time, level, service, text."""

    def __init__(self, path: Path, service: str) -> None:
        self._path, self._service = path, service

    def write(self, level: str, text: str) -> None:
        """Add an entry; a log that has grown too large is started anew."""
        stamp = datetime.now(UTC).strftime("%H:%M:%S")
        if self._path.exists() and self._path.stat().st_size > MAX_LOG_BYTES:
            self._path.replace(self._path.with_name("log.1"))
        append(self._path, f"{stamp} {level} {self._service}: {text}")


class Store:
    """Records in the data folder. Every file in the folder counts towards the quota, in bytes."""

    def __init__(self, folder: Path, quota: int) -> None:
        self._folder, self.quota = folder, quota
        self._index = threading.Lock()
        self._disk = threading.Lock()
        self.waiting_since = 0.0

    def used(self) -> int:
        """The bytes in the data folder. Reading them takes the index, as every look at the store does."""
        with self._index:
            return self._used()

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self._folder.iterdir() if path.is_file())

    def append(self, record: dict[str, object]) -> None:
        """Keep a record. Raises OSError (EDQUOT) if it does not fit under the quota."""
        line = json.dumps(record)
        with self._index:
            self.waiting_since = time.monotonic()
            with self._disk:
                self.waiting_since = 0.0
                used = self._used()
                if used + len(line) + 1 > self.quota:
                    raise OSError(errno.EDQUOT, f"{used} of {self.quota} bytes used")
                append(self._folder / "records.jsonl", line)
                self._trim()

    def _trim(self) -> None:
        path = self._folder / "records.jsonl"
        if path.stat().st_size > KEEP_BYTES:
            kept = path.read_bytes()[-KEEP_BYTES // 2 :]
            path.write_bytes(kept[kept.find(b"\n") + 1 :])

    def compact(self) -> None:
        """Compact the records. The bug: it takes the two locks in the other order than `append` does.

        It holds the disk until a request holds the index and waits for the disk; from then on neither ever goes on.
        """
        with self._disk:
            while not self.waiting_since:
                time.sleep(0.005)
            with self._index:
                self._trim()


class Sessions:
    """Compressed sessions in memory. The bug: once eviction is off they only grow, and every request sweeps them."""

    def __init__(self) -> None:
        self._entries: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._next = 0
        self.leaking = False

    def __len__(self) -> int:
        return len(self._entries)

    def _add(self, count: int) -> None:
        basket = [{"item": f"item-{number % 20}", "count": number % 3 + 1} for number in range(24)]
        raw = zlib.compress(json.dumps({"expires": time.time() + 30, "basket": basket}).encode(), 1)
        for number in range(self._next, self._next + count):
            self._entries[number] = bytes(bytearray(raw))  # a copy: each session takes memory of its own
        self._next += count

    def sweep(self) -> None:
        """Look at every session, as each request does; drop what has expired, unless eviction is off."""
        with self._lock:
            self._add(1)
            now = time.time()
            entries = list(self._entries.items())
            expired = [key for key, raw in entries if json.loads(zlib.decompress(raw))["expires"] < now]
            if not self.leaking:
                surplus = [key for key, _ in entries[: max(0, len(entries) - NORMAL_ENTRIES)]]
                for key in {*expired, *surplus}:
                    del self._entries[key]

    def leak(self) -> None:
        """Let sessions pile up until one sweep costs more processor time than any caller waits for."""
        self.leaking = True
        while len(self._entries) < MAX_ENTRIES and self._sweep_cost() < LEAK_UNTIL_S:
            with self._lock:
                self._add(LEAK_STEP)
            time.sleep(0.02)

    def _sweep_cost(self) -> float:
        """Seconds of processor time for a whole sweep, from a sample: time on the clock would count other work.

        The least of three: what disturbs a measurement only ever adds to it.
        """
        with self._lock:
            sample = list(islice(self._entries.values(), 500))
        least = float("inf")
        for _ in range(3):
            begun = time.thread_time()
            for raw in sample:
                json.loads(zlib.decompress(raw))
            least = min(least, time.thread_time() - begun)
        return least / max(1, len(sample)) * len(self._entries)


def take_lock(path: Path, log: Log) -> bool:
    """Write our process id into the lock file; False if it holds something that cannot be understood.

    The bug: a lock left by a killed process is taken over, a corrupt one is not, and nothing cleans it away.
    """
    if path.exists():
        try:
            holder = int(json.loads(path.read_bytes())["pid"])
        except (ValueError, KeyError, TypeError):
            log.write("FATAL", "lock file run/lock.json is corrupt after an unclean exit; refusing to start")
            return False
        log.write("WARN", f"took over the lock of process {holder}, which is gone")
    path.write_text(json.dumps({"pid": os.getpid()}))
    return True
