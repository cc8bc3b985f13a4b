"""The registry: two layers, exact files, and no half-written state."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import NotAModel
from models.registry import Registry
from store.records.errors import IntegrityError, SettingsError

TinyGguf = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "site")


@pytest.fixture
def tiny(tiny_gguf: TinyGguf, tmp_path: Path) -> Path:
    return tiny_gguf(tmp_path / "tiny.gguf")


def test_the_shipped_models_are_there_at_once(site: Registry) -> None:
    assert [model.name for model in site.list()] == ["all-minilm-l6-v2", "smollm2-135m-instruct"]
    assert site.default() == site.get().name == "smollm2-135m-instruct"
    assert site.get(kind="embedding").name == "all-minilm-l6-v2"
    assert all(model.shipped for model in site.list())


def test_an_added_model_is_kept_and_used(site: Registry, tiny: Path, tmp_path: Path) -> None:
    added = site.add(tiny, licence="MIT")
    assert site.default() == "smollm2-135m-instruct"
    site.use("tiny")
    again = Registry(tmp_path / "site")
    assert again.get() == added
    assert added.file == tiny
    assert not added.shipped
    assert again.verify("tiny") == added
    again.remove("tiny")
    assert again.default() == "smollm2-135m-instruct"
    assert tiny.exists()


def test_a_sites_model_wins_over_a_shipped_one(site: Registry, tiny: Path) -> None:
    site.add(tiny, "smollm2-135m-instruct")
    assert site.get().file == tiny
    site.remove("smollm2-135m-instruct")
    assert site.get().shipped


def test_a_copy_belongs_to_the_registry(site: Registry, tiny: Path, tmp_path: Path) -> None:
    model = site.add(tiny, copy=True)
    tiny.unlink()
    assert site.verify("tiny").file == tmp_path / "site" / "tiny.gguf"
    assert stat.S_IMODE(model.file.stat().st_mode) == 0o600
    (tmp_path / "site").rename(tmp_path / "moved")
    moved = Registry(tmp_path / "moved")
    assert moved.verify("tiny").file == tmp_path / "moved" / "tiny.gguf"
    moved.remove("tiny")
    assert not (tmp_path / "moved" / "tiny.gguf").exists()


def test_the_folder_is_private(site: Registry, tiny: Path, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        site.add(tiny)
    finally:
        os.umask(old)
    Registry(tmp_path / "data" / "models").add(tiny)
    for folder in ("site", "data", "data/models"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "site").iterdir()} == {0o600}


def test_one_altered_byte_is_found(site: Registry, tiny: Path) -> None:
    site.add(tiny)
    times = tiny.stat()
    data = bytearray(tiny.read_bytes())
    data[-1] ^= 1
    tiny.write_bytes(data)
    os.utime(tiny, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(IntegrityError, match="not the one that was added") as caught:
        site.verify("tiny")
    assert caught.value.exit_code == 7


def test_a_cut_file_and_a_missing_file_are_found(site: Registry, tiny: Path) -> None:
    site.add(tiny)
    tiny.write_bytes(tiny.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="bytes"):
        site.verify("tiny")
    tiny.unlink()
    with pytest.raises(SettingsError, match=r"no readable model file.*models remove tiny"):
        site.verify("tiny")


def test_adding_again_changes_nothing_and_another_file_needs_another_name(
    site: Registry, tiny: Path, tiny_gguf: TinyGguf, tmp_path: Path
) -> None:
    assert site.add(tiny) == site.add(tiny)
    other = tiny_gguf(tmp_path / "other.gguf", fill=2.0)
    with pytest.raises(SettingsError, match="another model has this name"):
        site.add(other, "tiny")
    assert site.get("tiny").file == tiny


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", ".hidden", "x" * 65, "a\n", "\ud800"])
def test_a_bad_name_is_refused(site: Registry, name: str) -> None:
    for change in (site.use, site.verify, site.remove):
        with pytest.raises(SettingsError, match="name"):
            change(name)


def test_an_unknown_name_lists_the_known_ones(site: Registry) -> None:
    for ask in (site.get, site.use, site.verify, site.remove):
        with pytest.raises(SettingsError, match="known are: all-minilm-l6-v2, smollm2-135m-instruct"):
            ask("absent")
    with pytest.raises(SettingsError, match="is for chat, not for embedding"):
        site.get("smollm2-135m-instruct", "embedding")
    with pytest.raises(SettingsError, match="shipped model cannot be removed"):
        site.remove("smollm2-135m-instruct")


def test_nothing_installed_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no chat model.*make setup"):
        Registry(tmp_path / "site", tmp_path / "shipped").get()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "site", Path("/proc/bailiwick")):
        with pytest.raises(SettingsError, match="folder cannot be written") as caught:
            Registry(folder).add(tiny)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"models": [], "defaults": []}', '{"models": [{}], "defaults": {}}', "\xff", "[" * 10**5]
)
def test_a_damaged_registry_is_refused_and_kept(site: Registry, tiny: Path, tmp_path: Path, text: str) -> None:
    site.add(tiny)
    file = tmp_path / "site" / "registry.json"
    file.write_text(text, encoding="latin-1")
    for act in (site.list, lambda: site.add(tiny), lambda: site.use("tiny")):
        with pytest.raises(SettingsError, match="registry is damaged"):
            act()
    assert file.read_text(encoding="latin-1") == text


def test_a_registry_entry_with_wrong_types_is_damaged(site: Registry, tiny: Path, tmp_path: Path) -> None:
    site.add(tiny)
    file = tmp_path / "site" / "registry.json"
    whole = file.read_text()
    for old, new in (('"bytes": ', '"bytes": "x", "was": '), ('"kind": "chat"', '"kind": "pet"'), ("tiny", "../tiny")):
        file.write_text(whole.replace(old, new))
        with pytest.raises(SettingsError, match="registry is damaged"):
            site.list()


def test_what_is_no_model_is_not_added(site: Registry, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("GGUF? no")
    with pytest.raises(NotAModel):
        site.add(tmp_path / "text.gguf")
    with pytest.raises(SettingsError, match="no readable model file"):
        site.add(tmp_path / "absent.gguf")
    assert not (tmp_path / "site").exists()


def test_two_writers_lose_nothing(tmp_path: Path, tiny: Path) -> None:
    def add(number: int) -> None:
        Registry(tmp_path / "site").add(tiny, f"tiny-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert len(Registry(tmp_path / "site", tmp_path / "none").list()) == 24
    assert sorted(file.name for file in (tmp_path / "site").iterdir()) == [".lock", "registry.json"]
