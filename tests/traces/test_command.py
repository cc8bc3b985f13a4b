"""`bailiwick audit trace`, the real command on a real ledger."""

import json
import socket
from pathlib import Path

from tests.cli.conftest import Command, command, ledger
from tests.traces.collector import Receiver, parsed, said, spans

__all__ = ["command", "ledger"]


def test_it_prints_writes_and_sends_the_same(command: Command, ledger: Path, receiver: Receiver) -> None:
    printed = command("audit", "trace", "r1")
    assert (printed.code, printed.err) == (0, "")
    parsed(printed.json)
    root = spans(printed.json)[0]
    assert said(root)["bailiwick.run"] == "r1aaaa"
    assert "find out about" not in printed.out
    file = ledger.with_name("traces")
    assert command("audit", "trace", "r1aaaa", "--file", str(file)).out == ""
    assert json.loads(file.read_text()) == printed.json
    sent = command("audit", "trace", "r1", "--endpoint", receiver.url)
    assert (sent.code, sent.err) == (0, f"bailiwick: the trace of r1aaaa is at {receiver.url}\n")
    [(_, _, body)] = receiver.taken
    assert json.loads(body) == printed.json
    told = command("audit", "trace", "r1", "--content")
    assert "find out about r1aaaa" in said(spans(told.json)[0])["bailiwick.task"]


def test_what_cannot_be_is_one_line(command: Command, ledger: Path, receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for arguments, code, why in (
        (["none"], 2, "none"),
        (["r1", "--endpoint", "nonsense"], 2, "no URL of http or https"),
        (["r1", "--endpoint", "http://10.0.0.1"], 2, "another machine"),
        (["r1", "--endpoint", nobody], 3, "did not answer"),
        (["r1", "--file", "none/traces"], 3, "cannot be written"),
        (["r1", "--file", "traces", "--endpoint", receiver.url], 2, "one place"),
    ):
        done = command("audit", "trace", *arguments)
        assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done
        assert why in done.err
    assert receiver.taken == []
