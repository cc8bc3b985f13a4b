"""`--json`: every verb that changes something says as JSON what it did, and tells no more than in words."""

from pathlib import Path
from typing import Any

import pytest
import typer

from runtime.cli.app import build

SPEAKS_NONE = {"up", "top", "runs watch", "audit report", "audit trace"}
"""In the foreground, a page for people, or JSON in any case."""


def without_json(group: Any, *path: str) -> set[str]:
    """The verbs below a group that do not take the flag."""
    context, found = typer.Context(group), set()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            found |= without_json(command, *path, name)
        elif not any("--json" in each.opts for each in command.params):
            found.add(" ".join((*path, name)))
    return found


def test_only_few_verbs_have_no_json() -> None:
    assert without_json(typer.main.get_command(build())) == SPEAKS_NONE


def test_a_budget(command: Any) -> None:
    done = command("budget", "set", "user", "*", "--every", "day", "--calls", "7", "--json")
    assert (done.code, done.out.count("\n")) == (0, 1), done.err
    assert done.json == {"holder": "user", "name": "*", "every": "day", "limit": {"calls": 7}}


def test_a_new_workflow(command: Any, tmp_path: Path) -> None:
    done = command("workflows", "new", "a_flow.py", "--json")
    files = [tmp_path / "typed-in" / name for name in ("a_flow.py", "test_a_flow.py")]
    assert (done.json, all(file.exists() for file in files)) == ({"files": [str(file) for file in files]}, True)


def test_new_keys(command: Any) -> None:
    made = command("keys", "init", "--json").json
    listed = command("keys", "list", "--json").json
    assert made == {"site": listed["site"], "restored": False}
    assert made["site"]["source"] == "file"


YES = {"approval": "a1b2c3", "run": "r2bbbb", "tool": "ops.move", "yes": True, "waits": True}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("approvals approve a1 dddddddd", YES),
        ("approvals deny a1", {**YES, "yes": False, "waits": False}),
        ("grants revoke g1 --reason over", {"revoked": "g1"}),
        ("tokens revoke 3f", {"revoked": "3f9c"}),
        ("runs fork r2bbbb 2", {"run": "r3cccc", "effects": [["1", "ops.move"]], "again": []}),
        (
            "tokens issue ann --expires 8h",
            {"token": "the-secret", "id": "3f9c", "expires": "2026-11-01T08:00:00+00:00", "user": "ann"},
        ),
    ],
)
def test_what_a_runtime_did(command: Any, runtime: None, typed: str, said: dict[str, Any]) -> None:
    done = command(*typed.split(), "--json")
    assert (done.code, done.err, done.out.count("\n"), done.json) == (0, "", 1, said)


def test_what_a_yes_needs_has_one_name(command: Any, runtime: None) -> None:
    shown = command("approvals", "show", "a1", "--json").json
    assert (shown["digest"], "binding" in shown) == ("d" * 64, False)
    assert f"digest: {'d' * 64}" in command("approvals", "show", "a1").out.splitlines()


def test_in_words_it_is_as_it_was(command: Any, runtime: None) -> None:
    others = "it waits for others: 2 people; yes from nobody yet"
    assert command("approvals", "approve", "a1", "d" * 8).out == f"approved: ops.move (a1b2c3)\n{others}\n"
    assert command("tokens", "issue", "ann", "--expires", "8h").out == "the-secret\n"


def test_a_token_in_a_file_is_not_told_on_stdout(command: Any, runtime: None, tmp_path: Path) -> None:
    file = tmp_path / "ann.token"
    done = command("tokens", "issue", "ann", "--expires", "8h", "--to", str(file), "--json")
    expected = {"id": "3f9c", "expires": "2026-11-01T08:00:00+00:00", "user": "ann", "file": str(file)}
    assert (done.code, done.json) == (0, expected)
    assert ("the-secret" in done.out + done.err, file.read_text()) == (False, "the-secret\n")


def test_counters_are_one_thing_or_the_other(command: Any, runtime: None) -> None:
    done = command("status", "--json", "--metrics")
    assert (done.code, done.out, "give one" in done.err) == (2, "", True)
