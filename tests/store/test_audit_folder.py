"""The verifier on an audit folder: every way to change one, each caught and named, by one file without Bailiwick."""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.audit_folder import export
from runtime.queries import LedgerQueries
from store import verify as checker
from store.keys.scope import Scope
from store.ledger.ledger import Ledger
from store.records.canonical import canonical
from store.records.errors import SettingsError
from store.verify import (
    CHECKPOINTS_FILE,
    DESTROYED_FILE,
    EVENTS_FILE,
    KEY_FILE,
    TILES_FOLDER,
    Checkpoint,
    Key,
    Peaks,
    audit,
    leaf_hash,
)

EVENTS = 8


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, draft) -> Path:
    """The export of a ledger of two epochs, with two checkpoints."""
    folder = tmp_path_factory.mktemp("audit")
    for epoch in range(2):
        with Ledger.open(folder / "data") as ledger:
            for number in range(EVENTS // 2):
                ledger.append(draft(actor="worker" if number % 2 else "core", step=f"{epoch}.{number}"), {"n": number})
    with Ledger.open(folder / "data", read_only=True) as ledger:
        found = asyncio.run(export(LedgerQueries(ledger), folder / "out"))
        assert (found.events, found.checkpoints, found.problems) == (EVENTS, 2, ())
    return folder / "out"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def edit(folder: Path, name: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = (folder / name).read_bytes().splitlines()
    (folder / name).write_bytes(b"".join(line + b"\n" for line in change(lines)))


def replaced(seq: int, **more: object) -> Callable[[list[bytes]], list[bytes]]:
    """Event `seq` with other fields."""

    def change(lines: list[bytes]) -> list[bytes]:
        lines[seq - 1] = canonical(json.loads(lines[seq - 1]) | more)
        return lines

    return change


def rebuild(folder: Path) -> bytes:
    """The tree anew; its root."""
    shutil.rmtree(folder / TILES_FOLDER)
    peaks, leaves = Peaks(), [leaf_hash(line) for line in (folder / EVENTS_FILE).read_bytes().splitlines()]
    for leaf in leaves:
        peaks.append(leaf)
    tile = folder / TILES_FOLDER / "0" / "000.p" / str(len(leaves))
    tile.parent.mkdir(parents=True)
    tile.write_bytes(b"".join(leaves))
    return peaks.root()


def forge(folder: Path) -> None:
    """Everything anew under a key of the forger's own."""
    secret = Ed25519PrivateKey.generate()
    name = Key.parse((folder / KEY_FILE).read_text()).name
    key = Key(name, secret.public_key().public_bytes_raw())
    (folder / KEY_FILE).write_text(str(key))
    lines = (folder / EVENTS_FILE).read_bytes().splitlines()
    lines[-1] = canonical(json.loads(lines[-1]) | {"decision": "allow"})
    edit(folder, EVENTS_FILE, lambda _: lines)
    text = str(Checkpoint(name, len(lines), rebuild(folder)))
    signature = base64.b64encode(key.id + secret.sign(text.encode())).decode()
    note = f"{text}\n\u2014 {name} {signature}\n"
    edit(folder, CHECKPOINTS_FILE, lambda _: [json.dumps({"note": note}).encode()])


def test_the_folder_holds_what_it_says(folder: Path) -> None:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "events.parquet").to_pylist()
    lines = [json.loads(line) for line in (folder / EVENTS_FILE).read_bytes().splitlines()]
    assert [row | {"labels": json.loads(row["labels"])} for row in table] == lines
    assert [line["seq"] for line in lines] == list(range(1, EVENTS + 1))
    assert {path.name for path in folder.iterdir()} == {
        EVENTS_FILE,
        CHECKPOINTS_FILE,
        DESTROYED_FILE,
        TILES_FOLDER,
        KEY_FILE,
        "events.parquet",
        "verify.py",
    }


def test_the_tree_is_there_as_tiles_that_tlog_tiles_names(folder: Path) -> None:
    leaves = b"".join(leaf_hash(line) for line in (folder / EVENTS_FILE).read_bytes().splitlines())
    tile = folder / TILES_FOLDER / "0" / "000.p" / str(EVENTS)
    assert [path for path in (folder / TILES_FOLDER).rglob("*") if path.is_file()] == [tile]
    assert tile.read_bytes() == leaves
    for change, says in (
        (lambda: tile.write_bytes(leaves[::-1]), "is not what the events hash to"),
        (lambda: tile.write_bytes(leaves + b"more"), "is not what the events hash to"),
        (tile.unlink, "cannot be read: No such file"),
        (tile.mkdir, "cannot be read: Is a directory"),
    ):
        change()
        (problem,) = audit(folder).problems
        assert problem.startswith(f"tile 0/000.p/{EVENTS} {says}")
    shutil.rmtree(folder / TILES_FOLDER)
    assert audit(folder).problems == ()  # as version 0.1 wrote it


def test_what_was_destroyed_is_listed_and_the_list_is_signed(tmp_path: Path, draft) -> None:
    with Ledger.open(tmp_path / "data") as ledger:
        for number in range(3):
            ledger.append(draft(principal="ada", retention=f"class-{number % 2}"), {"n": number})
        ledger.keeper.shred(Scope("acme", "ada"), "root")
        found = asyncio.run(export(LedgerQueries(ledger), tmp_path / "out"))
    assert (found.problems, found.destroyed) == ((), 3)
    whole = (tmp_path / "out" / DESTROYED_FILE).read_bytes().splitlines()
    assert len({json.loads(line)["event"] for line in whole}) == 2
    for changed, says in (
        (whole[1:], "another list"),
        ([*whole, b'{"id": "ab", "event": 1}'], "another list"),
        ([whole[0].replace(b'"event": 4', b'"event": 5'), *whole[1:]], "another list"),
        ([*whole, b"{}"], "is none"),
        ([*whole, b'{"id": 1, "event": "x"}'], "is none"),
        ([*whole, b'{"id": "\\ud800", "event": 4}'], "is none"),
    ):
        (tmp_path / "out" / DESTROYED_FILE).write_bytes(b"".join(line + b"\n" for line in changed))
        assert any(says in problem for problem in audit(tmp_path / "out").problems), says
    (tmp_path / "out" / DESTROYED_FILE).unlink()
    assert any("another list" in problem for problem in audit(tmp_path / "out").problems)


def test_the_verifier_in_the_folder_needs_no_bailiwick(folder: Path) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(folder / "verify.py"), str(folder), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    fingerprint = Key.parse((folder / KEY_FILE).read_text()).fingerprint
    assert run().stdout == f"ok: 8 events, 2 checkpoints, consistent, unauthenticated: signed with {fingerprint}\n"
    assert run("--key", fingerprint).stdout == "ok: 8 events, 2 checkpoints, as signed with the pinned key\n"
    wrong = run("--key", "0" * 64)
    assert (wrong.returncode, wrong.stdout) == (
        7,
        f"the key is not the pinned one, so all may be forged: it is {fingerprint}\n",
    )
    line = (folder / KEY_FILE).read_text().strip()
    assert run("--key", line).stdout == run("--key", fingerprint).stdout
    for key, says in (("nix", "neither a fingerprint"), ("a+b+c", "a key line: the key is not base64")):
        assert (run("--key", key).returncode, says in run("--key", key).stderr) == (2, True)
    proof, nowhere = str(folder / CHECKPOINTS_FILE), str(folder / "nowhere")
    for arguments, says in (
        ([proof, "--key", fingerprint], "given a fingerprint; a proof needs the key line"),
        ([proof], "--key is missing; a proof needs the key line"),
        ([nowhere, "--key", line], "nowhere does not exist"),
        ([str(folder), "--since", nowhere], "nowhere does not exist"),
    ):
        command = [sys.executable, "-I", str(folder / "verify.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    edit(folder, EVENTS_FILE, lambda lines: lines[:-1])
    cut = run()
    assert cut.returncode == 7
    assert cut.stdout.splitlines() == [
        "a checkpoint signed 8 events, 7 are there: events were cut off",
        "the events from 5 on are not signed: no checkpoint covers them",
    ]
    (folder / KEY_FILE).unlink()
    assert (run().returncode, run().stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            replaced(3, decision="allow"),
            "event 5 does not chain to event 3, the same actor's last: one of them, or one between, was changed",
        ),
        (replaced(8, time="2020-01-01T00:00:00.000000Z"), "the checkpoint of 8 events signed other events"),
        (lambda lines: lines[:2] + lines[3:], "event 3 is numbered 4 and follows 2"),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], "event 4 is numbered 3 and follows 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "event 1 is numbered 2 and follows 0"),
        (replaced(8, epoch=1), "event 8 has epoch 1 after epoch 2"),
        (lambda lines: [*lines[:7], b"{}"], "event 8 is no event"),
        (lambda lines: [*lines[:7], b"[" * 100_000], "event 8 is no event: it is no JSON"),
        (lambda lines: [*lines[:7], b"\xff"], "event 8 is no event"),
        (lambda _: [], "a checkpoint signed 8 events, 0 are there"),
    ],
)
def test_every_change_of_an_event_is_named(
    folder: Path, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    assert audit(folder).problems == ()
    edit(folder, EVENTS_FILE, change)
    assert any(problem.startswith(said) for problem in audit(folder).problems), audit(folder).problems


@pytest.mark.parametrize("seq", range(1, EVENTS + 1))
def test_one_bit_of_any_event_is_found(folder: Path, seq: int) -> None:
    lines = (folder / EVENTS_FILE).read_bytes().splitlines()
    flipped = bytearray(lines[seq - 1])
    flipped[len(flipped) // 2] ^= 1
    edit(folder, EVENTS_FILE, lambda lines: [*lines[: seq - 1], bytes(flipped), *lines[seq:]])
    assert any("signed other events" in problem for problem in audit(folder).problems)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: [], "the events from 1 on are not signed"),
        (lambda lines: lines[:1], "the events from 5 on are not signed"),
        (lambda lines: [lines[0], lines[1].replace(b"8", b"7")], "checkpoint 2 does not hold"),
        (lambda lines: [*lines, b"null"], "checkpoint 3 does not hold"),
        (lambda lines: [*lines, b"{"], "checkpoint 3 does not hold"),
    ],
)
def test_every_change_of_a_checkpoint_is_named(
    folder: Path, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    edit(folder, CHECKPOINTS_FILE, change)
    assert any(problem.startswith(said) for problem in audit(folder).problems), audit(folder).problems


def test_a_checkpoint_that_was_kept_must_fit_as_well(folder: Path) -> None:
    kept = json.loads((folder / CHECKPOINTS_FILE).read_text().splitlines()[-1])["note"]
    assert audit(folder, kept=kept).problems == ()
    edit(folder, EVENTS_FILE, lambda lines: lines[:4])
    edit(folder, CHECKPOINTS_FILE, lambda lines: lines[:1])
    rebuild(folder)
    assert audit(folder).problems == ()
    cut = "a checkpoint signed 8 events, 4 are there: events were cut off"
    assert audit(folder, kept=kept).problems == (cut,)
    (folder / "kept").write_text(kept)
    command = [sys.executable, "-I", str(folder / "verify.py"), str(folder), "--since", str(folder / "kept")]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == cut + "\n"
    assert audit(folder, kept="").problems == ("the checkpoint that was kept does not hold: this is no signed note",)


def test_problems_without_end_are_counted(folder: Path) -> None:
    (folder / EVENTS_FILE).write_bytes(b"\n" * 5000)
    assert audit(folder).problems[-1] == "and 4902 more"
    (folder / EVENTS_FILE).write_bytes(b" " * 2**21)
    with pytest.raises(checker.Invalid, match="a line that is too long"):
        audit(folder)


def test_a_folder_forged_as_a_whole_is_consistent_and_has_another_key(folder: Path) -> None:
    pinned = Key.parse((folder / KEY_FILE).read_text()).fingerprint
    forge(folder)
    assert audit(folder).problems == ()
    assert audit(folder).fingerprint != pinned
    assert audit(folder, pinned).problems == (
        f"the key is not the pinned one, so all may be forged: it is {audit(folder).fingerprint}",
    )


async def test_a_folder_that_is_there_is_left_alone(ledger, draft, tmp_path: Path) -> None:
    ledger.append(draft()).wait()
    (tmp_path / "out").mkdir()
    with pytest.raises(SettingsError, match="there is something already"):
        await export(LedgerQueries(ledger), tmp_path / "out")
    with pytest.raises(SettingsError, match="cannot be made"):
        await export(LedgerQueries(ledger), tmp_path / "none" / "out")
    assert list((tmp_path / "out").iterdir()) == []


async def test_an_open_ledger_is_exported_up_to_a_checkpoint_made_for_it(ledger, draft, tmp_path: Path) -> None:
    for _ in range(1200):
        ledger.append(draft())
    found = await export(LedgerQueries(ledger), tmp_path / "out")
    assert found.problems == ()
    assert found.events <= 1200
    assert found.checkpoints == 1
    assert checker.Key.parse((tmp_path / "out" / KEY_FILE).read_text()) == ledger.proofs.key
