"""The peers: DBOS and LangGraph over SQLite, as a user of theirs would set them up, and SQLite with nothing around it.

They come from PyPI and are no dependency of the product. Each is imported by its own function, in a process of its own.
"""

import asyncio
import importlib
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

from benchmarks.durability.workload import WARM_UP, text

Figures = dict[str, float]
PACKAGES = ("dbos", "langgraph", "langgraph-checkpoint-sqlite", "aiosqlite")
INSTALL = f"{{}} is not there: pip install --target FOLDER {' '.join(PACKAGES)}, and put FOLDER on PYTHONPATH"


def missing() -> str:
    """One line that says which package is not there and what to do; empty if all are."""
    for package in PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            return INSTALL.format(package)
    return ""


def raw(folder: Path, steps: int) -> Figures:
    """A row a step in SQLite with a write-ahead log, each commit on disk before the next: the least a step can be."""
    file = folder / "raw.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE steps (run TEXT, step INTEGER, result TEXT, PRIMARY KEY (run, step))")

        def run(first: int, count: int) -> None:
            for number in range(first, first + count):
                row = ("run", number, text(number))
                connection.execute("INSERT INTO steps VALUES (?, ?, ?)", row)

        return _timed(file, steps, run)


def dbos(folder: Path, steps: int) -> Figures:
    """A workflow of DBOS, each step a function of its own, with SQLite as its system database."""
    DBOS: Any = importlib.import_module("dbos").DBOS
    file = folder / "dbos.sqlite"
    DBOS(config={"name": "peer", "system_database_url": f"sqlite:///{file}", "log_level": "ERROR"})

    step = DBOS.step()(text)

    def chain(first: int, count: int) -> int:
        for number in range(first, first + count):
            step(number)
        return count

    durable = DBOS.workflow()(chain)
    DBOS.launch()
    try:
        return _timed(file, steps, durable)
    finally:
        DBOS.destroy()


def langgraph_sync(folder: Path, steps: int) -> Figures:
    """LangGraph with SqliteSaver, each step on disk before the next."""
    return _langgraph(folder, steps, "sync", keep=False)


def langgraph_async(folder: Path, steps: int) -> Figures:
    """LangGraph with SqliteSaver, a step written while the next is taken."""
    return _langgraph(folder, steps, "async", keep=False)


def langgraph_kept(folder: Path, steps: int) -> Figures:
    """As `langgraph_sync`, with all results in the state, as the other contenders have them after a crash."""
    return _langgraph(folder, steps, "sync", keep=True)


def langgraph_aio(folder: Path, steps: int) -> Figures:
    """LangGraph with AsyncSqliteSaver, a step written while the next is taken."""
    return asyncio.run(_langgraph_aio(folder, steps))


def _langgraph(folder: Path, steps: int, durability: str, *, keep: bool) -> Figures:
    SqliteSaver = importlib.import_module("langgraph.checkpoint.sqlite").SqliteSaver

    file = folder / "langgraph.sqlite"
    with SqliteSaver.from_conn_string(str(file)) as saver:
        graph = _graph(keep).compile(checkpointer=saver)

        def run(first: int, count: int) -> None:
            graph.invoke(*_given(first, count, keep), durability=durability)

        return _timed(file, steps, run)


async def _langgraph_aio(folder: Path, steps: int) -> Figures:
    AsyncSqliteSaver = importlib.import_module("langgraph.checkpoint.sqlite.aio").AsyncSqliteSaver

    file = folder / "langgraph.sqlite"
    async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
        graph = _graph(keep=False).compile(checkpointer=saver)
        await graph.ainvoke(*_given(0, WARM_UP, False), durability="async")
        before, started = _stored(file), time.perf_counter()
        await graph.ainvoke(*_given(WARM_UP, steps, False), durability="async")
        took = time.perf_counter() - started
        return {"steps_per_s": steps / took, "bytes_per_step": (_stored(file) - before) / steps}


def _graph(keep: bool) -> Any:
    """A graph whose one node is a step and follows itself. Its state has the last result, or all of them."""
    langgraph = importlib.import_module("langgraph.graph")

    class Last(TypedDict):
        number: int
        end: int
        result: str

    class Kept(TypedDict):
        number: int
        end: int
        result: Annotated[list[str], add]

    def step(state: Any) -> Any:
        result = text(state["number"])
        return {"number": state["number"] + 1, "result": [result] if keep else result}

    graph: Any = langgraph.StateGraph(Kept if keep else Last)
    graph.add_node("step", step)
    graph.add_edge(langgraph.START, "step")
    graph.add_conditional_edges("step", lambda state: langgraph.END if state["number"] == state["end"] else "step")
    return graph


def _given(first: int, count: int, keep: bool) -> tuple[Any, Any]:
    """What a graph is invoked with."""
    state = {"number": first, "end": first + count, "result": [] if keep else ""}
    return state, {"configurable": {"thread_id": str(first)}, "recursion_limit": count + 2}


def _timed(file: Path, steps: int, run: Callable[[int, int], Any]) -> Figures:
    """One run, after a shorter one that is not counted."""
    run(0, WARM_UP)
    before, started = _stored(file), time.perf_counter()
    run(WARM_UP, steps)
    took = time.perf_counter() - started
    return {"steps_per_s": steps / took, "bytes_per_step": (_stored(file) - before) / steps}


def _stored(file: Path) -> int:
    """Bytes of a database and its log, once what is in the log has moved to its place."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(path.stat().st_size for path in file.parent.iterdir() if path.name.startswith(file.name))
