"""The socket's place: who may enter, what is in the way, and which socket is found."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.gateway import paths
from runtime.gateway.client import Client
from runtime.gateway.listener import listen, withdraw
from store.records.errors import SettingsError, Unreachable


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_socket_and_folders_are_private_whatever_the_umask(tmp_path, mask):
    path = tmp_path / "a" / "b" / "gateway.sock"
    if mask == 0o777:
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o700)
    before = os.umask(mask)
    try:
        with listen(path):
            assert mode(path) == 0o600
            assert mode(path.parent) == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("bits", [0o701, 0o710, 0o755, 0o777])
def test_a_folder_that_others_can_enter_is_refused(tmp_path, bits):
    tmp_path.chmod(bits)
    with pytest.raises(SettingsError, match="chmod 700"):
        listen(tmp_path / "gateway.sock")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SettingsError, match="not a folder of this user's"):
        listen(tmp_path / "link" / "gateway.sock")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="BAILIWICK_SOCKET"):
        listen(tmp_path / "file" / "gateway.sock")


def test_a_path_too_long_for_the_kernel_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="at most 107 bytes"):
        listen(tmp_path / ("x" * 108))


def test_a_file_in_the_way_is_refused_and_kept(tmp_path):
    path = tmp_path / "gateway.sock"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="a file where the socket should be"):
        listen(path)
    assert path.read_text() == "mine"


def test_a_socket_in_use_is_left_alone(tmp_path):
    path = tmp_path / "gateway.sock"
    with listen(path):
        with pytest.raises(Unreachable, match="already listens here"):
            listen(path)
        assert paths.listening(path)


def test_the_socket_of_a_dead_process_is_replaced(tmp_path):
    path = tmp_path / "gateway.sock"
    program = f"import socket, os; socket.socket(socket.AF_UNIX).bind({str(path)!r}); os._exit(9)"
    subprocess.run([sys.executable, "-c", program], check=False)
    assert path.is_socket()
    with listen(path):
        assert paths.listening(path)


def test_dead_sockets_are_swept_and_live_ones_kept(tmp_path):
    dead, live = tmp_path / "1.sock", tmp_path / "2.sock"
    listen(dead).close()
    with listen(live), listen(tmp_path / "gateway.sock"):
        assert not dead.exists()
        assert live.exists()


def test_withdrawing_leaves_a_successors_socket(tmp_path):
    path = tmp_path / "gateway.sock"
    listen(path).close()
    with listen(path):
        withdraw(path)
        assert paths.listening(path)
    withdraw(path)
    withdraw(path)
    assert not path.exists()


async def test_a_second_gateway_at_the_same_path_is_refused_and_the_first_goes_on(serve, path):
    await serve()
    with pytest.raises(Unreachable, match="already listens here"):
        await serve()
    async with await Client.connect(path) as client:
        assert (await client.status()).epoch == 1


async def test_of_many_starters_at_once_one_listens(tmp_path):
    program = (
        "import sys, pathlib\n"
        "from runtime.gateway.listener import listen\n"
        "from store.records.errors import Unreachable\n"
        "try: kept = listen(pathlib.Path(sys.argv[1]))\n"
        "except Unreachable: print('taken', flush=True)\n"
        "else: print('mine', flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program, str(tmp_path / "gateway.sock")]
    root = Path(__file__).parents[2]
    starters = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) for _ in range(6)]
    said = sorted(each.stdout.readline().strip() for each in starters)
    for each in starters:
        each.communicate()
    assert said == ["mine"] + ["taken"] * 5


def test_the_runtime_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("BAILIWICK_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert paths.runtime_folder() == tmp_path / "bailiwick"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "not/absolute")
    assert paths.runtime_folder() == Path(f"/tmp/bailiwick-{os.getuid()}/bailiwick")
    monkeypatch.setenv("BAILIWICK_SOCKET", str(tmp_path / "s"))
    assert paths.newest_socket() == tmp_path / "s"


def test_the_newest_socket_somebody_listens_on_is_found(monkeypatch, tmp_path):
    monkeypatch.delenv("BAILIWICK_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = paths.runtime_folder()
    assert not paths.listening(paths.newest_socket())
    with listen(folder / "first.sock"):
        assert paths.newest_socket() == folder / "first.sock"
        with listen(folder / "second.sock"):
            listen(folder / "later.sock").close()
            assert paths.newest_socket() == folder / "second.sock"
        assert paths.newest_socket() == folder / "first.sock"


def test_a_listener_too_busy_to_accept_counts_as_listening(tmp_path):
    path = tmp_path / "busy.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        assert paths.listening(path)
