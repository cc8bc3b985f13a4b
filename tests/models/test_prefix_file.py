"""A saved prefix: what it saves is not computed again, and nothing but what was written is ever restored."""

from pathlib import Path

import pytest

from models.engine.engine import Engine
from models.engine.prefix_file import PrefixFile
from models.model import Model
from models.request import Message, Request
from store.records.errors import BailiwickError, IntegrityError, SettingsError

SYSTEM = (Message("system", "You look after services. " * 30),)
QUESTION = Request((*SYSTEM, Message("user", "What is wrong?")), max_tokens=12, space="ward")


def test_a_restored_prefix_is_not_computed_and_answers_are_the_same(small: Model, tmp_path: Path) -> None:
    file = tmp_path / "system.prefix"
    engine = Engine.load(small, n_ctx=1024, flash_attention=False)
    length = engine.save_prefix(Request(SYSTEM, space="ward"), file)
    cold = engine.generate(QUESTION)
    engine.close()
    assert (length > 100, oct(file.stat().st_mode & 0o777)) == (True, "0o600")
    engine = Engine.load(small, n_ctx=1024, flash_attention=False)
    assert engine.restore_prefix(file)
    assert engine.counters["computed_tokens"] == 0
    warm = engine.generate(QUESTION)
    assert (warm.reused_tokens, warm.token_ids) == (length, cold.token_ids)
    assert engine.generate(Request(QUESTION.messages, max_tokens=2, space="other")).reused_tokens == 0
    assert engine.restore_prefix(file), "what is there already may be restored again"
    assert engine.generate(QUESTION).token_ids == cold.token_ids
    engine.close()


def test_a_prefix_of_another_model_is_refused(small: Model, tmp_path: Path) -> None:
    PrefixFile("another", "", [1, 2], b"state").write(tmp_path / "p")
    engine = Engine.load(small, n_ctx=1024, flash_attention=False)
    with pytest.raises(SettingsError, match="another model or build"):
        engine.restore_prefix(tmp_path / "p")
    engine.close()


@pytest.mark.parametrize("place", [0, 40, -1])
def test_an_altered_byte_is_found(tmp_path: Path, place: int) -> None:
    file = tmp_path / "p"
    PrefixFile("build", "space", [1, 2, 3], bytes(100)).write(file)
    assert PrefixFile.read(file).tokens == [1, 2, 3]
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError):
        PrefixFile.read(file)


@pytest.mark.parametrize(
    "data", [b"", b"bailiwick-prefix-1\n", b"bailiwick-prefix-1\n{}\n", b"bailiwick-prefix-1\n[]\nx"]
)
def test_what_is_no_prefix_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(IntegrityError, match="not as it was written"):
        PrefixFile.read(tmp_path / "p")


def test_a_file_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "p"
    PrefixFile("build", "", [1], b"s").write(file)
    file.chmod(0o620)
    with pytest.raises(IntegrityError, match="others can write"):
        PrefixFile.read(file)
    (tmp_path / "link").symlink_to(file)
    for path in (tmp_path / "link", tmp_path / "absent"):
        with pytest.raises(BailiwickError):
            PrefixFile.read(path)
