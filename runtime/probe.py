"""Ask a listening TCP port for something without showing credentials, and see whether it answers.

Only ever connects to addresses of this machine, and only asks for what changes nothing: a GET of `/`, and calls of
Ray's read-only gRPC methods. gRPC is spoken by hand (HTTP/2, RFC 9113; header compression, RFC 7541): one request
without compression is forty lines, and the grpc library is no dependency of ours.
"""

import re
import socket
import struct
from enum import StrEnum

TIMEOUT_S = 3.0
# A call that changes nothing for each of Ray's services; a server answers UNIMPLEMENTED for those not its own.
METHODS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
)
_UNIMPLEMENTED, _PERMISSION_DENIED, _UNAUTHENTICATED = 12, 7, 16
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_EMPTY_MESSAGE = b"\0\0\0\0\0"


class Access(StrEnum):
    """What a port does for a caller without credentials. Whatever is not known to refuse counts as open."""

    REFUSED = "refuses"
    OPEN = "takes an unauthenticated caller"
    UNKNOWN = "accepts connections, and does not say that it wants credentials"
    GONE = "closed meanwhile"


def access(host: str, port: int) -> Access:
    """What the server at `host`:`port` does for a caller that shows no token, or a wrong one."""
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except OSError:
        return Access.GONE
    found = _grpc_access(host, port)
    return _http_access(host, port) if found is Access.UNKNOWN else found


def _grpc_access(host: str, port: int) -> Access:
    """Every method, first without a token and then with a wrong one; one that is served opens the port."""
    refused = False
    for method in METHODS:
        for token in ("", "Bearer not-the-token"):
            status = _grpc_status(host, port, method, token)
            if status is None:
                return Access.REFUSED if refused else Access.UNKNOWN
            if status in (_UNAUTHENTICATED, _PERMISSION_DENIED):
                refused = True
            elif status != _UNIMPLEMENTED:
                return Access.OPEN
    return Access.REFUSED if refused else Access.UNKNOWN


def _grpc_status(host: str, port: int, method: str, token: str) -> int | None:
    """The gRPC status of one call with an empty message; None if the server does not speak gRPC."""
    headers = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost"}
    headers |= {"content-type": "application/grpc", "te": "trailers"} | ({"authorization": token} if token else {})
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
    request = _PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, _END_HEADERS, 1, block)
    request += _frame(_DATA, _END_STREAM, 1, _EMPTY_MESSAGE)
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            connection.sendall(request)
            return _read_status(connection)
    except (OSError, EOFError):
        return None


def _read_status(connection: socket.socket) -> int | None:
    """The status in the trailers of stream 1.

    gRPC's own servers write it as plain text; one that compressed it would be taken for unknown, which is a failure.
    """
    while True:
        head = _exactly(connection, 9)
        kind, flags, stream = struct.unpack(">BBL", head[3:])
        body = _exactly(connection, int.from_bytes(head[:3]))
        if kind == _SETTINGS and not flags & _ACK:
            connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        if kind == _HEADERS and stream == 1 and flags & _END_STREAM:
            found = re.search(rb"grpc-status[\x01\x02](\d{1,2})", body)
            return int(found[1]) if found else None


def _http_access(host: str, port: int) -> Access:
    """What an HTTP/1.1 server answers to a GET of `/`: 401 and 403 refuse, every other answer serves."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            line = connection.recv(64)
    except OSError:
        return Access.UNKNOWN
    found = re.match(rb"HTTP/1\.[01] (\d{3})", line)
    if not found:
        return Access.UNKNOWN
    return Access.REFUSED if found[1] in (b"401", b"403") else Access.OPEN


def _text(value: str) -> bytes:
    """A string literal of RFC 7541, 5.2, not Huffman-coded. All of ours are shorter than 127 bytes."""
    return bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """A frame of RFC 9113, 4.1: 24 bits of length, type, flags, stream."""
    return struct.pack(">L", len(body))[1:] + struct.pack(">BBL", kind, flags, stream) + body


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
