"""Service mode, with real users of the machine: members come in as whom the directory says, and reach no key."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runtime.gateway.listener import listen
from store.records.errors import SettingsError

KEEPER, MEMBERS = 61500, 61600
ANN, BOSS, STRANGER = 61001, 61002, 61003
PEOPLE = f"""\
[roles]
requester = ["staff"]
admin = ["it"]
[groups.staff]
[groups.it]
[users.ann]
uid = {ANN}
groups = ["staff"]
unit = "ops"
tenant = "acme"
[users.boss]
uid = {BOSS}
tenant = "acme"
groups = ["staff", "it"]
"""
CALL = """
import json, os, socket, sys
uid, groups, path, verb = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
os.setgroups(groups); os.setgid(uid); os.setuid(uid)
try:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)
        lines = caller.makefile()
        first = json.loads(lines.readline())
        if "error" not in first:
            caller.sendall(json.dumps({"id": 1, "verb": verb}).encode() + b"\\n")
            first = json.loads(lines.readline())
except OSError as error:
    first = {"error": {"kind": type(error).__name__, "what": ""}}
print(json.dumps(first))
"""
READ = """
import json, os, sys
os.setgroups([int(sys.argv[2])]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
got = []
for path in json.loads(sys.argv[3]):
    try:
        os.stat(path)
        open(path, "rb").read()
        got.append(path)
    except PermissionError:
        pass
print(json.dumps(got))
"""


async def ran(program, *arguments):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *map(str, arguments), stdout=subprocess.PIPE
    )
    out, _ = await child.communicate()
    return json.loads(out)


if os.getuid() == 0:
    # Only root can become somebody else, so only root has these tests.

    @pytest.fixture(scope="module")
    def service():
        """The folder of a service that is up."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.chown(folder, KEEPER, MEMBERS)
            folder.chmod(0o755)
            (folder / "people.toml").write_text(PEOPLE)
            (folder / "people.toml").chmod(0o600)
            os.chown(folder / "people.toml", KEEPER, MEMBERS)
            program = [sys.executable, str(Path(__file__).with_name("service.py")), name, str(KEEPER), str(MEMBERS)]
            with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
                assert child.stdout.readline() == b"up\n"
                yield folder
                child.communicate(b"")
            assert child.returncode == 0

    async def test_a_member_is_who_the_directory_says(service):
        answer = await ran(CALL, ANN, [MEMBERS], service / "run" / "gateway.sock", "whoami")
        assert answer["result"] == {
            "name": "ann",
            "uid": ANN,
            "tenant": "acme",
            "unit": "ops",
            "groups": ["staff"],
            "roles": ["requester"],
            "mode": "service",
            "source": f"the directory {service}/people.toml",
        }

    async def test_what_a_role_does_not_allow_is_refused(service):
        socket = service / "run" / "gateway.sock"
        answer = await ran(CALL, ANN, [MEMBERS], socket, "stop")
        assert answer["error"]["what"] == "ann may not ask for stop"
        assert "result" in await ran(CALL, BOSS, [MEMBERS], socket, "stop")

    async def test_who_is_no_member_gets_no_connection(service):
        answer = await ran(CALL, ANN, [], service / "run" / "gateway.sock", "whoami")
        assert answer["error"]["kind"] == "PermissionError"

    @pytest.mark.parametrize("uid", [STRANGER, 0])
    async def test_a_member_whom_the_directory_does_not_have_is_refused(service, uid):
        answer = await ran(CALL, uid, [MEMBERS], service / "run" / "gateway.sock", "whoami")
        assert answer["error"]["what"] == f"the site does not know the user with the id {uid}"

    async def test_the_services_own_user_is_no_user_of_it(service):
        answer = await ran(CALL, KEEPER, [MEMBERS], service / "run" / "gateway.sock", "whoami")
        assert answer["error"]["kind"] == "Denied"

    async def test_no_member_can_read_a_key_or_the_log(service):
        files = [str(path) for path in (service / "data").rglob("*") if path.is_file()]
        assert {"token.key", "checkpoint.key", "keystore.json", "ledger.duckdb"} <= {Path(each).name for each in files}
        for uid in (ANN, BOSS):
            assert await ran(READ, uid, MEMBERS, json.dumps(files)) == []
        assert await ran(READ, KEEPER, MEMBERS, json.dumps(files)) == files

    async def test_a_socket_of_a_service_in_a_folder_that_others_can_enter_is_refused(service):
        for mode in (0o711, 0o730, 0o701):
            folder = service / oct(mode)
            folder.mkdir()
            folder.chmod(mode)
            with pytest.raises(SettingsError, match="other users can enter"):
                listen(folder / "gateway.sock", group=os.getegid())


def test_the_modes_of_a_services_socket(tmp_path):
    with listen(tmp_path / "new" / "gateway.sock", group=os.getegid()):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o710
        assert (tmp_path / "new" / "gateway.sock").stat().st_mode & 0o777 == 0o660
