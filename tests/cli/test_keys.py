"""`bailiwick keys` as its users meet it: with a runtime and without, with keys lost and brought back."""

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from store.ledger.ledger import Ledger
from store.records.event import Draft
from store.records.kinds import Kind

COMMAND = str(Path(os.sys.executable).parent / "bailiwick")
TASK = b"find out about r1aaaa"


@pytest.fixture
def words(tmp_path: Path) -> str:
    """A file with a passphrase."""
    path = tmp_path / "words"
    path.touch(mode=0o600)
    path.write_text("correct horse\nand more\n")
    return str(path)


def site_keys(folder: Path) -> list[Path]:
    return list((folder / "keys").glob("site-*"))


def test_no_file_of_the_data_folder_holds_a_task(command: Any, ledger: Path) -> None:
    assert not [path for path in ledger.rglob("*") if path.is_file() and TASK in path.read_bytes()]
    assert "find out about r1aaaa" in command("runs", "show", "r1").out


def test_list_tells_whose_content_each_key_is_for_and_no_key(command: Any, ledger: Path) -> None:
    found = command("keys", "list", "--json")
    (record,) = found.json["keys"]
    assert (record["tenant"], record["user"], record["retention"], record["retired"]) == (
        "local",
        "ada",
        "standard",
        False,
    )
    assert found.json["site"]["source"] == "file"
    (key,) = site_keys(ledger)
    for secret in (key.read_bytes().hex(), key.read_bytes()):
        assert str(secret) not in found.out
    assert record["id"] in command("keys", "list").out


@pytest.fixture
def all_ended(ledger: Path) -> Path:
    """The same data folder, and no run in it is open."""
    with Ledger.open(ledger) as opened:
        (run,) = opened.open_runs()
        end = {"kind": Kind.RUN_ENDED, "decision": "cancelled", "principal": run.principal}
        opened.append(Draft(run=run.run, tenant=run.tenant, actor="core", actor_version="1", **end)).wait()
    return ledger


def test_what_an_open_run_needs_is_not_shredded(command: Any, ledger: Path) -> None:
    refused = command("keys", "shred", "--tenant", "local", "--user", "ada")
    assert (refused.code, refused.out) == (5, "")
    assert "an open run needs it: tenant local, user ada (run r2bbbb); cancel the open one first" in refused.err


@pytest.mark.parametrize("holder", [False, True])
def test_hold_release_and_shred_work_with_a_runtime_and_without(
    command: Any, all_ended: Path, holder: bool, request: pytest.FixtureRequest
) -> None:
    if holder:
        request.getfixturevalue("runtime")
    held = command("keys", "hold", "--tenant", "local", "--user", "ada", "--reason", "case 17")
    assert (held.code, held.out) == (0, "held since event 8\n")
    refused = command("keys", "shred", "--tenant", "local")
    assert (refused.code, refused.out) == (5, "")
    assert "it is held: tenant local, user ada (event 8 of " in refused.err
    assert command("keys", "release", "--tenant", "local").code == 2
    assert command("keys", "release", "--tenant", "local", "--user", "ada").code == 0
    (gone,) = command("keys", "shred", "--tenant", "local", "--user", "ada", "--json").json
    assert (gone["payloads"], gone["keys"], gone["events"]) == (4, 1, [10])
    tail = command("audit", "tail", "-n", "100", "--payloads")
    assert "the content was destroyed (event 10 says so)" in tail.out
    assert "case 17" in tail.out
    assert "find out" not in tail.out + command("runs", "list").out
    verified = command("audit", "verify")
    assert verified.code == 0
    assert "4 payloads are destroyed, as it says" in verified.out
    again = command("keys", "shred", "--tenant", "local", "--user", "ada")
    assert again.code == 2
    assert "there is no content (tenant local, user ada)" in again.err


@pytest.mark.parametrize("holder", [False, True])
def test_holds_are_listed_until_they_are_released_and_the_look_is_on_record(
    command: Any, ledger: Path, holder: bool, request: pytest.FixtureRequest
) -> None:
    if holder:
        request.getfixturevalue("runtime")
    assert command("keys", "list", "--json").json["holds"] == []
    done = command("keys", "hold", "--tenant", "local", "--user", "ada", "--reason", "case 17", "--json")
    assert done.json == {"held": {"tenant": "local", "user": "ada", "retention": None}, "event": 7}
    assert done.err == ""
    nobody = command("keys", "hold", "--tenant", "nobody", "--reason", "case 18")
    assert (nobody.code, nobody.out, nobody.err.count("\n")) == (0, "held since event 8\n", 1)
    assert "there is no content yet of tenant nobody" in nobody.err
    ours, other = command("keys", "list", "--json").json["holds"]
    assert (ours["scope"]["user"], ours["event"], ours["reason"]) == ("ada", 7, "case 17")
    assert ours["by"]
    assert ours["since"]
    assert (other["scope"]["tenant"], other["scope"]["user"]) == ("nobody", None)
    assert "holds" in command("audit", "tail", "-n", "1").out
    listed = command("keys", "list").out.split("HELD SINCE EVENT")[1]
    assert "case 17" in listed
    assert "case 18" in listed
    missing = command("keys", "release", "--tenant", "local")
    assert (missing.code, "`bailiwick keys list` shows them" in missing.err) == (2, True)
    gone = command("keys", "release", "--tenant", "nobody", "--json").json
    assert (gone["released"]["tenant"], gone["event"]) == ("nobody", 11)
    assert [each["event"] for each in command("keys", "list", "--json").json["holds"]] == [7]


def test_a_sweep_takes_nothing_unless_a_setting_says_so(command: Any, ledger: Path) -> None:
    assert command("keys", "sweep").out == "nothing is out of date\n"
    wrong = command("keys", "sweep", BAILIWICK_RETENTION_DAYS='{"standard": -1}')
    assert wrong.code == 2
    assert "retention_days" in wrong.err


def test_rotate_renews_the_site_key_and_needs_the_runtime_stopped(command: Any, ledger: Path, runtime: None) -> None:
    done = command("keys", "rotate")
    assert done.code == 3
    assert "the data folder is in use by process PID" in done.err
    assert done.err.count("\n") == 1


def test_rotate_renews_the_site_key_or_the_data_keys(command: Any, ledger: Path) -> None:
    (before,) = site_keys(ledger)
    secret = before.read_bytes()
    renewed = command("keys", "rotate", "--json").json
    assert (renewed["rotated"], renewed["site"]["source"], renewed["event"]) == ("site", "file", 7)
    (after,) = site_keys(ledger)
    assert after.read_bytes() != secret
    done = command("keys", "rotate", "--data").out
    assert done == "new content of tenant local gets new data keys; the old ones open what there is (event 8)\n"
    assert [each["retired"] for each in command("keys", "list", "--json").json["keys"]] == [True]
    kinds = [line.split()[3:5] for line in command("audit", "tail", "-n", "2").out.splitlines()]
    assert kinds == [["keys.rotated", "site"], ["keys.rotated", "data"]]
    assert command("audit", "verify").code == 0
    assert command("keys", "rotate", "--data", "--source", "file").code == 2


def test_a_passphrase_from_a_file_opens_content_and_without_it_the_rest_is_read(
    command: Any, ledger: Path, words: str
) -> None:
    assert command("keys", "rotate", "--source", "passphrase", "--passphrase-file", words).code == 0
    assert site_keys(ledger) == []
    assert "find out" in command("runs", "show", "r1", BAILIWICK_PASSPHRASE_FILE=words).out
    verified = command("audit", "verify")
    assert verified.code == 0
    assert "no content was opened: the site key needs its passphrase" in verified.err
    refused = command("audit", "tail", "--payloads")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    Path(words).chmod(0o644)
    assert "can be read by others" in command("runs", "show", "r1", BAILIWICK_PASSPHRASE_FILE=words).err


def test_a_passphrase_is_asked_for_at_the_terminal_and_not_shown(ledger: Path, command: Any, words: str) -> None:
    assert command("keys", "rotate", "--source", "passphrase", "--passphrase-file", words).code == 0
    ours, theirs = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "HOME": str(ledger.parent / "home"), "BAILIWICK_DATA_DIR": str(ledger)}
    environ |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    with subprocess.Popen(
        [COMMAND, "runs", "show", "r1"], env=environ, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
        text=True, start_new_session=True,
    ) as child:  # fmt: skip
        assert b"passphrase of the site key: " in os.read(ours, 1000)
        os.write(ours, b"correct horse\n")
        out, _ = child.communicate()
    assert child.returncode == 0
    assert "find out about" in out
    os.close(theirs)
    os.close(ours)


def test_a_lost_site_key_is_told_and_a_backup_brings_it_back(command: Any, ledger: Path, words: str) -> None:
    file = str(ledger.parent / "keys.backup")
    assert command("keys", "backup", file, "--passphrase-file", words, "--json").json["backup"] == file
    assert Path(file).stat().st_mode & 0o777 == 0o600
    (key,) = site_keys(ledger)
    secret = key.read_bytes()
    assert secret.hex().encode() not in Path(file).read_bytes()
    assert command("keys", "backup", file, "--passphrase-file", words).code == 2
    assert command("keys", "init", "--from", file, "--passphrase-file", words).code == 2  # nothing is missing
    key.unlink()
    lost = command("audit", "tail", "--payloads")
    assert (lost.code, lost.err.count("\n")) == (7, 1)
    assert "the site key is missing: content cannot be opened" in lost.err
    assert command("runs", "list").code == 0
    assert command("audit", "verify").code == 0
    assert command("keys", "shred", "--tenant", "local").code == 7
    wrong = ledger.parent / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("wrong")
    refused = command("keys", "init", "--from", file, "--passphrase-file", str(wrong))
    assert (refused.code, site_keys(ledger)) == (7, [])
    assert command("keys", "init", "--from", file, "--passphrase-file", words).code == 0
    assert key.read_bytes() == secret
    assert "find out" in command("runs", "show", "r1").out


def test_a_backup_does_not_bring_back_what_was_shredded(command: Any, all_ended: Path, words: str) -> None:
    file = str(all_ended.parent / "keys.backup")
    assert command("keys", "backup", file, "--passphrase-file", words).code == 0
    assert command("keys", "shred", "--tenant", "local", "--user", "ada").code == 0
    older = command("keys", "init", "--from", file, "--passphrase-file", words)
    assert older.code == 7
    assert "older than the site key" in older.err
    for path in (all_ended / "keys").iterdir():
        path.unlink()
    assert command("keys", "init", "--from", file, "--passphrase-file", words).code == 0
    assert "ada" not in [each["user"] for each in command("keys", "list", "--json").json["keys"]]


def test_init_makes_keys_before_the_first_start_and_never_over_others(command: Any, tmp_path: Path, words: str) -> None:
    assert command("keys", "list").code == 2
    stick = tmp_path / "stick"
    done = command("keys", "init", BAILIWICK_SITE_KEY_DIR=str(stick))
    assert done.code == 2
    assert "site_key_dir" in done.err
    stick.mkdir()
    assert command("keys", "init", BAILIWICK_SITE_KEY_DIR=str(stick)).code == 0
    assert len(list(stick.iterdir())) == 1
    assert "a keystore already" in command("keys", "init", BAILIWICK_SITE_KEY_DIR=str(stick)).err
    for file in ("/nowhere", words):
        done = command("keys", "init", "--from", file, "--passphrase-file", words)
        assert (done.code, done.err.count("\n")) == (2 if file == "/nowhere" else 7, 1), done.err


def test_the_keyring_that_is_not_there_is_one_line(command: Any) -> None:
    done = command("keys", "init", "--source", "keyring")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "pip install keyring" in done.err


@pytest.mark.parametrize(
    "typed",
    [("keys", "init"), ("keys", "list"), ("keys", "backup", "b"), ("keys", "rotate"), ("restore", "b"), ("upgrade",)],
)
def test_what_is_done_to_the_files_of_this_machine_is_not_done_to_them_for_another(
    command: Any, ledger: Path, typed: tuple[str, ...]
) -> None:
    before = (ledger / "keys/keystore.json").read_bytes()
    for flags, more, where in (
        (["--connect", "127.0.0.1:1"], {}, "(flag --connect)"),
        ([], {"BAILIWICK_CONNECT": "127.0.0.1:1"}, "(setting connect)"),
    ):
        done = command(*typed, *flags, **more)
        assert (done.code, done.out, done.err.count("\n"), where in done.err) == (2, "", 1, True), done.err
    assert (ledger / "keys/keystore.json").read_bytes() == before
