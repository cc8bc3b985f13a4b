"""The server against callers that do not keep to the rules, over raw sockets."""

import asyncio
import json
import socket

import pytest

from runtime.gateway.client import Client
from runtime.gateway.session import Limits
from store.records.errors import BailiwickError, SettingsError, Unreachable


class Raw:
    """A caller who writes what it likes."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def say(self, *lines):
        self.writer.write(
            b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        )
        await self.writer.drain()

    async def hear(self):
        return json.loads(await self.reader.readline())


@pytest.fixture
async def raw(path):
    """Connect without a client; the greeting is read."""
    opened = []

    async def connect():
        caller = Raw(*await asyncio.open_unix_connection(path))
        opened.append(caller)
        assert (await caller.hear())["result"]["protocol"] == 1
        return caller

    yield connect
    for caller in opened:
        caller.writer.close()


def status(request):
    return {"id": request, "verb": "status", "args": {}}


BROKEN = {
    "no JSON": (b"hello\n", 0, "not a request"),
    "half a JSON": (b'{"id": 1, "verb"\n', 0, "not a request"),
    "no object": (b"[1, 2]\n", 0, "not a request"),
    "no UTF-8": (b'{"id": 1, "verb": "\xff"}\n', 0, "not a request"),
    "an empty line": (b"\n", 0, "not a request"),
    "deep nesting": (b"[" * 100_000 + b"\n", 0, "not a request"),
    "no verb": (b'{"id": 7}\n', 7, "verb: field required"),
    "an extra field": (b'{"id": 7, "verb": "status", "as": "root"}\n', 7, "as: extra inputs"),
    "an id that is text": (b'{"id": "7", "verb": "status"}\n', 0, "id: input should be a valid integer"),
    "the connection's id": (b'{"id": 0, "verb": "status"}\n', 0, "id: input should be greater"),
    "an unknown verb": (b'{"id": 7, "verb": "shell"}\n', 7, "there is no such verb"),
    "a private method": (b'{"id": 7, "verb": "__init__"}\n', 7, "there is no such verb"),
    "an unknown argument": (b'{"id": 7, "verb": "run", "args": {"run": "r1", "x": 1}}\n', 7, "x: extra inputs"),
    "a missing argument": (b'{"id": 7, "verb": "run"}\n', 7, "run: field required"),
    "a wrong type": (
        b'{"id": 7, "verb": "runs", "args": {"limit": "9"}}\n',
        7,
        "limit: input should be a valid integer",
    ),
    "a yes that is text": (
        b'{"id": 7, "verb": "answer", "args": {"answer": {"approval": "a", "yes": "yes"}}}\n',
        7,
        "answer.yes: input should be a valid boolean",
    ),
    "a task too long": (
        json.dumps({"id": 7, "verb": "submit", "args": {"submission": {"task": "t" * 20_001}}}).encode() + b"\n",
        7,
        "submission.task: string should have at most 20000",
    ),
    "a line too long": (b"x" * (2 << 20) + b"\n", 0, "longer than 1024 KiB"),
}


@pytest.mark.parametrize(("line", "request_id", "what"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_request_is_answered_once_and_the_connection_lives(serve, raw, desk, line, request_id, what):
    await serve()
    caller = await raw()
    await caller.say(line, status(8))
    answer = await caller.hear()
    assert answer["id"] == request_id
    assert answer["error"]["kind"] == "SettingsError"
    assert what in answer["error"]["what"]
    assert (await caller.hear())["id"] == 8
    assert desk.answers == desk.submissions == []


async def test_what_was_sent_is_not_repeated_in_the_error(serve, raw):
    await serve()
    caller = await raw()
    await caller.say({"id": 7, "verb": "runs", "args": {"limit": "my secret"}}, b'{"id": 1, "verb": my secret}\n')
    assert "secret" not in str(await caller.hear()) + str(await caller.hear())


async def test_an_id_may_be_used_again_only_when_it_is_answered(serve, desk, raw):
    await serve()
    caller = await raw()
    verify = {"id": 1, "verb": "verify"}
    await caller.say(verify, verify)
    assert (await caller.hear())["error"]["what"] == "a request with this id is still being answered"
    desk.gate.set()
    assert (await caller.hear())["result"]["ok"]
    await caller.say(verify)
    assert (await caller.hear())["result"]["ok"]


async def test_more_requests_at_once_than_allowed_are_refused(serve, desk, raw):
    await serve(limits=Limits(requests=2))
    caller = await raw()
    await caller.say(*({"id": number, "verb": "verify"} for number in (1, 2, 3)))
    answer = await caller.hear()
    assert (answer["id"], answer["error"]["what"]) == (3, "too many requests at once")
    desk.gate.set()
    assert {(await caller.hear())["id"] for _ in range(2)} == {1, 2}


async def test_more_connections_than_allowed_are_refused_until_one_leaves(serve, path, until):
    gateway = await serve(limits=Limits(connections=1))
    first = await Client.connect(path)
    with pytest.raises(Unreachable, match="no free connection"):
        await Client.connect(path)
    assert (await first.status()).epoch == 1
    await first.close()
    await until(lambda: not gateway._sessions)
    async with await Client.connect(path) as second:
        assert (await second.status()).epoch == 1


async def test_a_caller_who_does_not_read_is_cut_off_and_stalls_nobody(serve, desk, path, raw, until):
    await serve(limits=Limits(stall_s=0.2))
    await desk.append(2_000, payload="x" * 2_000)
    caller = await raw()
    await caller.say({"id": 1, "verb": "follow"})
    await until(lambda: desk.following == 1)
    async with await Client.connect(path) as client:
        assert (await client.status()).events == 2_000
    await until(lambda: desk.following == 0)


async def test_a_stream_ends_when_its_caller_vanishes(serve, desk, raw, until):
    await serve()
    caller = await raw()
    await caller.say({"id": 1, "verb": "follow"})
    await until(lambda: desk.following == 1)
    caller.writer.transport.abort()
    await until(lambda: desk.following == 0)


async def test_what_was_asked_before_the_caller_stopped_writing_is_still_answered(serve, desk, raw):
    await serve()
    caller = await raw()
    await caller.say({"id": 1, "verb": "verify"})
    caller.writer.write_eof()
    desk.gate.set()
    assert (await caller.hear())["result"]["ok"]
    assert await caller.reader.read() == b""


async def test_a_request_without_its_newline_is_not_carried_out(serve, desk, raw):
    await serve()
    caller = await raw()
    await caller.say(b'{"id": 1, "verb": "submit", "args": {"submission": {"task": "half"}}}')
    caller.writer.write_eof()
    assert await caller.reader.read() == b""
    assert desk.submissions == []


async def test_a_defect_inside_tells_the_caller_nothing_of_it(serve, path, caplog):
    await serve()
    async with await Client.connect(path) as client:
        with pytest.raises(BailiwickError, match="failed inside while answering sql") as caught:
            await client.sql("broken")
        assert "secret" not in str(caught.value) + caplog.text
        assert "RuntimeError" in caplog.text
        assert (await client.status()).epoch == 1


async def test_a_defect_inside_is_shown_under_debug(serve, path):
    await serve(debug=True)
    async with await Client.connect(path) as client:
        with pytest.raises(BailiwickError, match="RuntimeError: the prompt was: a secret"):
            await client.sql("broken")


async def test_an_answer_too_long_for_a_line_says_what_to_do(serve, desk, path):
    await serve(limits=Limits(answer_bytes=4096))
    await desk.append(20, payload="x" * 1_000)
    async with await Client.connect(path) as client:
        with pytest.raises(SettingsError, match="ask for fewer rows"):
            await client.events()
        assert len(await client.events(limit=2)) == 2


async def test_an_answer_that_is_no_json_is_an_error_and_not_a_hang(serve, desk, path):
    await serve()
    await desk.append(payload=object())
    async with await Client.connect(path) as client:
        with pytest.raises(BailiwickError, match="cannot be written as JSON"):
            await client.events()


async def test_closing_does_not_wait_for_a_caller_who_does_not_read(serve, desk, raw, until):
    gateway = await serve()
    await desk.append(2_000, payload="x" * 2_000)
    caller = await raw()
    await caller.say({"id": 1, "verb": "follow"})
    await until(lambda: desk.following == 1)
    await gateway.close()
    assert desk.following == 0


async def test_closing_twice_and_closing_at_once_after_a_connect_leave_nothing_open(serve, path):
    gateway = await serve()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        await gateway.close()
        await gateway.close()
    assert not path.exists()
    assert not gateway._sessions
