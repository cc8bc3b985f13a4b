"""Who may come in: real processes at real sockets, among them ones that try to hide where they come from."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runtime.gateway import peer
from runtime.gateway.client import Client
from store.records.errors import Denied

CALL = """
import socket, sys
with socket.socket(socket.AF_UNIX) as caller:
    caller.connect(sys.argv[1])
    print(caller.makefile().readline(), end="", flush=True)
"""
DAEMON = """
import os, sys, time
host = os.getppid()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while os.getppid() != host:
            time.sleep(0.01)
        exec(sys.argv[2])
    os._exit(0)
os.wait()
"""
BECOME_NOBODY = "import os, socket; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
SPAWN = "import subprocess, sys; subprocess.run(sys.argv[1:])"
# A tool host as runtime/actors starts one: a child subreaper (prctl 36). Its arguments are the program that it runs.
HOST = """
import ctypes, os, subprocess, sys, time
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
print(os.getpid(), flush=True)
sys.stdin.readline()
subprocess.run([sys.executable, "-c", *sys.argv[1:]], check=True)
sys.stdin.read()
"""


def descent(name, path):
    """The program, with its arguments, by which a descendant of the given kind calls the gateway."""
    call = [sys.executable, "-c", CALL, str(path)]
    return {
        "child": call[2:],
        "grandchild": [SPAWN, *call],
        "shell": [SPAWN, "sh", "-c", '"$@"; true', "sh", *call],
        "orphaned daemon": [DAEMON, str(path), CALL],
    }[name]


async def first_line(*command, **more):
    """What the gateway says to a program, and the program's end."""
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", *command, stdout=subprocess.PIPE, **more)
    out, _ = await done.communicate()
    return json.loads(out)


@pytest.mark.parametrize("name", ["child", "grandchild", "shell", "orphaned daemon"])
async def test_a_descendant_of_the_tool_host_is_refused(serve, path, name):
    pipe = subprocess.PIPE
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, *descent(name, path), stdin=pipe, stdout=pipe
    )
    hosts = {int(await host.stdout.readline())}
    gateway = await serve(hosts=lambda: hosts)
    host.stdin.write(b"go\n")
    answer = json.loads(await host.stdout.readline())
    assert answer["error"]["kind"] == "Denied"
    assert "tools cannot talk to the runtime that runs them" in answer["error"]["what"]
    await host.communicate(b"")
    assert host.returncode == 0
    await gateway.close()


@pytest.mark.parametrize("name", ["child", "grandchild", "shell"])
async def test_the_same_programs_come_in_when_no_tool_host_is_above_them(serve, path, name):
    await serve()
    assert (await first_line(*descent(name, path)))["result"]["user"] == f"u{os.getuid()}"


async def test_the_tool_host_itself_is_refused(serve, path):
    await serve(hosts=lambda: {os.getpid()})
    with pytest.raises(Denied, match="tools cannot talk"):
        await Client.connect(path)


async def test_the_environments_mark_is_enough_to_be_refused(serve, path):
    await serve()
    answer = await first_line(CALL, str(path), env={**os.environ, "BAILIWICK_TOOL_CHILD": "1"})
    assert answer["error"]["what"] == "tools cannot talk to a runtime"


async def test_dropping_the_mark_does_not_help_while_the_marked_parent_lives(serve, path):
    await serve()
    marked = {**os.environ, "BAILIWICK_TOOL_CHILD": "1"}
    program = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {CALL!r}, {str(path)!r}], env={{}})"
    assert (await first_line(program, env=marked))["error"]["kind"] == "Denied"


async def test_a_variable_that_only_resembles_the_mark_is_none(serve, path):
    await serve()
    answer = await first_line(CALL, str(path), env={**os.environ, "X": "BAILIWICK_TOOL_CHILD=1", "BAILIWICK_TOOL": "1"})
    assert "result" in answer


async def test_another_users_runtime_is_refused(serve, path):
    await serve(owner_uid=os.getuid() + 1)
    with pytest.raises(Denied, match="belongs to another user"):
        await Client.connect(path)


if os.getuid() == 0:
    # Only root can become somebody else, so only root has this test.

    async def test_another_user_is_refused_even_where_the_files_let_them_through(serve, tmp_path):
        with tempfile.TemporaryDirectory() as open_to_all:
            path = Path(open_to_all) / "gateway.sock"
            await serve(path=path)
            path.parent.chmod(0o711)
            path.chmod(0o666)
            answer = await first_line(BECOME_NOBODY + CALL, str(path))
            assert answer["error"]["what"] == "this runtime belongs to another user"
            path.parent.chmod(0o700)


def test_root_is_another_user_too():
    with pytest.raises(Denied):
        peer.require_owner(0, 1000)
    peer.require_owner(1000, 1000)


def accepted(listener, *command):
    """The server's end of a connection that a program opened, when that program has ended."""
    subprocess.run([sys.executable, "-c", *command], check=True)
    connection, _ = listener.accept()
    return connection


GONE = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.mark.parametrize("option", [peer.PEERPIDFD, 9999], ids=["with a pidfd", "a kernel without"])
def test_a_caller_that_is_gone_is_refused(tmp_path, monkeypatch, option):
    monkeypatch.setattr(peer, "PEERPIDFD", option)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with accepted(listener, GONE, path) as connection, pytest.raises(Denied):
            peer.admit(connection, os.getuid(), set())


@pytest.mark.parametrize("option", [peer.PEERPIDFD, 9999], ids=["with a pidfd", "a kernel without"])
def test_a_living_caller_is_known_with_its_ancestors(tmp_path, monkeypatch, option):
    monkeypatch.setattr(peer, "PEERPIDFD", option)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind(path)
        listener.listen()
        caller.connect(path)
        connection, _ = listener.accept()
        with connection:
            known = peer.admit(connection, os.getuid(), set())
    assert (known.pid, known.uid, known.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert [process.pid for process in known.ancestry[:2]] == [os.getpid(), os.getppid()]


def test_a_process_that_began_after_the_connection_is_not_its_caller(tmp_path, monkeypatch):
    monkeypatch.setattr(peer, "_ticks_since_boot", lambda: 0)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(Denied, match="the caller is gone"):
        peer.admit(ours, os.getuid(), set())


def test_a_parent_younger_than_its_child_is_a_reused_id(monkeypatch):
    young, old = peer.Process(10, 9, started=100), peer.Process(9, 1, started=200)
    monkeypatch.setattr(peer, "_process", {10: young, 9: old}.__getitem__)
    with pytest.raises(ValueError, match="younger"):
        peer.ancestry(10)
    with pytest.raises(Denied, match="parents cannot be read"):
        peer._stable_ancestry(10)


def test_parents_that_change_while_they_are_read_are_read_again(monkeypatch):
    root = peer.Process(1, 0, 0)
    readings = iter([peer.Process(10, 9, 5), peer.Process(9, 1, 2), root, *[peer.Process(10, 1, 5), root] * 2])
    monkeypatch.setattr(peer, "_process", lambda _: next(readings))
    assert peer._stable_ancestry(10) == (peer.Process(10, 1, 5), root)


def test_a_process_outside_the_namespace_has_no_ancestry():
    with pytest.raises(ValueError, match="outside"):
        peer.ancestry(0)


def test_a_programs_name_cannot_forge_its_parents(tmp_path):
    program = tmp_path / "x) S 1 1 1 1"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as child:
        assert peer.ancestry(child.pid)[1].pid == os.getpid()
        child.kill()


async def test_when_the_hosts_are_unknown_nobody_comes_in(serve, path):
    def unknown():
        raise OSError("the core is down")

    await serve(hosts=unknown)
    with pytest.raises(Denied, match="cannot be identified"):
        await Client.connect(path)


async def test_a_server_of_another_user_is_not_trusted(serve, path, monkeypatch):
    await serve()
    monkeypatch.setattr("runtime.gateway.address.credentials", lambda _: (1, 4242, 4242))
    with pytest.raises(Denied, match="another user's program"):
        await Client.connect(path)
