"""`--connect` and `--data-dir`: a verb that would ignore one refuses it; a setting is in no verb's way."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer

from runtime.cli.app import build
from runtime.cli.site import Site
from store.records.errors import SettingsError

ELSEWHERE = "127.0.0.1:1"
NOTHING = {
    *("redteam", "tools list", "tools show", "agents list", "agents show"),
    *("workflows list", "workflows new", "workflows check", "policy check", "policy test", "policy diff"),
}
FOLDER = {
    *("doctor", "demo", "top", "workflows show"),
    *("models list", "models add", "models use", "models verify", "models remove"),
}


def verbs(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every verb below a group, by what one types for it."""
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from verbs(command, *path, name)
        else:
            yield " ".join((*path, name)), command


def needed(command: Any) -> list[str]:
    """The arguments and options that a verb cannot do without."""
    values = {"holder": "user", "every": "day"}
    return [
        word
        for each in command.params
        if each.required
        for word in (*(each.opts[:1] if each.opts[0].startswith("-") else ()), values.get(each.name, "x"))
    ]


def refusing(flag: str) -> set[str]:
    """The verbs that refuse a flag; in nobody else's help is it missing."""
    group = typer.main.get_command(build())
    found = set()
    for name, command in verbs(group):
        [option] = [each for each in command.params if flag in each.opts]
        with pytest.raises(SettingsError, match=f"flag {flag}") if option.hidden else nullcontext():
            group([*name.split(), *needed(command), flag, ELSEWHERE], standalone_mode=False)
        found |= {name} if option.hidden else set()
    return found


def test_every_verb_that_would_ignore_a_flag_refuses_it() -> None:
    assert refusing("--connect") == NOTHING | FOLDER
    assert refusing("--data-dir") == NOTHING


@pytest.mark.parametrize(
    "typed",
    [
        ("policy", "check", "--connect", ELSEWHERE),
        ("doctor", "--connect", ELSEWHERE),
        ("top", "--connect", ELSEWHERE),
        ("redteam", "--data-dir", "d"),
        ("audit", "verify", "d", "--connect", ELSEWHERE),
        ("audit", "verify", "d", "--data-dir", "d"),
        ("policy", "explain", "--tool", "a.b", "--connect", ELSEWHERE),
        ("policy", "explain", "--tool", "a.b", "--data-dir", "d"),
        ("backup", "d", "--with-keys", "--connect", ELSEWHERE),
        ("up", "--connect", ELSEWHERE),
        ("runs", "list", "--connect", ELSEWHERE, "--data-dir", "d"),
        ("top", "--socket", "s", "--data-dir", "d"),
    ],
)
def test_a_flag_that_would_change_nothing_is_one_line_and_code_2(command: Any, typed: tuple[str, ...]) -> None:
    done = command(*typed)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert "(flag --" in done.err or "(flags --data-dir and --socket)" in done.err
    assert done.err.rstrip().split("; ")[1].startswith(("leave it out", "give one"))


@pytest.mark.parametrize(
    "typed", ["policy check", "policy test", "agents list", "workflows list", "models list --json"]
)
def test_a_setting_that_names_a_runtime_elsewhere_is_in_no_ones_way(command: Any, typed: str) -> None:
    done = command(*typed.split(), BAILIWICK_CONNECT=ELSEWHERE)
    assert (done.code, done.err) == (0, "")


def test_what_works_on_this_machine_asks_the_runtime_here(command: Any, runtime: None) -> None:
    done = command("models", "list", "--json", BAILIWICK_CONNECT=ELSEWHERE)
    assert (done.err, [each["loaded"] is None for each in done.json]) == ("", [False, False])


def test_a_folder_is_not_exchanged_for_a_runtime_that_a_setting_names(
    command: Any, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command("runs", "list", "--data-dir", str(ledger), BAILIWICK_CONNECT=ELSEWHERE)
    assert (done.code, done.out, f"the runtime at {ELSEWHERE} has a data folder of its own" in done.err) == (
        2,
        "",
        True,
    )
    there = command("runs", "list", "--data-dir", str(ledger), "--connect", "", BAILIWICK_CONNECT=ELSEWHERE)
    assert (there.code, "r1aaaa" in there.out) == (0, True)
    monkeypatch.setenv("BAILIWICK_CONNECT", ELSEWHERE)
    monkeypatch.chdir(tmp_path)
    settings = Site(data_dir=ledger).on("folder").settings()
    assert (settings.connect, settings.data_dir) == ("", ledger)


def test_a_hold_elsewhere_does_not_look_at_the_keys_of_this_machine(command: Any) -> None:
    done = command("keys", "hold", "--tenant", "acme", "--reason", "case 17", "--connect", ELSEWHERE)
    assert (done.code, "a token is needed to connect there" in done.err) == (2, True), done.err
