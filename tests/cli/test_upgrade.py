"""`bailiwick upgrade` as its users meet it, and what it says of open runs."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from store.ledger.ledger import Ledger
from store.records.event import Draft
from store.records.kinds import Kind
from tests.store.earlier import format_1, format_2

WORKFLOW = """
from bailiwick import Run, workflow

@workflow("mine", version=2)
async def mine(run: Run) -> str:
    return "done"
"""


@pytest.fixture
def earlier(ledger: Path) -> Path:
    """The data folder that `command` works on, in format 2, with a run for each way to stand."""
    with Ledger.open(ledger) as opened:

        def append(kind: Kind, run: str, **more: Any) -> None:
            more = {"workflow": "triage", "actor": "core", **more}
            opened.append(Draft(kind=kind, tenant="local", actor_version="1", principal="ada", run=run, **more))

        for run, name, version in (("r3going", "mine", 2), ("r4older", "mine", 1), ("r5gone", "theirs", 1)):
            append(Kind.RUN_SUBMITTED, run, workflow=name)
            append(Kind.RUN_STARTED, run, workflow=name, workflow_version=version)
        for run in ("r6queued", "r7person", "r8signal", "r9paused", "rAparked", "rBcancelled"):
            append(Kind.RUN_SUBMITTED, run)
        for run in ("r7person", "r8signal", "r9paused", "rAparked", "rBcancelled"):
            append(Kind.RUN_STARTED, run, workflow_version=2)
        append(Kind.RUN_SUBMITTED, "rCelsewhere", decision="night")
        append(Kind.APPROVAL_REQUESTED, "r7person", step="3")
        append(Kind.WAIT_BEGUN, "r8signal", step="2")
        append(Kind.RUN_PAUSED, "r9paused")
        append(Kind.RUN_PARKED, "rAparked", decision="indoubt")
        append(Kind.RUN_CANCELLING, "rBcancelled")
    return format_2(ledger)


def test_everything_says_what_to_do_and_check_does_nothing(command: Any, earlier: Path, tmp_path: Path) -> None:
    before = (earlier / "ledger.duckdb").read_bytes()
    for verb in (["runs", "list"], ["audit", "verify"], ["storage"], ["backup", "../copy"], ["keys", "rotate"]):
        refused = command(*verb)
        assert (refused.code, refused.err.count("\n")) == (2, 1), refused
        assert "the ledger has format 2, this version reads 3" in refused.err
        assert "`bailiwick upgrade`" in refused.err
    told = command("upgrade", "--check")
    assert told.code == 0, told.err
    assert told.out.startswith("would be upgraded: from format 2 to 3: ")
    found = command("upgrade", "--check", "--json").json
    assert (found["from"], found["to"], len(found["steps"])) == (2, 3, 1)
    assert "event" not in found
    assert (earlier / "ledger.duckdb").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "home", "run", "typed-in"]


def test_an_upgrade_says_what_becomes_of_each_open_run(command: Any, earlier: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(WORKFLOW)
    mine.chmod(0o600)
    done = command("upgrade", "--json", BAILIWICK_WORKFLOWS=str(mine))
    assert done.code == 0, done.err
    found = done.json
    assert (found["from"], found["to"], found["event"]) == (2, 3, found["events"] + 1)
    assert {each["run"]: (each["then"], each["why"]) for each in found["runs"]} == {
        "r2bbbb": ("goes on", "its workflow is installed in the version that it began with"),
        "r3going": ("goes on", "its workflow is installed in the version that it began with"),
        "r4older": ("parks", "the run began with version 1 of 'mine', and here is version 2"),
        "r5gone": ("parks", "the run's workflow 'theirs' is not installed here"),
        "r6queued": ("begins", "when its queue has a place"),
        "r7person": ("waits", "for a person"),
        "r8signal": ("waits", "for a signal or a time"),
        "r9paused": ("stays paused", "until somebody says `bailiwick runs resume r9paused`"),
        "rAparked": ("is tried again", "it was parked: indoubt"),
        "rBcancelled": ("is cancelled", "somebody has asked for that"),
        "rCelsewhere": ("parks", "the run's queue 'night' is not declared here"),
    }
    assert Path(found["backup"]).parent == tmp_path
    assert Path(found["backup"]).name.startswith("data-2")
    assert command("audit", "verify").code == 0
    assert "ledger.upgraded" in command("audit", "tail", "-n", "1").out
    assert command("runs", "show", "r4older", "--json").code == 0
    again = command("upgrade")
    assert (again.code, again.out) == (0, "nothing to upgrade: the log has format 3\n")
    assert command("upgrade", "--json").json == {"from": 3, "to": 3, "steps": [], "runs": []}


def test_a_run_that_a_restore_parked_stays_so(command: Any, ledger: Path, tmp_path: Path) -> None:
    assert command("backup", str(tmp_path / "copy")).code == 0
    assert command("restore", str(tmp_path / "copy"), "--replace").code == 0
    format_2(ledger)
    [found] = command("upgrade", "--json").json["runs"]
    assert (found["run"], found["then"]) == ("r2bbbb", "stays parked")


def test_the_log_of_version_0_1_and_where_it_is_kept(command: Any, tmp_path: Path) -> None:
    format_1(tmp_path / "data")
    (tmp_path / "there").mkdir()
    refused = command("upgrade", "--backup", "../there")
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert "there is something already" in refused.err
    done = command("upgrade", "--backup", "../kept")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1:] == [
        f"kept as it was in {tmp_path}/typed-in/../kept",
        "5 events are the same as before; event 6 says so",
        "no run is open",
    ]
    assert "not encrypted" in done.err
    shutil.copytree(tmp_path / "kept", tmp_path / "data", dirs_exist_ok=True)  # by hand, and so back again
    assert command("upgrade", "--check", "--json").json["from"] == 1


def test_the_runtime_must_be_stopped(command: Any, runtime: None) -> None:
    for more in ([], ["--check"]):
        refused = command("upgrade", *more)
        assert (refused.code, refused.err.count("\n")) == (3, 1)
        assert "the data folder is in use by process PID" in refused.err


def test_where_there_is_nothing_there_is_nothing_to_upgrade(command: Any) -> None:
    refused = command("upgrade")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "there is no ledger yet" in refused.err


def test_a_workflow_file_that_fails_is_told_before_anything_is_done(
    command: Any, earlier: Path, tmp_path: Path
) -> None:
    before = (earlier / "ledger.duckdb").read_bytes()
    (tmp_path / "bad.py").write_text("import nothing_of_that_name")
    (tmp_path / "bad.py").chmod(0o600)
    refused = command("upgrade", BAILIWICK_WORKFLOWS=str(tmp_path / "bad.py"))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "the workflow file fails" in refused.err
    assert (earlier / "ledger.duckdb").read_bytes() == before
