"""A tool server for tests, written by hand so that it can misbehave: `awkward_server.py STORY FOLDER`.

It speaks the older handshake. FOLDER/starts counts its starts; FOLDER/definition, if there, replaces a description;
FOLDER/hanging appears when a call hangs.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

STORY, FOLDER = sys.argv[1], Path(sys.argv[2])


def say(message: object) -> None:
    """Write one message."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def tools() -> list[dict[str, object]]:
    """The definitions; one description can be changed from outside."""
    changed = FOLDER / "definition"
    text = changed.read_text() if changed.exists() else "answers what it is told"
    anything: dict[str, object] = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "key": {"type": "string"}},
    }
    names = ["echo", "plainText", "fail", "die", "hang", "big", "deep", "flood", "garbage", "daemon", "environment"]
    names.append("image")
    if STORY == "bad-name":
        names.append("9 lives!")
    if STORY == "twins":
        names += ["two-names", "twoNames"]
    wrong: dict[str, object] = {"type": "object", "properties": {"text": {"type": "nonsense"}}}
    schema = wrong if STORY == "bad-schema" else anything
    listed: list[dict[str, object]] = [{"name": name, "description": text, "inputSchema": schema} for name in names]
    if STORY == "slow-pattern":
        slow = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}
        listed.append({"name": "slow", "description": "", "inputSchema": slow, "outputSchema": slow})
    remote: dict[str, object] = {"type": "object", "properties": {"text": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    return [*listed, {"name": "remote", "description": "refers elsewhere", "inputSchema": remote}]


def text(value: str) -> dict[str, object]:
    """A result of text."""
    return {"content": [{"type": "text", "text": value}]}


def call(name: str, arguments: dict[str, str]) -> dict[str, object]:
    """One tool call."""
    if name == "echo":
        return {**text(json.dumps(arguments)), "structuredContent": arguments}
    if name == "slow":
        return {**text("too long for a backtracking matcher"), "structuredContent": {"text": "a" * 5_000 + "!"}}
    if name == "plainText":
        return text("not json")
    if name == "fail":
        return {**text("it is broken"), "isError": True}
    if name == "die":
        os._exit(1)
    if name == "hang":
        (FOLDER / "hanging").touch()
        time.sleep(60)
    if name == "big":
        return text("x" * 300_000)
    if name == "deep":
        return text("[" * 100_000)
    if name == "flood":
        sys.stdout.write("x" * 5_000_000)
        sys.stdout.flush()
        time.sleep(60)
    if name == "garbage":
        sys.stdout.write("Segmentation fault\n")
        sys.stdout.flush()
        time.sleep(60)
    if name == "daemon":
        child = subprocess.Popen(["sleep", "300"], start_new_session=True, stdin=subprocess.DEVNULL)
        return text(json.dumps({"child": child.pid, "server": os.getpid()}))
    if name == "image":
        return {"content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]}
    return text(json.dumps({"environment": dict(os.environ)}))


def main() -> None:
    """Answer requests until the input ends."""
    with (FOLDER / "starts").open("a") as file:
        file.write("x")
    sys.stderr.write("a secret that must stay in the log\n")
    if STORY == "mute":
        time.sleep(60)
    if STORY == "quits":
        sys.exit(7)
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        method, reply = request["method"], {"jsonrpc": "2.0", "id": request["id"]}
        if method == "initialize":
            version = request["params"]["protocolVersion"]
            who = {"name": "awkward", "version": "3"}
            result: object = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": who}
        elif method == "tools/list":
            result = {"tools": tools()}
        elif method == "tools/call":
            result = call(request["params"]["name"], request["params"].get("arguments", {}))
        else:
            say({**reply, "error": {"code": -32601, "message": "no such method"}})
            continue
        say({**reply, "result": result})


main()
