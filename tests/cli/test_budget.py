"""`bailiwick budget` and `bailiwick costs` as their users meet them, with a runtime and without."""

from pathlib import Path
from typing import Any

import pytest

from store.ledger.ledger import Ledger
from store.records.event import Draft
from store.records.kinds import Kind

RATES = 'budget_zone = "Europe/Zurich"\n[rates]\ncurrency = "CHF"\nper_device_second = 5\n'


@pytest.fixture
def rates(tmp_path: Path, command: Any) -> None:
    """A user file with rates."""
    folder = tmp_path / "home/.config/bailiwick"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "bailiwick.toml").write_text(RATES)
    (folder / "bailiwick.toml").chmod(0o600)


def rows(done: Any) -> list[list[str]]:
    """The rows of a table, without its head, each by its columns."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in done.out.splitlines()[1:]]


def test_budgets_are_set_before_the_first_run_and_listed(command: Any, rates: None) -> None:
    assert command("budget", "list").code == 2, "there is no ledger"
    limits = ("--tokens", "5000", "--device-seconds", "1.5", "--money", "12.50", "--calls", "none")
    done = command("budget", "set", "unit", "plant 7", "--every", "month", *limits)
    assert (done.code, done.out) == (
        0,
        "unit plant 7, every month: no limit, 5,000 tokens, 1.500 s, 12.50 CHF\n",
    ), done.err
    assert command("budget", "set", "agent", "*", "--every", "day", "--calls", "7").code == 0
    found = {(each["holder"], each["name"], each["every"]): each for each in command("budget", "list", "--json").json}
    plant = found["unit", "plant 7", "month"]
    assert plant["limit"] == {"tokens": 5_000, "device_ms": 1_500, "cost_micros": 12_500_000}
    assert plant["used"] == plant["held"] == {"calls": 0, "tokens": 0, "device_ms": 0, "cost_micros": 0}
    assert (plant["set_by"] != "", found["run", "*", "run"]["set_by"]) == (True, "")
    assert found["agent", "*", "day"]["limit"] == {"calls": 7}
    listed = rows(command("budget", "list"))
    assert ["unit plant 7", "month", "12.50 CHF", "0.00 CHF", "0.00 CHF", "local", plant["set_by"]] in listed
    assert ["run *", "run", "20,000 tokens", "-", "-", "local", "default"] in listed


def test_what_was_set_for_each_is_no_default_of_whom_it_is_for(command: Any, ledger: Path) -> None:
    with Ledger.open(ledger) as opened:
        common = {"tenant": "local", "actor": "worker", "actor_version": "1", "principal": "ada", "run": "r1aaaa"}
        opened.append(Draft(kind=Kind.MODEL_CALLED, tokens=8, **common))  # type: ignore[arg-type]

    def setters() -> list[str]:
        found = command("budget", "list", "--json").json
        return [each["set_by"] for each in found if each["holder"] == "user" and each["every"] == "day"]

    assert setters() == ["", ""], "each user's, and ada's"
    assert command("budget", "set", "user", "*", "--every", "day", "--calls", "7").code == 0
    assert setters() == [command("whoami", "--json").json["name"]] * 2


@pytest.mark.parametrize("typed", [["list"], ["set", "user", "*", "--every", "day", "--calls", "3"]])
def test_the_budgets_of_a_runtime_elsewhere_are_not_those_of_this_machine(
    command: Any, ledger: Path, typed: list[str]
) -> None:
    before = (ledger / "journal.0").read_bytes()
    done = command("budget", *typed, "--connect", "127.0.0.1:1")
    assert (done.code, done.out) == (2, "")
    assert "a token is needed to connect there (127.0.0.1:1)" in done.err
    assert (ledger / "journal.0").read_bytes() == before


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["user", "a", "--every", "day"], "sets no limit"),
        (["user", "a", "--every", "day", "--tokens", "1.5"], "'1.5' is no limit"),
        (["user", "a", "--every", "day", "--tokens", "-1"], "'-1' is no limit"),
        (["user", "a", "--every", "day", "--money", "0.0000001"], "at most 6 decimals"),
        (["user", "a", "--every", "day", "--calls", "٣"], "is no limit"),
        (["user", "a", "--every", "week", "--calls", "1"], "week"),
        (["group", "a", "--every", "day", "--calls", "1"], "group"),
        (["tenant", "another", "--every", "day", "--calls", "1"], "not yours to set"),
        (["user", "", "--every", "day", "--calls", "1"], "for somebody"),
        (["user", "a", "--every", "day", "--money", "1"], "no rates"),
    ],
)
def test_a_budget_that_cannot_be_is_one_clear_line(command: Any, typed: list[str], said: str) -> None:
    done = command("budget", "set", *typed)
    assert (done.code, said in done.err, "Traceback" in done.err) == (2, True, False), done.err


@pytest.mark.parametrize("holder", [False, True])
def test_costs_sum_up_what_the_ledger_has(
    command: Any, rates: None, ledger: Path, holder: bool, request: pytest.FixtureRequest
) -> None:
    with Ledger.open(ledger) as opened:
        common = {"tenant": "local", "actor": "worker", "actor_version": "1", "principal": "ada", "run": "r1aaaa"}
        opened.append(Draft(kind=Kind.MODEL_CALLED, tokens=8, device_ms=500, cost_micros=2_500, **common))  # type: ignore[arg-type]
        alert = {"workflow": "triage", "decision": "raised", "step": "2500 1000 1"}
        opened.append(Draft(kind=Kind.COST_ALERT, tenant="local", actor="core", actor_version="1", **alert))  # type: ignore[arg-type]
    if holder:
        request.getfixturevalue("runtime")
    [found] = command("costs", "--json").json
    expected = {"runs": 2, "successful": 1, "tokens": 50, "device_ms": 507, "cost_micros": 2_500}
    assert {name: found[name] for name in expected} == expected
    assert (found["tenant"], found["key"], found["micros_per_success"]) == ("local", "triage", 2_500)
    assert rows(command("costs", "--by", "agent")) == [
        ["core", "local", "1", "1", "0", "42", "0.007", "0.00 CHF", "0.00 CHF"],
        ["worker", "local", "1", "1", "0", "8", "0.500", "0.0025 CHF", "0.0025 CHF"],
    ]
    assert command("costs", "--until", "2020-01-31", "--json").json == []
    assert command("costs", "--since", "2020-01-31", "--until", "2999-01-31", "--json").json == [found]
    listed = command("runs", "list")
    assert "triage costs 0.0025 CHF for each success of the last 1, and 0.001 CHF is expected" in listed.err


@pytest.mark.parametrize(
    ("flag", "date"),
    [("until", "yesterday"), ("since", "2026-02-30"), ("until", "9999-12-31"), ("since", "0001-01-01")],
)
def test_a_date_that_is_none_is_one_clear_line(command: Any, rates: None, flag: str, date: str) -> None:
    done = command("costs", f"--{flag}", date)
    assert (done.code, "is no date" in done.err) == (2, True)


def test_costs_of_no_day_are_one_clear_line(command: Any, ledger: Path) -> None:
    assert command("costs", "--since", "2026-11-05", "--until", "2026-11-05").code == 0
    done = command("costs", "--since", "2026-11-05", "--until", "2026-11-01")
    assert (done.code, "--until 2026-11-01 is before --since 2026-11-05" in done.err) == (2, True)
