"""Whatever shows content of the log or asks it is in the log, with a runtime and without."""

import json
import threading
from pathlib import Path
from typing import Any

from runtime.cli.backend import queries
from runtime.identity import current_user
from runtime.settings import Settings
from store.ledger.ledger import Ledger
from store.records.kinds import Kind

ME = current_user().name
QUERY = "SELECT kind FROM events WHERE seq <= 2"
LOOKS = [
    ("runs", "list"),
    ("audit", "tail"),
    ("audit", "checkpoint"),
    ("audit", "prove", "1"),
    ("audit", "verify"),
    ("storage",),
]
READS: list[tuple[tuple[str, ...], str, Any, int | None]] = [
    (("audit", "sql", QUERY), "sql", {"query": QUERY}, 2),
    (("audit", "sql", "SELECT kind::INT FROM events"), "sql", {"query": "SELECT kind::INT FROM events"}, 0),
    (("audit", "tail", "-n", "2", "--payloads"), "events", {"after": 6, "run": "", "limit": 2}, 2),
    (("audit", "tail", "--after", "5", "--run", "r1", "--payloads"), "events", {"after": 5, "run": "r1aaaa"}, 1),
    (("audit", "report", "r1"), "events", {"after": 0, "run": "r1aaaa", "limit": 500}, 4),
    (("audit", "trace", "r2"), "events", {"after": 0, "run": "r2bbbb", "limit": 500}, 2),
    (("runs", "show", "r1", "--payloads"), "events", {"after": 0, "run": "r1aaaa", "limit": 500}, 4),
    (("runs", "export", "r1", "r1.jsonl"), "events", {"after": 0, "run": "r1aaaa", "limit": 500}, 4),
    (("audit", "export", "out"), "export", None, None),
    (("runs", "show", "r1"), "run", {"run": "r1aaaa"}, 1),
]
WHOLE = [("audit", "report"), ("audit", "trace"), ("runs", "show"), ("runs", "export")]
"""What shows a run and its payloads: the run is a read before them."""


def noted() -> list[tuple[str, Any, int | None]]:
    """What the log has of READS, in order."""
    found = []
    for arguments, verb, asked, rows in READS:
        if verb == "events" and arguments[:2] in WHOLE:
            found.append(("run", {"run": asked["run"]}, 1))
        found.append((verb, asked, rows))
    return found


def check(command: Any) -> None:
    """All looks and reads, and what the log then has of them."""
    for arguments in LOOKS:
        assert command(*arguments).code == 0
    for arguments, *_ in READS:
        done = command(*arguments)
        assert (done.code == 2) == ("INT" in arguments[-1]), done.err
        assert "not in the log" not in done.err
    views = [
        json.loads(line) for line in command("audit", "tail", "--after", "6", "--payloads", "--json").out.splitlines()
    ]
    assert [view["event"]["kind"] for view in views] == [Kind.AUDIT_READ] * len(noted())
    for view, (verb, asked, rows) in zip(views, noted(), strict=True):
        event, said = view["event"], view["payload"]
        assert (event["principal"], event["actor"], event["run"], event["decision"]) == (ME, "gateway", "", verb)
        assert "SELECT" not in str(event)
        assert said["rows"] == rows
        assert said["asked"] is None if asked is None else asked.items() <= said["asked"].items()
    assert command("audit", "verify").code == 0


def test_without_a_runtime(command: Any, ledger: Path) -> None:
    check(command)


def test_with_a_runtime(command: Any, ledger: Path, runtime: None) -> None:
    check(command)


def test_readers_at_the_same_time_wait_for_each_other(command: Any, ledger: Path) -> None:
    done: list[Any] = []
    threads = [threading.Thread(target=lambda: done.append(command("audit", "sql", QUERY))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(each.code, each.err) for each in done] == [(0, "")] * 4
    with Ledger.open(ledger) as opened:
        assert len(opened.events(kinds=[Kind.AUDIT_READ])) == 4


def test_a_ledger_that_takes_no_event_is_read_and_that_is_said(command: Any, ledger: Path) -> None:
    [site_key] = (ledger / "keys").glob("site-*.key")
    site_key.unlink()
    done = command("audit", "sql", QUERY, "--json")
    assert (done.code, len(done.json["rows"])) == (0, 2)
    assert done.err.startswith("bailiwick: this read is not in the log: ")
    assert len(done.err.splitlines()) == 1


async def test_without_a_runtime_a_read_is_in_the_log_before_it_is_answered(ledger: Path) -> None:
    settings = Settings.load(data_dir=ledger)
    async with queries(settings) as q:
        for number in (1, 2):
            assert (await q.run("r1", True)).outcome == "all is well"
            kinds = [view.event["kind"] for view in await q.events(6)]
            assert kinds == [Kind.AUDIT_READ] * number
