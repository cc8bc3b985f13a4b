"""Who is let in by a daemon: the owner at its socket, and over TCP whoever has a token, until it ends."""

import os
import socket
from collections.abc import Callable
from typing import Any

from runtime.people import SYSTEM

PEOPLE = """\
[roles]
requester = ["staff"]
auditor = ["audit"]
[groups.staff]
[groups.audit]
[users.ann]
name = "Ann Smith"
mail = ["ann@example.org"]
groups = ["staff"]
[users.paul]
groups = ["audit"]
"""


async def test_tokens_over_tcp_from_their_issue_to_their_end(sites: Callable[[], Any]) -> None:
    site = sites()
    people = site.folder / "people.toml"
    people.write_text(PEOPLE)
    people.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        there = f"127.0.0.1:{free.getsockname()[1]}"
    site.environ |= {"BAILIWICK_DIRECTORY": str(people)}
    files = {name: site.folder / name for name in ("ann", "paul")}

    def over_tcp(name: str, *arguments: str) -> Any:
        elsewhere = {"BAILIWICK_DATA_DIR": str(site.folder / "elsewhere"), "BAILIWICK_DIRECTORY": ""}
        return site.run(*arguments, "--connect", there, BAILIWICK_TOKEN_FILE=str(files[name]), **elsewhere)

    daemon = site.start("up", BAILIWICK_LISTEN=there)
    async with site.client(daemon):
        me = site.run("whoami", "--json").json  # the owner, whom the directory does not name
        assert (me["uid"], me["mode"], me["source"]) == (os.getuid(), "personal", SYSTEM)
        for name, file in files.items():
            done = site.run("tokens", "issue", name, "--expires", "8h", "--to", str(file), "--json")
            assert (done.code, done.json["file"]) == (0, str(file)), done.err
            assert file.stat().st_mode & 0o777 == 0o600
            assert file.read_text().strip() not in done.out
        who = over_tcp("ann", "whoami", "--json").json
        assert (who["name"], who["roles"], who["groups"]) == ("ann", ["requester"], ["staff"])
        assert who["source"] == f"the directory {people}"
        assert [each["name"] for each in over_tcp("ann", "users", "list", "--json").json] == ["ann", "paul"]
        refused = over_tcp("ann", "down")
        assert (refused.code, "ann may not ask for stop" in refused.err) == (5, True)
        refused = over_tcp("paul", "tokens", "issue", "paul", "--expires", "1h")
        assert (refused.code, refused.out) == (5, "")
        assert over_tcp("paul", "audit", "verify").code == 0

        [paul, ann] = site.run("tokens", "list", "--json").json
        assert (ann["user"], ann["by"], ann["state"]) == ("ann", me["name"], "valid")
        assert site.run("tokens", "revoke", ann["id"][:8], "--json").json == {"revoked": ann["id"]}
        refused = over_tcp("ann", "whoami")
        assert (refused.code, "the token was revoked" in refused.err) == (5, True)
        people.write_text(PEOPLE.replace('[users.paul]\ngroups = ["audit"]\n', ""))
        refused = over_tcp("paul", "whoami")
        assert (refused.code, "does not know the user 'paul'" in refused.err) == (5, True)
        people.write_text(PEOPLE)
        assert over_tcp("paul", "whoami").code == 0
        assert over_tcp("paul", "down", "--json").code == 5
        assert site.run("down", "--json").json == {"told": True, "ended": True}
    assert daemon.wait().code == 0

    daemon = site.start("up", BAILIWICK_LISTEN=there)  # the book of tokens is the log
    async with site.client(daemon):
        assert over_tcp("paul", "whoami", "--json").json["name"] == "paul"
        assert "the token was revoked" in over_tcp("ann", "whoami").err
        query = "SELECT kind, principal, decision FROM events WHERE kind LIKE 'token.%' ORDER BY seq"
        rows = site.run("audit", "sql", query, "--json").json["rows"]
        assert [[kind, who] for kind, _, who in rows] == [
            ["token.issued", "ann"],
            ["token.issued", "paul"],
            ["token.revoked", "ann"],
        ]
        assert paul["id"] in {each["id"] for each in site.run("tokens", "list", "--json").json}
        secret = files["paul"].read_text().strip().split(".")[2].encode()
        kept = [path for path in site.folder.rglob("*") if path.is_file() and path != files["paul"]]
        assert [path for path in kept if secret in path.read_bytes()] == []
        assert site.run("down").code == 0
    assert daemon.wait().code == 0


def test_what_cannot_be_is_one_line_before_anything_is_started(sites: Callable[[], Any]) -> None:
    site = sites()
    people = site.folder / "people.toml"
    people.write_text('[users.ann]\ngroups = ["x"]\n')
    people.chmod(0o600)
    done = site.run("up", BAILIWICK_DIRECTORY=str(people))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"in a group 'x' that there is not ({people}:1)" in done.err
    assert site.run("up", BAILIWICK_LISTEN="0.0.0.0:8750").err.startswith("bailiwick: other machines can reach this")
    assert "the runtime of this site runs as nobody" in site.run("up", BAILIWICK_SERVICE_USER="nobody").err
    assert "a token is needed to connect there" in site.run("whoami", "--connect", "127.0.0.1:1").err
