"""The TCP address: who comes in there, with what, and that neither side speaks to just anybody."""

import asyncio
import datetime
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.gateway import loopback
from runtime.gateway.address import TcpAddress
from runtime.gateway.client import Client
from runtime.gateway.messages import Submission
from runtime.gateway.session import Limits
from runtime.gateway.tcp import Listen
from store.records.errors import Denied, SettingsError, Unreachable
from store.records.identity import ROLES, User

HERE = Listen("127.0.0.1", 0)
CALL = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as caller:
    caller.sendall(b'{"token": "good"}\\n')
    print(caller.makefile().readline(), end="", flush=True)
"""

BY = """
import socket, sys
target, port, source = sys.argv[1:]
caller = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET)
caller.bind((source, 0))
caller.connect((target, int(port)))
caller.sendall(b'{"token": "good"}\\n')
print(caller.makefile().readline(), end="", flush=True)
"""


class Door:
    """What tokens are good for; a test may change it while somebody is in."""

    def __init__(self):
        self.users = {"good": User("ann", 7, "site", "ops", ROLES)}

    async def __call__(self, token):
        if token not in self.users:
            raise Denied("the token was revoked")
        return self.users[token]


@pytest.fixture
def door():
    return Door()


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("good\n")
    file.chmod(0o600)
    return file


def at(gateway, token, **more):
    return TcpAddress("127.0.0.1", gateway.port, token, **more)


async def test_a_bearer_comes_in_as_the_tokens_user(serve, desk, door, token):
    gateway = await serve(bearer=door, tcp=HERE)
    async with await Client.at(at(gateway, token)) as client:
        assert client.greeting.user == "ann"
        assert await client.submit(Submission(task="t")) == "r1"
        assert desk.user.name == "ann"


async def test_a_token_that_is_revoked_ends_what_goes_on(serve, desk, door, token, monkeypatch):
    monkeypatch.setattr("runtime.gateway.session.AGAIN_S", 0.0)
    gateway = await serve(bearer=door, tcp=HERE)
    await desk.append(1)
    async with await Client.at(at(gateway, token)) as client:
        stream = client.follow()
        assert (await anext(stream)).event["seq"] == 1
        door.users.clear()
        await desk.append(1)
        with pytest.raises(Denied, match="revoked"):
            await anext(stream)
        with pytest.raises(Denied, match="revoked"):
            await client.status()


@pytest.mark.parametrize("now", [User("ann", 7, "site", "ops", ("requester",)), User("ann", 7, "acme", "ops", ROLES)])
async def test_a_stream_ends_when_its_caller_may_see_less(serve, desk, door, token, monkeypatch, now):
    monkeypatch.setattr("runtime.gateway.session.AGAIN_S", 0.0)
    gateway = await serve(bearer=door, tcp=HERE)
    await desk.append(1)
    async with await Client.at(at(gateway, token)) as client:
        stream = client.follow()
        assert (await anext(stream)).event["seq"] == 1
        door.users["good"] = now
        await desk.append(1)
        with pytest.raises(Denied, match="by now"):
            await anext(stream)


async def test_roles_are_looked_at_for_each_request(serve, door, token):
    gateway = await serve(bearer=door, tcp=HERE)
    async with await Client.at(at(gateway, token)) as client:
        door.users["good"] = User("ann", 7, "site", "ops", ("auditor",))
        with pytest.raises(Denied, match="ann may not ask for submit; ask someone with the role requester"):
            await client.submit(Submission(task="t"))
        await client.status()


async def test_no_token_makes_another_one(serve, door, token):
    from runtime.gateway.messages import TokenOrder

    gateway = await serve(bearer=door, tcp=HERE)
    async with await Client.at(at(gateway, token)) as client:
        with pytest.raises(Denied, match="not for who comes with a token"):
            await client.issue_token(TokenOrder(user="ann", expires_s=60))


async def said(port, *lines, end=True):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        writer.writelines(lines)
        if end:
            writer.write_eof()
        return [json.loads(line) async for line in reader]


FIRST = {
    "a wrong token": b'{"token": "bad"}\n',
    "a request": b'{"id": 1, "verb": "status", "args": {}}\n',
    "nothing": b"",
    "an empty token": b'{"token": ""}\n',
    "more than a token": b'{"token": "good", "as": "root"}\n',
    "a token too long": b'{"token": "' + b"x" * 5000 + b'"}\n',
    "noise": b"\x16\x03\x01\x00\xff\n",
    "a web page": b"POST / HTTP/1.1\n",
}


@pytest.mark.parametrize("name", FIRST)
async def test_whoever_does_not_begin_with_a_token_is_refused(serve, door, name):
    gateway = await serve(bearer=door, tcp=HERE)
    status = b'{"id": 1, "verb": "status", "args": {}}\n'
    [answer] = await said(gateway.port, FIRST[name], status)
    assert answer["error"]["kind"] == "Denied"


async def test_a_caller_who_says_nothing_is_cut_off(serve, door, monkeypatch):
    monkeypatch.setattr("runtime.gateway.session.TOKEN_S", 0.05)
    gateway = await serve(bearer=door, tcp=HERE)
    [answer] = await said(gateway.port, end=False)
    assert "a token is wanted first" in answer["error"]["what"]


async def test_callers_over_tcp_take_no_places_from_the_socket(serve, path, door, token):
    gateway = await serve(bearer=door, tcp=HERE, limits=Limits(connections=1))
    silent, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    with closing(writer):
        await asyncio.sleep(0.05)
        with pytest.raises(Unreachable, match="no free connection"):
            await Client.at(at(gateway, token))
        async with await Client.connect(path) as client:
            await client.status()
    del silent


HOST = "import os, subprocess, sys; sys.stdin.readline(); subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


async def test_a_tool_with_a_stolen_token_is_refused(serve, door):
    hosts = set()
    gateway = await serve(lambda: hosts, bearer=door, tcp=HERE)
    for refused in (False, True):
        host = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOST, CALL, str(gateway.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        hosts.update({host.pid} if refused else ())
        out, _ = await host.communicate(b"go\n")
        answer = json.loads(out)
        assert ("tools cannot talk" in answer.get("error", {}).get("what", "")) is refused


@pytest.mark.parametrize(
    ("listens", "source", "target"),
    [
        ("::", "127.0.0.1", "127.0.0.1"),
        ("::", "127.0.0.2", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.2", "::ffff:127.0.0.1"),
    ],
)
async def test_a_tool_is_found_whichever_kind_of_address_it_comes_by(serve, door, token, listens, source, target):
    hosts = set()
    gateway = await serve(lambda: hosts, bearer=door, tcp=Listen(listens, 0))
    for refused in (False, True):
        host = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOST, BY, target, str(gateway.port), source, stdin=-1, stdout=-1
        )
        hosts.update({host.pid} if refused else ())
        out, _ = await host.communicate(b"go\n")
        answer = json.loads(out)
        assert ("tools cannot talk" in answer.get("error", {}).get("what", "")) is refused
        assert ("error" in answer) is refused


async def test_a_marked_process_is_refused_over_tcp_too(serve, door):
    gateway = await serve(bearer=door, tcp=HERE)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CALL,
        str(gateway.port),
        stdout=subprocess.PIPE,
        env={**os.environ, "BAILIWICK_TOOL_CHILD": "1"},
    )
    out, _ = await child.communicate()
    assert json.loads(out)["error"]["what"] == "tools cannot talk to a runtime"


async def test_a_caller_nobody_can_find_among_the_processes_is_refused(serve, door, token, monkeypatch):
    monkeypatch.setattr(loopback, "_holders", lambda _: iter(()))
    gateway = await serve(bearer=door, tcp=HERE)
    with pytest.raises(Denied, match="cannot be identified"):
        await Client.at(at(gateway, token))


LISTEN = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
if sys.argv[1] == "accept":
    caller, _ = listener.accept()
    print(caller.recv(100), flush=True)
else:
    sys.stdin.read()
"""

if os.getuid() == 0:
    # Only root can become somebody else, so only root has this test.

    @pytest.mark.parametrize("how", ["accept", "leave in the queue"])
    async def test_another_users_program_is_sent_no_token(token, how):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LISTEN, how, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        port = int(await child.stdout.readline())
        with pytest.raises(Denied, match=r"another user's program .*user id .*65534"):
            await TcpAddress("127.0.0.1", port, token).connect()
        out, _ = await child.communicate(b"")
        assert out == (b"b''\n" if how == "accept" else b"")


async def test_nobody_listens(token):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot connect"):
        await TcpAddress("127.0.0.1", port, token).connect()


async def test_a_token_file_that_others_can_read_is_not_used(serve, door, token, tmp_path):
    gateway = await serve(bearer=door, tcp=HERE)
    token.chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by others"):
        await Client.at(at(gateway, token))
    with pytest.raises(SettingsError, match="the token cannot be read"):
        await Client.at(at(gateway, tmp_path / "none"))


@pytest.fixture
def pair(tmp_path):
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].touch(0o600)
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


async def test_tls_with_a_certificate_that_the_client_trusts(serve, door, token, pair):
    gateway = await serve(bearer=door, tcp=Listen.parse("127.0.0.1:0", *pair))
    async with await Client.at(at(gateway, token, ca=pair[0])) as client:
        assert client.greeting.user == "ann"


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(serve, door, token, pair, monkeypatch):
    monkeypatch.setattr("runtime.gateway.address.is_loopback", lambda _: False)  # as if it were another machine
    gateway = await serve(bearer=door, tcp=Listen.parse("127.0.0.1:0", *pair))
    with pytest.raises(Denied, match="cannot be trusted"):
        await Client.at(at(gateway, token))
    gateway = await serve(bearer=door, tcp=HERE, path=gateway.path.with_name("plain.sock"))
    with pytest.raises((Denied, Unreachable)):
        await Client.at(at(gateway, token))  # no TLS there at all


async def test_old_tls_is_not_spoken(serve, door, pair):
    gateway = await serve(bearer=door, tcp=Listen.parse("127.0.0.1:0", *pair))
    context = ssl.create_default_context(cafile=pair[0])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context)


WRONG = {
    "8750": "no address",
    "127.0.0.1:": "no address",
    "127.0.0.1:70000": "no address",
    "::1:8750": "no address",
    "localhost:8750": "is no number",
    "0.0.0.0:8750": "so it needs a certificate",
    "[::]:8750": "so it needs a certificate",
    "192.0.2.1:8750": "so it needs a certificate",
}


@pytest.mark.parametrize("text", WRONG)
def test_an_address_that_cannot_be_listened_at(text):
    with pytest.raises(SettingsError, match=WRONG[text]):
        Listen.parse(text)


def test_addresses_of_the_machine_need_no_certificate():
    assert Listen.parse("127.0.0.1:8750") == Listen("127.0.0.1", 8750)
    assert Listen.parse("[::1]:8750") == Listen("::1", 8750)


def test_a_certificate_and_its_key(pair, tmp_path):
    cert, key = pair
    assert Listen.parse("0.0.0.0:8750", cert, key).tls is not None
    with pytest.raises(SettingsError, match="goes with its key"):
        Listen.parse("0.0.0.0:8750", cert)
    with pytest.raises(SettingsError, match="cannot be used"):
        Listen.parse("0.0.0.0:8750", key, key)
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        Listen.parse("0.0.0.0:8750", tmp_path / "none", key)
    key.chmod(0o640)
    with pytest.raises(SettingsError, match="can be read by others"):
        Listen.parse("0.0.0.0:8750", cert, key)


async def test_an_address_that_is_taken_is_one_line_and_leaves_no_socket(serve, path, door):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="cannot listen: Address already in use"):
            await serve(bearer=door, tcp=Listen("127.0.0.1", port))
    assert not path.exists()


def test_the_kernels_way_to_write_an_address():
    if sys.byteorder == "little":
        assert loopback._text(("127.0.0.1", 8750)) == "0100007F:222E"
        assert loopback._text(("::1", 80)) == "00000000000000000000000001000000:0050"
    assert Path("/proc/net/tcp").exists()


def test_every_verb_has_its_roles_and_a_verb_without_is_nobodys():
    from runtime.gateway.verbs import VERBS
    from runtime.rights import NEEDS, check_verb

    assert set(NEEDS) == set(VERBS)
    with pytest.raises(Denied, match="which nobody has"):
        check_verb(User("ann", 7, "site", "ops", ROLES), "upgrade")
    with pytest.raises(Denied):
        check_verb(User("ann", 7, "site", "ops", ()), "status")
