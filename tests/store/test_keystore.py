"""The keystore: keys are there before they are used, open with their own site key only, and are never made anew."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from store.keys import cipher, files, keystore
from store.keys.backup import restore, write_backup
from store.keys.errors import Locked, Shredded
from store.keys.keystore import Keystore
from store.keys.scope import Owner, Scope
from store.keys.site_key import Site
from store.keys.source import Source
from store.ledger.ledger import Ledger
from store.ledger.verify import verify
from store.records.errors import BailiwickError, IntegrityError, SettingsError

ADA, BOB = Owner("acme", "ada", "standard"), Owner("acme", "bob", "standard")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def opened(keys: Path, **how) -> Keystore:
    store = Keystore.open(keys, Site(keys, **how))
    store.unlock_for_writing()
    return store


def test_a_data_key_is_on_disk_before_it_is_used_and_is_the_same_later(keys: Path) -> None:
    store = Keystore.make(keys, Site(keys))
    made = store.key_for(ADA)
    assert store.key_for(ADA) is made
    assert store.key_for(BOB).record.id != made.record.id
    again = opened(keys)
    assert again.key_for(ADA) == made
    assert again.key(made.record.id).secret == made.secret
    text = (keys / "keystore.json").read_text()
    assert made.secret.hex() not in text
    assert "secret" not in repr(made)
    with pytest.raises(SettingsError, match="a keystore already"):
        Keystore.make(keys, Site(keys))


def test_a_retired_key_opens_and_takes_nothing_new(keys: Path) -> None:
    store = Keystore.make(keys, Site(keys))
    first = store.key_for(ADA)
    name = first.name(b"said")
    sealed = first.seal(name, b"said")
    store.retire([first.record.id])
    assert not store.takes(first.record.id)
    assert store.key_for(ADA).record.id != first.record.id
    for each in (store, opened(keys)):
        assert each.key(first.record.id).unseal(name, sealed) == b"said"


def test_what_is_sealed_is_bound_to_its_name_its_key_and_its_tenant(keys: Path) -> None:
    store = Keystore.make(keys, Site(keys))
    key, other = store.key_for(ADA), store.key_for(BOB)
    name = key.name(b"said")
    assert other.name(b"said") != name
    sealed = key.seal(name, b"said")
    assert key.seal(name, b"said") != sealed
    for wrong, named in ((other, name), (key, other.name(b"said"))):
        with pytest.raises(cipher.Unopened):
            wrong.unseal(named, sealed)
    for place in (0, 20, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(cipher.Unopened):
            key.unseal(name, bytes(changed))
    with pytest.raises(cipher.Unopened):
        key.unseal(name, b"short")


@pytest.mark.parametrize(
    ("part", "value"),
    [("tenant", "other"), ("user", "bob"), ("retention", "brief"), ("made", "2020-01-01T00:00:00Z"), ("retired", True)],
)
def test_whatever_is_changed_in_the_file_is_noticed(keys: Path, part: str, value: object) -> None:
    Keystore.make(keys, Site(keys)).key_for(ADA)
    path = keys / "keystore.json"
    book = json.loads(path.read_text())
    path.write_text(json.dumps(book | {"keys": [book["keys"][0] | {part: value}]}))
    with pytest.raises(IntegrityError, match="does not open the keystore"):
        opened(keys)
    path.write_text(json.dumps(book | {"keys": []}))
    with pytest.raises(IntegrityError, match="does not open the keystore"):
        opened(keys)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "site": {}, "keys": 3}', "\xff"])
def test_a_damaged_file_is_one_clear_error(keys: Path, text: str) -> None:
    Keystore.make(keys, Site(keys))
    (keys / "keystore.json").write_text(text, encoding="latin-1")
    with pytest.raises(IntegrityError, match="the keystore"):
        opened(keys)


def test_a_passphrase_opens_what_it_made_and_a_new_site_key_under_it_is_another(keys: Path) -> None:
    site = Site(keys, lambda: b"correct horse")
    store = Keystore.make(keys, site, Source.PASSPHRASE)
    made, before = store.key_for(ADA), store.secret
    store.rekey()
    assert store.secret != before
    assert opened(keys, passphrase=lambda: b"correct horse").key_for(ADA) == made
    with pytest.raises(IntegrityError, match="the passphrase does not open"):
        opened(keys, passphrase=lambda: b"wrong")
    with pytest.raises(SettingsError, match="nobody can be asked"):
        opened(keys)
    with pytest.raises(SettingsError, match="empty"):
        opened(keys, passphrase=lambda: b"")
    assert [path.name for path in keys.iterdir()] == ["keystore.json"]


def test_an_older_copy_opens_with_a_passphrase_that_is_still_known_and_not_with_a_new_one(keys: Path) -> None:
    """What the README warns of."""
    store = Keystore.make(keys, Site(keys, lambda: b"words"), Source.PASSPHRASE)
    made = store.key_for(ADA)
    older = (keys / "keystore.json").read_bytes()
    store.shred(Scope("acme", "ada"), "root")
    store.rekey(Source.PASSPHRASE, Site(keys, lambda: b"new words"))
    (keys / "keystore.json").write_bytes(older)
    assert opened(keys, passphrase=lambda: b"words").key(made.record.id) == made
    with pytest.raises(IntegrityError, match="does not open"):
        opened(keys, passphrase=lambda: b"new words")


def test_parameters_of_scrypt_that_are_too_weak_or_too_dear_are_refused(keys: Path) -> None:
    Keystore.make(keys, Site(keys, lambda: b"x"), Source.PASSPHRASE)
    path = keys / "keystore.json"
    book = json.loads(path.read_text())
    for change in ({"n": 2}, {"n": 2**17 - 1}, {"n": 2**30}, {"r": 2**20}, {"p": 1000}, {"salt": ""}):
        site = book["site"] | {"stretch": book["site"]["stretch"] | change}
        path.write_text(json.dumps(book | {"site": site}))
        with pytest.raises(IntegrityError, match="damaged"):
            opened(keys)


def test_the_site_key_may_lie_on_another_medium(keys: Path, tmp_path: Path) -> None:
    medium = tmp_path / "stick"
    with pytest.raises(SettingsError, match="the site key cannot be kept"):
        Keystore.make(keys, Site(medium))
    medium.mkdir()
    store = Keystore.make(keys, Site(medium))
    store.key_for(ADA)
    assert len(list(medium.iterdir())) == 1
    assert not list(keys.glob("site-*"))
    store.shred(Scope("acme"), "root")
    assert len(list(medium.iterdir())) == 1
    medium.rename(tmp_path / "away")
    with pytest.raises(Locked, match="site key is missing"):
        Keystore.open(keys, Site(medium)).unlock()


def test_rekeying_moves_the_site_key_from_a_file_to_a_passphrase_and_back(keys: Path, tmp_path: Path) -> None:
    store = Keystore.make(keys, Site(keys))
    made = store.key_for(ADA)
    store.rekey(Source.PASSPHRASE, Site(keys, lambda: b"words"))
    assert not list(keys.glob("site-*"))
    assert opened(keys, passphrase=lambda: b"words").key_for(ADA) == made
    (tmp_path / "stick").mkdir()
    store.rekey(Source.FILE, Site(tmp_path / "stick"))
    assert Keystore.open(keys, Site(tmp_path / "stick")).key_for(ADA) == made


def test_the_keyring_is_asked_for_by_name_and_its_absence_is_one_line(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match="pip install keyring"):
        Keystore.make(keys, Site(keys), Source.KEYRING)
    entries: dict[tuple[str, str], str] = {}
    module = types.ModuleType("keyring")  # the three functions of that library which are called
    module.set_password = lambda service, name, value: entries.update({(service, name): value})
    module.get_password = lambda service, name: entries.get((service, name))
    module.delete_password = lambda service, name: entries.pop((service, name))
    monkeypatch.setitem(sys.modules, "keyring", module)
    store = Keystore.make(keys, Site(keys), Source.KEYRING)
    made, before = store.key_for(ADA), dict(entries)
    store.shred(Scope("acme", "bob"), "root")  # nobody's: no reason for a new key
    assert entries == before
    store.rekey()
    assert len(entries) == 1
    assert not before.items() & entries.items()
    assert opened(keys).key_for(ADA) == made
    entries.clear()
    with pytest.raises(Locked):
        opened(keys)


def test_without_its_site_key_a_ledger_is_read_verified_and_not_written(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        event = ledger.append(draft(principal="ada"), "said").wait()
    (key,) = folder.glob("keys/site-*.key")
    away = key.rename(folder.parent / "away")
    before = sorted(path.name for path in (folder / "keys").iterdir())
    with Ledger.open(folder, read_only=True) as ledger:
        assert ledger.events() == [event]
        found = verify(ledger)
        assert (found.ok, found.events) == (True, 1)
        assert "the site key is missing" in found.locked
        assert ledger.proofs.inclusion(1)
        with pytest.raises(Locked, match="the site key is missing: content cannot be opened"):
            ledger.payload(event.payload)
    with pytest.raises(Locked, match="none can be added"):
        Ledger.open(folder)
    assert sorted(path.name for path in (folder / "keys").iterdir()) == before
    away.rename(key)
    with Ledger.open(folder) as ledger:
        assert ledger.payload(event.payload) == "said"


def test_a_lost_keystore_is_never_replaced(folder: Path, draft) -> None:
    with Ledger.open(folder) as ledger:
        ledger.append(draft(), "said").wait()
    (folder / "keys" / "keystore.json").unlink()
    for read_only in (True, False):
        with pytest.raises(IntegrityError, match="the keystore is missing"):
            Ledger.open(folder, read_only=read_only)
    assert not (folder / "keys" / "keystore.json").exists()


def test_a_draft_that_is_refused_makes_no_key(ledger, draft) -> None:
    with pytest.raises(BailiwickError):
        ledger.append(draft(principal="two\nlines"), "said")
    assert not ledger.keystore.records


def test_a_scope_is_its_path() -> None:
    for scope in (Scope("a"), Scope("a", "b/c"), Scope("a", None, "*"), Scope("a", ""), Scope("a", "*", "x y")):
        assert Scope.parse("a", scope.path) == scope
    assert Scope("a").meets(Scope("a", "b"))
    assert not Scope("a", "b").meets(Scope("a", "c"))
    assert Scope("a", "b").meets(Scope("a", None, "k"))
    assert not Scope("a").meets(Scope("b"))


def in_a_fork(work) -> None:
    """Do something in another process, which may end at any moment."""
    if not (child := os.fork()):
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_a_site_key_that_a_crash_left_under_two_names_is_not_destroyed(keys: Path, tmp_path: Path) -> None:
    store = Keystore.make(keys, Site(keys))
    made = store.key_for(ADA)
    write_backup(tmp_path / "backup", store, b"words")
    (key,) = keys.glob("site-*.key")
    key.unlink()

    def interrupted() -> None:
        files.Path.unlink = lambda self: os._exit(9)
        restore(tmp_path / "backup", keys, Site(keys), b"words")

    in_a_fork(interrupted)
    assert len(list(keys.glob("site-*"))) == 2
    for _ in range(2):
        assert opened(keys).key_for(ADA) == made
    assert list(keys.glob("site-*")) == [key]


def test_a_backup_replaces_a_site_key_that_does_not_open_the_keystore(keys: Path, tmp_path: Path) -> None:
    store = Keystore.make(keys, Site(keys))
    made = store.key_for(ADA)
    write_backup(tmp_path / "backup", store, b"words")
    (key,) = keys.glob("site-*.key")
    for damaged in (bytes(32), b"short"):
        key.write_bytes(damaged)
        restore(tmp_path / "backup", keys, Site(keys), b"words")
        assert opened(keys).key_for(ADA) == made
    with pytest.raises(SettingsError, match="nothing is missing"):
        restore(tmp_path / "backup", keys, Site(keys), b"words")


def test_a_lost_keystore_comes_back_beside_its_site_key(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    site = Site(tmp_path / "stick")
    store = Keystore.make(keys, site)
    made = store.key_for(ADA)
    write_backup(tmp_path / "backup", store, b"words")
    (keys / "keystore.json").unlink()
    restore(tmp_path / "backup", keys, site, b"words")
    assert Keystore.open(keys, site).key_for(ADA) == made


def test_a_backup_is_not_made_where_keys_are_destroyed_and_only_our_names_are(keys: Path, tmp_path: Path) -> None:
    store = Keystore.make(keys, Site(keys))
    store.key_for(ADA)
    with pytest.raises(SettingsError, match="another folder"):
        write_backup(keys / "keystore.backup", store, b"words")
    (key,) = keys.glob("site-*.key")
    others = [keys / "keystore.backup", keys / "keystore.json.bak", keys / f"{key.name}.bak"]
    for each in others:
        each.write_bytes(b"somebody's")
    store.shred(Scope("acme"), "root")
    opened(keys)
    assert [each.read_bytes() for each in others] == [b"somebody's"] * 3
    assert not key.exists()


@pytest.mark.parametrize(
    ("module", "name"), [(keystore, "write_private"), (keystore, "destroy"), (os, "link"), (keystore, "sync_folder")]
)
def test_a_shredding_that_failed_is_one_line_and_the_next_one_works(folder: Path, draft, monkeypatch, module, name):
    with Ledger.open(folder) as ledger:
        for user in ("ada", "bob"):
            ledger.append(draft(principal=user), {"by": user}).wait()
        event = ledger.append(draft(principal="cem"), {"by": "cem"}).wait()
        with monkeypatch.context() as full:
            full.setattr(module, name, no_room)
            with pytest.raises(SettingsError, match="No space left"):
                ledger.keeper.shred(Scope("acme", "ada"), "root")
        if name == "destroy":  # the keys were gone by then, and the log says so
            assert len(ledger.events(kinds=("keys.shredded",))) == 1
        else:
            assert ledger.keeper.shred(Scope("acme", "ada"), "root").keys == 1
        assert ledger.keeper.shred(Scope("acme", "bob"), "root").keys == 1
        assert verify(ledger).ok
        assert ledger.payload(event.payload) == {"by": "cem"}
    assert len(list((folder / "keys").iterdir())) == 3
    with Ledger.open(folder) as ledger:
        assert verify(ledger).ok


def no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_after_a_write_of_which_nobody_knows_whether_it_lasts_nothing_more_is_written(keys: Path, monkeypatch) -> None:
    store = Keystore.make(keys, Site(keys))
    made, other = store.key_for(ADA), store.key_for(BOB)
    path, before = keys / "keystore.json", (keys / "keystore.json").read_bytes()
    with monkeypatch.context() as full:
        full.setattr(files, "sync_folder", lambda _: path.read_bytes() != before and no_room())
        with pytest.raises(SettingsError, match="No space left"):
            store.shred(Scope("acme", "ada"), "root")
    for order in (lambda: store.key_for(Owner("acme", "cem", "standard")), lambda: store.shred(Scope("acme"), "root")):
        with pytest.raises(SettingsError, match="takes nothing more"):
            order()
    again = opened(keys)
    assert again.key_for(BOB) == other
    with pytest.raises(Shredded):
        again.key(made.record.id)


def test_who_has_a_payload_at_hand_while_its_key_goes_is_told_that_it_was_shredded(ledger, draft) -> None:
    event = ledger.append(draft(principal="ada"), "said").wait()
    row = ledger.reader.payload(event.payload)
    ledger.keeper.shred(Scope("acme", "ada"), "root")
    with pytest.raises(Shredded):
        ledger.archive.unpack(row)


def test_a_new_key_leaves_the_wrapping_of_others_as_it_is_and_a_new_site_key_does_not(keys: Path) -> None:
    def wrapped() -> list[str]:
        return [each["wrapped"] for each in json.loads((keys / "keystore.json").read_text())["keys"]]

    store = Keystore.make(keys, Site(keys))
    store.key_for(ADA)
    first = wrapped()
    store = opened(keys)
    made = store.key_for(BOB)
    assert wrapped()[:1] == first
    store.retire([made.record.id])
    assert wrapped()[:1] == first
    store.rekey()
    assert not set(wrapped()) & set(first)
    assert opened(keys).key_for(ADA)


CORE = """
import resource, sys
from pathlib import Path
from store.keys.keystore import Keystore
from store.keys.site_key import Site
soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
store = Keystore.open(Path(sys.argv[1]), Site(Path(sys.argv[1])))
store.unlock()
print(resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_a_process_that_has_keys_writes_no_core_when_it_crashes(keys: Path) -> None:
    Keystore.make(keys, Site(keys))
    done = subprocess.run([sys.executable, "-c", CORE, keys], capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0)\n"


def test_a_folder_that_everybody_can_write_to_is_none_for_a_site_key(keys: Path, tmp_path: Path) -> None:
    medium = tmp_path / "stick"
    medium.mkdir()
    medium.chmod(0o777)
    with pytest.raises(SettingsError, match="everybody can write"):
        Keystore.make(keys, Site(medium))
    medium.chmod(0o755)
    Keystore.make(keys, Site(medium))
    medium.chmod(0o777)
    with pytest.raises(SettingsError, match="everybody can write"):
        Keystore.open(keys, Site(medium)).unlock()
