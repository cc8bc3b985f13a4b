"""The client against a real gateway: every verb, streams, errors, and what happens when the runtime goes away."""

import asyncio
import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from runtime.gateway import wire
from runtime.gateway.backend import Verbs
from runtime.gateway.client import Client
from runtime.gateway.messages import Answer, Submission
from runtime.gateway.verbs import VERBS
from store.records.errors import ERRORS, BailiwickError, Denied, SettingsError, Unreachable


async def test_every_verb_of_the_interface_is_in_the_table_and_in_the_client():
    declared = {name for name in dir(Verbs) if not name.startswith("_")}
    assert set(VERBS) == declared
    assert declared <= set(dir(Client))


async def test_each_verb_brings_back_its_own_type(serve, desk, path):
    await serve()
    await desk.append(3, payload={"text": "ü\n"})
    async with await Client.connect(path) as client:
        verbs: Verbs = client
        assert [run.run for run in await verbs.runs(limit=5)] == ["r1"]
        assert (await verbs.run("r1")).workflow == "triage"
        assert [view.event["seq"] for view in await verbs.events(1, limit=1)] == [2]
        assert (await verbs.events())[0].payload == {"text": "ü\n"}
        assert (await verbs.sql("select 1")).rows == ((1, "x"), (None, 2.5))
        assert await verbs.submit(Submission(task="fix it", attachments=("a\nb",))) == "r1"
        assert desk.submissions == [Submission(task="fix it", attachments=("a\nb",))]
        assert await verbs.resume() == ["r1"]
        assert await verbs.approvals() == []
        await verbs.answer(Answer(approval="a1", yes=False, meaning="not today"))
        assert desk.answers == [Answer(approval="a1", yes=False, meaning="not today")]
        assert (await verbs.status()).events == 3
        assert client.greeting.pid == os.getpid()
        assert client.greeting.user == f"u{os.getuid()}"
        assert desk.user.uid == os.getuid()


async def test_answers_may_overtake_each_other(serve, desk, path):
    await serve()
    async with await Client.connect(path) as client:
        slow = asyncio.create_task(client.verify())
        for _ in range(100):
            assert (await client.status()).epoch == 1
        assert not slow.done()
        desk.gate.set()
        assert (await slow).ok


async def test_more_requests_than_a_connection_may_have_wait_their_turn(serve, desk, path):
    await serve()
    async with await Client.connect(path) as client:
        many = asyncio.gather(*(client.verify() for _ in range(200)))
        await asyncio.sleep(0)
        desk.gate.set()
        assert all(view.ok for view in await many)
    assert desk.verified == 200


async def test_follow_gives_what_was_and_what_comes(serve, desk, path):
    await serve()
    await desk.append(3)
    async with await Client.connect(path) as client, aclosing(client.follow(after=1)) as stream:
        assert [(await anext(stream)).event["seq"] for _ in range(2)] == [2, 3]
        await desk.append(2)
        assert [(await anext(stream)).event["seq"] for _ in range(2)] == [4, 5]


async def test_follow_ends_when_its_run_has_ended(serve, desk, path):
    await serve()
    await desk.append(2)
    async with await Client.connect(path) as client:
        assert len([view async for view in client.follow(run="ended")]) == 2


async def test_leaving_a_stream_cancels_it_at_the_server(serve, desk, path, until):
    await serve()
    await desk.append()
    async with await Client.connect(path) as client:
        async with aclosing(client.follow()) as stream:
            await anext(stream)
            assert desk.following == 1
        await until(lambda: desk.following == 0)
        assert (await client.status()).events == 1


async def test_a_reader_who_takes_its_time_holds_back_only_itself(serve, desk, path):
    await serve()
    await desk.append(2_000, payload="x" * 2_000)
    async with await Client.connect(path) as client, aclosing(client.follow()) as stream:
        await anext(stream)
        assert (await client.status()).events == 2_000
        assert [view.event["seq"] async for view in until_seq(stream, 2_000)][-1] == 2_000


async def until_seq(stream, last):
    """The items of a stream up to a sequence number."""
    async for view in stream:
        yield view
        if view.event["seq"] == last:
            return


@pytest.mark.parametrize("kind", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_comes_back_as_itself(kind):
    back = wire.error(wire.failure(kind("what", "where", "do")).model_dump())
    assert type(back) is kind
    assert (back.what, back.where, back.do) == ("what", "where", "do")


def test_the_table_of_errors_has_every_class_a_person_can_meet():
    assert {"BailiwickError", "Denied", "InDoubt", "ReplayMismatch"} <= set(ERRORS)


def test_an_unknown_error_comes_back_as_the_nearest_known_one():
    class Special(Denied):
        pass

    assert wire.failure(Special("no")).kind == "Denied"
    assert type(wire.error({"kind": "os.system", "what": "no"})) is BailiwickError


async def test_errors_of_the_core_are_raised_as_they_were(serve, desk, path):
    await serve()
    async with await Client.connect(path) as client:
        with pytest.raises(SettingsError, match=r"there is no such run \(r9\); see `bailiwick runs list`"):
            await client.run("r9")
        with pytest.raises(Denied, match="only an approver may answer"):
            await client.answer(Answer(approval="foreign", yes=True))


async def test_nobody_listening_is_one_plain_line(tmp_path):
    with pytest.raises(Unreachable, match=r"no runtime is listening .*; start it with `bailiwick up`"):
        await Client.connect(tmp_path / "gateway.sock")


async def test_when_the_runtime_goes_every_waiting_call_ends(serve, desk, path):
    gateway = await serve()
    await desk.append()
    client = await Client.connect(path)
    stream = client.follow()
    await anext(stream)
    waiting = asyncio.create_task(client.verify())
    await client.status()
    await gateway.close()
    with pytest.raises(Unreachable, match="closed the connection"):
        await waiting
    with pytest.raises(Unreachable, match="closed the connection"):
        await anext(stream)
    with pytest.raises(Unreachable, match="closed the connection"):
        await client.status()
    await client.close()
    await client.close()
    with pytest.raises(Unreachable):
        await client.runs()


async def test_following_goes_on_after_a_restart_from_the_last_number_seen(serve, desk, path):
    gateway = await serve()
    await desk.append(2)
    async with await Client.connect(path) as client, aclosing(client.follow()) as stream:
        seen = [(await anext(stream)).event["seq"] for _ in range(2)]
        await gateway.close()
        with pytest.raises(Unreachable):
            await anext(stream)
    await desk.append(2)
    await serve()
    async with await Client.connect(path) as client, aclosing(client.follow(after=seen[-1])) as stream:
        seen += [(await anext(stream)).event["seq"] for _ in range(2)]
    assert seen == [1, 2, 3, 4]


async def test_stop_is_answered_although_it_ends_the_gateway(serve, desk, path):
    gateway = await serve()
    desk.on_stop = gateway.close
    client, other = await Client.connect(path), await Client.connect(path)
    await client.stop()
    assert not path.exists()
    with pytest.raises(Unreachable):
        await other.status()
    await client.close()
    await other.close()


async def test_a_request_too_long_to_send_is_refused_here_and_the_connection_lives(serve, path):
    await serve()
    async with await Client.connect(path) as client:
        with pytest.raises(SettingsError, match="the request is longer than 1024 KiB"):
            await client.submit(Submission(task="x", attachments=("y" * (1 << 20),)))
        assert (await client.status()).epoch == 1


async def test_something_else_listening_there_is_not_taken_for_a_runtime(tmp_path):
    async def talk(reader, writer):
        writer.write(b"SSH-2.0-OpenSSH\n")
        writer.close()

    server = await asyncio.start_unix_server(talk, tmp_path / "other.sock")
    with pytest.raises(Unreachable, match="speaks otherwise"):
        await Client.connect(tmp_path / "other.sock")
    server.close()
    await server.wait_closed()


async def test_wrong_arguments_are_a_type_error_like_with_any_method(serve, path):
    await serve()
    async with await Client.connect(path) as client:
        with pytest.raises(TypeError, match="at most 2"):
            await client.run("r1", True, "r2")
        with pytest.raises(TypeError, match="run twice"):
            await client.run("r1", run="r1")


def test_importing_the_client_brings_nothing_heavy():
    heavy = ("textual", "typer", "rich", "ray", "duckdb", "lancedb", "llama_cpp", "cedarpy", "numpy", "mcp", "psutil")
    program = f"import sys, runtime.gateway.client; print([each for each in {heavy} if each in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
