"""Duties are separate in service mode: who asked cannot approve, by whatever name the kernel says they come.

Where the tests run as root, every caller is a process of another user; elsewhere the one user there is asks and tries.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = os.getuid() == 0
KEEPER, MEMBERS = (61500, 61600) if ROOT else (os.getuid(), os.getgid())
ANN, BOB, CARL, DORA = (61001 if ROOT else os.getuid()), 61002, 61003, 61004
PEOPLE = f"""\
[roles]
requester = ["staff"]
approver = ["leads"]
auditor = ["audit"]
[groups.staff]
[groups.leads]
within = ["staff"]
[groups.audit]
[users.ann]
uid = {ANN}
groups = ["leads"]
[users.bob]
uid = {BOB}
groups = ["leads"]
[users.carl]
uid = {CARL}
groups = ["staff"]
[users.dora]
uid = {DORA}
groups = ["audit"]
"""
CALL = """
import json, os, socket, sys
uid, group, path, verb, args = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], json.loads(sys.argv[5])
if os.getuid() == 0:
    os.setgroups([group]); os.setgid(uid); os.setuid(uid)
with socket.socket(socket.AF_UNIX) as caller:
    caller.connect(path)
    lines = caller.makefile()
    first = json.loads(lines.readline())
    if "error" not in first:
        caller.sendall(json.dumps({"id": 1, "verb": verb, "args": args}).encode() + b"\\n")
        first = json.loads(lines.readline())
print(json.dumps(first))
"""


class Office:
    """A service that is up, and its users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def ask(self, uid: int, verb: str, **args: Any) -> Any:
        """What the gateway answers a user: `result` or `error`."""
        command = [sys.executable, "-c", CALL, uid, MEMBERS, self.folder / "run" / "gateway.sock", verb]
        child = await asyncio.create_subprocess_exec(
            *map(str, command), json.dumps(args), stdout=subprocess.PIPE, cwd="/"
        )
        out, _ = await child.communicate()
        return json.loads(out)

    async def wants(self, uid: int, what: str) -> tuple[str, dict[str, Any]]:
        """A run of a user that waits for an approval, and what waits."""
        answer = await self.ask(uid, "submit", submission={"task": what, "workflow": "wipe"})
        run = answer["result"]
        while True:
            waiting = (await self.ask(uid, "approvals"))["result"]
            if found := [each for each in waiting if each["run"] == run]:
                return run, found[0]

    async def says(self, uid: int, waits: dict[str, Any], yes: bool = True) -> str:
        """What the gateway says to a user's answer: nothing, if it is taken."""
        said = {"approval": waits["approval"], "yes": yes, "meaning": "seen", "digest": waits["digest"][:8]}
        answer = await self.ask(uid, "answer", answer=said)
        return answer["error"]["what"] if "error" in answer else ""

    async def ended(self, uid: int, run: str) -> str:
        """How a run has ended."""
        while (view := (await self.ask(uid, "run", run=run))["result"])["status"] in ("running", "waiting"):
            await asyncio.sleep(0.05)
        return view["status"]

    def world(self) -> list[str]:
        """What was wiped."""
        file = self.folder / "world"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        people = folder / "people.toml"
        people.write_text(PEOPLE)
        people.chmod(0o600)
        if ROOT:
            os.chown(folder, KEEPER, MEMBERS)
            os.chown(people, KEEPER, MEMBERS)
        program = [sys.executable, str(Path(__file__).with_name("office.py")), name, str(KEEPER), str(MEMBERS)]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout
            assert child.stdout.readline() == b"up\n"
            yield Office(folder)
            child.communicate(b"")
        assert child.returncode == 0


async def test_who_asked_cannot_approve_though_they_are_an_approver(office: Office) -> None:
    run, waits = await office.wants(ANN, "hers")
    assert await office.says(ANN, waits) == "ann asked for this, and policy wants another's word"
    assert (await office.ask(ANN, "run", run=run))["result"]["status"] == "waiting"
    assert await office.says(ANN, waits, yes=False) == "", "anybody concerned may say no"
    assert await office.ended(ANN, run) == "denied"
    assert "hers" not in office.world()


def test_what_is_the_services_is_its_own_users_alone(office: Office) -> None:
    """What needs no other user to check: nobody else passes the folder, and its keys are closed to them besides."""
    data = office.folder / "data"
    paths = list(data.rglob("*"))
    assert {"checkpoint.key", "keystore.json", "ledger.duckdb"} <= {path.name for path in paths}
    assert data.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_uid for path in (data, *paths)} == {KEEPER}
    keys = [path for path in (data / "keys").rglob("*") if path.is_file()]
    assert keys
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


if ROOT:
    # Only root can become somebody else, so only root has these tests.

    async def test_another_approver_can(office: Office) -> None:
        run, waits = await office.wants(ANN, "agreed")
        assert await office.says(BOB, waits) == ""
        assert await office.ended(ANN, run) == "completed"
        assert "agreed" in office.world()

    async def test_who_is_no_approver_cannot(office: Office) -> None:
        run, waits = await office.wants(CARL, "not agreed")
        for uid, name in ((CARL, "carl"), (DORA, "dora")):
            assert (await office.says(uid, waits)).startswith(f"{name} may not")
            assert (await office.says(uid, waits, yes=False)).startswith(f"{name} may not")
        assert await office.says(ANN, waits, yes=False) == ""
        assert await office.ended(CARL, run) == "denied"
        assert "not agreed" not in office.world()

    async def test_an_auditor_begins_no_run(office: Office) -> None:
        answer = await office.ask(DORA, "submit", submission={"task": "x", "workflow": "wipe"})
        assert answer["error"]["kind"] == "Denied"

    async def test_the_service_itself_has_no_word(office: Office) -> None:
        _, waits = await office.wants(ANN, "by the service")
        for uid in (KEEPER, 0):
            said = {"approval": waits["approval"], "yes": True, "digest": waits["digest"][:8]}
            assert (await office.ask(uid, "answer", answer=said))["error"]["kind"] == "Denied"
        await office.says(BOB, waits, yes=False)
        assert "by the service" not in office.world()
