"""The tool host of the fleet without Ray: the real ToolHost in a process of its own, over a Unix socket.

    python -m benchmarks.chaos.host_process SOCKET COUNTER [careless] < pipe

It outlives the core that calls it, and goes on with a call whose core has died, as the actor does. It ends when its
standard input does.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.chaos.book import CLASSIFIED, SERVER, Book
from store.records.canonical import canonical, parse
from store.records.errors import BailiwickError
from tools.functions import FunctionToolset
from tools.host import ToolHost
from tools.record import OutputLabel

LINE_BYTES = 2**20
KNOWN = OutputLabel(classification="internal", integrity="trusted")
THREADS = 32


def toolset(book: Book) -> FunctionToolset:
    """The book's tools, in this process."""
    made = FunctionToolset(SERVER, threads=THREADS)
    for name, classified in CLASSIFIED.items():
        made.tool(**classified, output_label=KNOWN)(getattr(book, name))
    return made


async def answer(host: ToolHost, request: dict[str, Any]) -> dict[str, Any]:
    """What comes of one request: `records`, or a tool's `call`."""
    if request["method"] == "records":
        return {"records": [record.model_dump(mode="json") for record in host.records().values()]}
    try:
        outcome = await host.call(*request["arguments"])
    except BailiwickError as error:
        return {"error": [type(error).__name__, error.what, error.where, error.do]}
    return {"outcome": [outcome.value, outcome.error]}


async def main(path: Path, counter: Path, careless: bool) -> None:
    """Serve until standard input ends."""
    host = ToolHost()
    await host.open([], [toolset(Book(counter, careless))])

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # the core may be gone by the time there is an answer
            if (line := await reader.readline()).endswith(b"\n"):
                writer.write(canonical(await answer(host, parse(line))) + b"\n")
                await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(take, path, limit=LINE_BYTES)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    os._exit(0)  # calls under way may hang in their threads


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), "careless" in sys.argv[3:]))
