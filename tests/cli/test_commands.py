"""The command line as its users meet it: real processes, a real ledger, real models."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from store import verify as checker

AWKWARD = Path(__file__).parents[1] / "tools" / "awkward_server.py"
SHIPPED = Path(sys.prefix) / "share" / "bailiwick" / "models"


def test_help_lists_every_noun_and_verb(command: Any) -> None:
    done = command("--help")
    assert (done.code, done.err) == (0, "")
    listed = {line.split()[0] for line in done.out.split("Commands:")[1].splitlines() if line.strip()}
    nouns = {
        "runs",
        "workflows",
        "agents",
        "audit",
        "models",
        "tools",
        "policy",
        "approvals",
        "grants",
        "keys",
        "schedules",
    }
    verbs = {"demo", "run", "resume", "up", "down", "status", "halt", "whoami", "doctor", "top", "queues"}
    assert nouns | verbs <= listed


@pytest.mark.parametrize("arguments", [["nix"], ["demo", "--nix"], ["demo", "--approve", "maybe"], ["runs", "show"]])
def test_a_wrong_command_line_is_one_line_and_code_2(command: Any, arguments: list[str]) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("bailiwick: ")
    assert "--help" in done.err
    assert done.err.count("\n") == 1


def test_no_arguments_shows_help(command: Any) -> None:
    assert "Usage: bailiwick" in command().out
    assert "Usage: bailiwick runs" in command("runs").out


def test_version(command: Any) -> None:
    from importlib.metadata import version

    assert command("--version").out.strip() == version("bailiwick-runtime")


def test_top_is_found_through_its_entry_point_and_wants_a_terminal(command: Any) -> None:
    assert "--socket" in command("top", "--help").out
    done = command("top")
    assert (done.code, done.out) == (2, "")
    assert "needs a terminal" in done.err


def test_queues(command: Any, runtime: None) -> None:
    [view] = command("queues", "--json").json
    assert (view["queue"], view["concurrency"], view["running"], view["queued"]) == ("default", None, 0, 0)
    head, row = command("queues").out.splitlines()
    assert (head.split()[:3], row.split()) == (
        ["QUEUE", "RUNNING", "OF"],
        ["default", "0", "any", "any", "any", "any", "0", "-"],
    )


def test_whoami(command: Any) -> None:
    done = command("whoami", "--json", BAILIWICK_TENANT="clinic")
    assert done.json["uid"] == os.geteuid()
    assert done.json["tenant"] == "clinic"


def test_nothing_is_imported_from_the_folder_where_the_command_is_typed(command: Any, tmp_path: Path) -> None:
    typed_in, mark = tmp_path / "typed-in", tmp_path / "imported"
    for name in ("tools", "models", "store", "typer", "duckdb"):
        (typed_in / name).mkdir()
        (typed_in / name / "__init__.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    for path in ("", str(typed_in), f":{typed_in}:"):
        assert command("whoami", PYTHONPATH=path).code == 0
        assert command("models", "list", PYTHONPATH=path).code == 0
        assert command("runs", "list", PYTHONPATH=path).code == 2  # there is no ledger
    assert not mark.exists()


def test_a_hostile_project_file_is_refused(command: Any, tmp_path: Path) -> None:
    (tmp_path / "typed-in" / "bailiwick.toml").write_text("policy = './mine'\n")
    done = command("whoami")
    assert done.code == 2
    assert "a project file may not set 'policy'" in done.err


def test_without_a_ledger_there_is_one_clear_line(command: Any) -> None:
    for arguments in (["runs", "list"], ["audit", "verify"], ["audit", "tail"]):
        done = command(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "there is no ledger yet" in done.err
        assert done.err.count("\n") == 1


def test_verbs_that_need_a_runtime_say_so(command: Any) -> None:
    for arguments in (
        ["status"],
        ["down"],
        ["queues"],
        ["schedules", "list"],
        ["approvals", "list"],
        ["approvals", "approve", "x", "12345678"],
        ["grants", "list"],
    ):
        done = command(*arguments)
        assert (done.code, done.out) == (3, "")
        assert "bailiwick up" in done.err


def test_runs_list_and_show(command: Any, ledger: Path) -> None:
    newest, oldest = command("runs", "list", "--json").json
    assert (newest["run"], newest["status"]) == ("r2bbbb", "interrupted")
    assert (oldest["run"], oldest["status"], oldest["resolved_by"]) == ("r1aaaa", "completed", "model")
    assert (oldest["tokens"], oldest["model_calls"]) == (42, 1)
    assert (oldest["withheld"], oldest["task"], oldest["outcome"]) == (True, "", "")  # they are ada's
    shown = command("runs", "show", "r1", "--payloads", "--json").json
    assert [event["event"]["kind"] for event in shown["trail"]][-1] == "run.ended"
    assert shown["trail"][0]["payload"]["user"]["name"] == "ada"
    missing = command("runs", "show", "r9")
    assert missing.code == 2


def test_a_run_that_nobody_drives_is_called_interrupted_and_how_to_go_on_is_said(command: Any, ledger: Path) -> None:
    done = command("runs", "list")
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [
        ["r2bbbb", "interrupted"],
        ["r1aaaa", "completed"],
    ]
    assert "`bailiwick resume`" in done.err
    assert command("runs", "show", "r2").out.splitlines()[1] == "status: interrupted"


def test_what_was_recorded_cannot_speak_to_the_terminal(command: Any, ledger: Path) -> None:
    for arguments in (["runs", "show", "r1"], ["runs", "show", "r1", "--payloads"], ["audit", "tail", "--payloads"]):
        done = command(*arguments)
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "find out about" in done.out


def test_audit_tail_counts_from_the_end_or_from_a_number(command: Any, ledger: Path) -> None:
    assert len(command("audit", "tail", "-n", "2").out.splitlines()) == 2
    assert len(command("audit", "tail", "--after", "1").out.splitlines()) == 5
    assert len(command("audit", "tail", "--run", "r1").out.splitlines()) == 4


def test_audit_verify_passes_what_was_recorded(command: Any, ledger: Path) -> None:
    assert command("audit", "verify").code == 0
    done = command("audit", "verify", "--json")
    fingerprint = done.json.pop("fingerprint")
    assert (done.code, done.json | {"fingerprint": ""}) == (
        0,
        {
            "ok": True,
            "events": 6,
            "problems": [],
            "unsigned": 0,
            "fingerprint": "",
            "destroyed": 0,
            "locked": "",
            "authenticated": False,
        },
    )
    own = f"no key was pinned; the ledger's own is {fingerprint}"
    assert command("audit", "verify").out == f"ok: 6 events, consistent, unauthenticated: {own}\n"
    assert command("audit", "verify", "--key", fingerprint, "--json").json["authenticated"] is True
    assert command("audit", "verify", "--key", fingerprint.upper()).code == 0
    for key in ("0" * 63, "nix", f"{fingerprint}0", "é" * 64):
        wrong = command("audit", "verify", "--key", key)
        assert (wrong.code, wrong.out, wrong.err.count("\n")) == (2, "", 1)
        assert "no fingerprint of a key" in wrong.err
    assert command("audit", "verify", "--key", fingerprint).out == "ok: 6 events, each as it was recorded\n"
    wrong = command("audit", "verify", "--key", "0" * 64)
    assert (wrong.code, wrong.out) == (7, f"the key is not the pinned one, so all may be forged: it is {fingerprint}\n")


def test_settle_without_a_flag_and_watch_help_say_what_a_user_needs(command: Any) -> None:
    done = command("runs", "settle", "r1")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--happened or --not" in done.err
    assert "Raises" not in command("runs", "watch", "--help").out


def test_a_run_is_exported_and_said_so_as_json(command: Any, ledger: Path, tmp_path: Path) -> None:
    file = tmp_path / "r1.jsonl"
    done = command("runs", "export", "r1", str(file), "--json").json
    assert done == {"run": "r1aaaa", "events": len(file.read_text().splitlines()), "file": str(file)}


@pytest.mark.parametrize(
    "verb",
    [
        *(f"runs {each}" for each in ("cancel", "pause", "resume", "retry", "signal", "answer", "settle", "export")),
        *(f"keys {each}" for each in ("backup", "rotate", "hold", "release")),
        *(f"schedules {each}" for each in ("remove", "pause", "resume")),
        "backup",
        "halt",
    ],
)
def test_whoever_changes_something_can_have_it_said_as_json(command: Any, verb: str) -> None:
    assert "--json" in command(*verb.split(), "--help").out


def test_what_audit_is_not_given_is_said(command: Any, ledger: Path, tmp_path: Path) -> None:
    assert "it is not said what to prove" in command("audit", "prove").err
    file = tmp_path / "file"
    file.touch()
    assert "two proofs" in command("audit", "prove", "1", "--since", str(file)).err
    done = command("audit", "verify", str(file))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "this is a file, not an audit folder" in done.err


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET tokens = tokens + 1 WHERE seq = 5",
        "UPDATE events SET actor = 'reviewer' WHERE seq = 2",
        "UPDATE events SET hash = repeat('0', 64) WHERE seq = 5",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM payloads",
    ],
)
def test_audit_verify_ends_with_7_when_anything_was_changed(command: Any, ledger: Path, change: str) -> None:
    with duckdb.connect(str(ledger / "ledger.duckdb")) as connection:
        connection.execute(change)
    done = command("audit", "verify", "--json")
    assert done.code == 7
    assert not done.json["ok"]
    plain = command("audit", "verify")
    assert plain.code == 7
    assert plain.out.splitlines() == list(done.json["problems"])
    assert plain.err.count("\n") == 1


def test_an_audit_folder_is_exported_and_verified(command: Any, ledger: Path, tmp_path: Path) -> None:
    done = command("audit", "export", "out", "--json")
    assert (done.json["events"], done.json["checkpoints"]) == (7, 2)
    folder, key = str(tmp_path / "typed-in" / "out"), done.json["fingerprint"]
    assert command("audit", "verify", "out", "--key", key).out == "ok: 7 events, each as it was recorded\n"
    assert command("audit", "export", "out").err.startswith("bailiwick: there is something already")
    events = Path(folder, "events.jsonl")
    events.write_bytes(events.read_bytes().replace(b"triage", b"triagf", 1))
    assert command("audit", "verify", folder).code == 7
    Path(folder, "key.txt").unlink()
    assert command("audit", "verify", folder).err.startswith("bailiwick: this is no audit folder")


def test_audit_prove_and_checkpoint_are_checked_without_bailiwick(command: Any, ledger: Path, tmp_path: Path) -> None:
    kept, proof = tmp_path / "kept", tmp_path / "proof"
    done = command("audit", "checkpoint")
    kept.write_text(done.out)
    key = command("audit", "checkpoint", "--json").json
    assert done.err == f"bailiwick: signed with the key {key['fingerprint']}\n"

    def checked(*more: str) -> Any:
        script = [sys.executable, "-I", str(Path(checker.__file__)), str(proof), "--key", key["key"], *more]
        return subprocess.run(script, capture_output=True, text=True, check=False)

    proof.write_text(command("audit", "prove", "5").out)
    assert checked().stdout.startswith("ok: event 5 of 6 is, byte for byte:\n{")
    proof.write_text(command("audit", "prove", "--since", str(kept)).out)
    assert checked("--since", str(kept)).stdout == "ok: the log of 6 events continues that of 6\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "it is not said what to prove"),
        (["5", "--since", "x"], "an event and a checkpoint are two proofs"),
        (["99"], "there is no event 99"),
        (["--since", "none"], "the checkpoint cannot be read: No such file"),
        (["--since", "/dev/null"], "this is no checkpoint of this ledger"),
    ],
)
def test_what_cannot_be_proved_is_one_line(command: Any, ledger: Path, arguments: list[str], said: str) -> None:
    done = command("audit", "prove", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_audit_sql_answers_one_select_and_nothing_else(command: Any, ledger: Path) -> None:
    done = command(
        "audit", "sql", "SELECT kind, count(*) AS n FROM events GROUP BY kind ORDER BY n DESC, kind", "--json"
    )
    assert done.json["columns"] == ["kind", "n"]
    assert done.json["rows"][0] == ["run.started", 2]
    for query in ("DROP TABLE events", "SELECT 1; DROP TABLE events", "SELECT * FROM '/etc/passwd'", "nonsense"):
        assert command("audit", "sql", query).code == 2
    assert command("audit", "verify").code == 0


def test_models_are_listed_added_chosen_checked_and_removed(command: Any, tmp_path: Path) -> None:
    assert {model["kind"] for model in command("models", "list", "--json").json} == {"chat", "embedding"}
    chat = next(model for model in command("models", "list", "--json").json if model["kind"] == "chat")
    copy = tmp_path / "mine.gguf"
    copy.symlink_to(chat["file"])
    assert command("models", "add", str(copy), "--name", "mine", "--json").json["sha256"] == chat["sha256"]
    assert command("models", "use", "mine").code == 0
    assert [m["name"] for m in command("models", "list", "--json").json if m["default"] and m["kind"] == "chat"] == [
        "mine"
    ]
    assert command("models", "verify", "mine").code == 0
    assert command("models", "remove", "mine").code == 0
    assert command("models", "remove", "mine").code == 2
    assert command("models", "add", str(tmp_path / "no.gguf")).code == 2


def test_an_altered_model_is_code_7(command: Any, tmp_path: Path) -> None:
    chat = next(model for model in command("models", "list", "--json").json if model["kind"] == "chat")
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(Path(chat["file"]).read_bytes())
    assert command("models", "add", str(copy), "--name", "mine").code == 0
    with copy.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    done = command("models", "verify", "mine")
    assert done.code == 7
    assert done.err.count("\n") == 1


def test_tools_are_listed_from_a_real_server(command: Any, tmp_path: Path) -> None:
    assert command("tools", "list").code == 2
    (tmp_path / "typed-in" / "t.toml").write_text('[server.none]\ncommand = ["/no/such/program"]\n')
    done = command("tools", "list", "--tools", "t.toml")
    assert done.code == 3
    assert done.err.count("\n") == 1


def test_tools_that_no_runtime_would_take_are_not_listed(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "typed-in" / "t.toml"
    entry = f'[server.odd]\ncommand = ["{{python}}", "-I", "-S", "{AWKWARD}", "", "{tmp_path}"]\n'
    file.write_text(entry)
    assert "odd.echo" in command("tools", "list", "--tools", "t.toml").out
    file.write_text(entry + '[server.odd.tools.echo]\nkey_argument = "key"\nreconcile = "odd.nowhere"\n')
    done = command("tools", "list", "--tools", "t.toml")
    assert (done.code, done.out) == (2, "")
    assert "nobody offers the tool odd.nowhere" in done.err
    file.write_text(entry)
    file.chmod(0o664)
    done = command("tools", "list", "--tools", "t.toml")
    assert done.code == 2
    assert "others can write" in done.err


def test_policy_check(command: Any, tmp_path: Path) -> None:
    assert command("policy", "check").code == 0
    assert command("policy", "check", "lab", "--json").json["ok"]
    bad = tmp_path / "bad.cedar"
    bad.write_text("permit (principal action resource);")
    done = command("policy", "check", str(bad))
    assert done.code == 2
    assert str(bad) in done.out


def test_a_data_folder_that_cannot_be_used_is_one_line(command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("audit", "verify", "--data-dir", str(tmp_path / "file"))
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_debug_shows_where(command: Any) -> None:
    assert "Traceback" in command("runs", "list", "--debug").err
    assert "Traceback" not in command("runs", "list").err
