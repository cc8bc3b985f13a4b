"""Who one is and who else there is, on the command line, without a runtime."""

import os
from pathlib import Path
from typing import Any

import pytest

PEOPLE = f"""\
[roles]
requester = ["staff"]
[groups.staff]
[users.me]
uid = {os.getuid()}
groups = ["staff"]
unit = "plant-2"
[users.ann]
name = "Ann Smith"
mail = ["ann@example.org"]
groups = ["staff"]
[users.eve]
tenant = "other"
"""


@pytest.fixture
def people(tmp_path: Path) -> str:
    file = tmp_path / "people.toml"
    file.write_text(PEOPLE)
    file.chmod(0o600)
    return str(file)


def test_whoami_is_what_the_directory_says(command: Any, people: str) -> None:
    found = command("whoami", "--json", BAILIWICK_DIRECTORY=people).json
    assert found == {
        "name": "me",
        "uid": os.getuid(),
        "tenant": "local",
        "unit": "plant-2",
        "groups": ["staff"],
        "roles": ["requester"],
        "mode": "personal",
        "source": f"the directory {people}",
    }
    assert "source: the directory" in command("whoami", BAILIWICK_DIRECTORY=people).out


def test_an_owner_whom_the_directory_does_not_name_was_not_found_there(command: Any, people: str) -> None:
    Path(people).write_text(PEOPLE.replace(f"uid = {os.getuid()}", "uid = 4000000"))
    found = command("whoami", "--json", BAILIWICK_DIRECTORY=people).json
    assert ("admin" in found["roles"], found["source"]) == (True, "the operating system's users and groups")


def test_users_of_ones_own_tenant_are_listed(command: Any, people: str) -> None:
    listed = command("users", "list", "--json", BAILIWICK_DIRECTORY=people).json
    assert [(each["name"], each["roles"]) for each in listed] == [("ann", ["requester"]), ("me", ["requester"])]
    assert "Ann Smith" in command("users", "list", BAILIWICK_DIRECTORY=people).out
    assert "ann@example.org" in command("users", "show", "ann", BAILIWICK_DIRECTORY=people).out
    done = command("users", "show", "eve", BAILIWICK_DIRECTORY=people)
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_without_a_directory_there_are_no_users_to_list(command: Any) -> None:
    done = command("users", "list")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("bailiwick: this site has no directory")


@pytest.mark.parametrize("text", ["8", "h", "0h", "8 h", "1w", "-1h", "1e3s", "99999999d"])
def test_what_is_no_time(command: Any, text: str) -> None:
    done = command("tokens", "issue", "ann", "--expires", text)
    assert (done.code, "is no time" in done.err) == (2, True)


def test_tokens_need_a_runtime(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    done = command("tokens", "issue", "ann", "--expires", "8h", "--to", str(file))
    assert (done.code, file.exists()) == (3, False)


@pytest.mark.parametrize(("name", "value"), [("role_groups", '{"owner": "x"}'), ("service_user", "../x")])
def test_a_setting_that_cannot_be(command: Any, name: str, value: str) -> None:
    done = command("whoami", **{f"BAILIWICK_{name.upper()}": value})
    assert (done.code, done.err.count("\n"), name in done.err) == (2, 1, True)
