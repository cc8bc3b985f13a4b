"""Headers of GGUF files: read in full, and no bytes can make the reader do anything but refuse."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import NotAModel
from models.gguf_file import Header, read_header
from models.model import describe, name_of
from models.registry import Registry
from store.records.errors import SettingsError

TinyGguf = Callable[..., Path]


def header_of(path: Path) -> Header:
    with path.open("rb") as file:
        return read_header(file, path)


def test_reads_what_the_gguf_package_wrote(tiny_gguf: TinyGguf, tmp_path: Path) -> None:
    model = describe(tiny_gguf(tmp_path / "Tiny Model.gguf"), licence="MIT")
    assert (model.name, model.kind, model.licence) == ("tiny-model", "chat", "MIT")
    assert (model.context, model.layers, model.width, model.vocabulary, model.parameters) == (64, 1, 8, 2, 16)
    assert model.template == "{{ messages }}"


def test_reads_the_default_models(registry: Registry) -> None:
    chat, embedding = registry.get(), registry.get(kind="embedding")
    assert (chat.context, chat.layers, chat.vocabulary, chat.licence) == (8192, 30, 49152, "Apache-2.0")
    assert "<|im_start|>" in chat.template
    assert (embedding.context, embedding.width, embedding.template) == (256, 384, "")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_named_as_such(tiny_gguf: TinyGguf, tmp_path: Path, share: float) -> None:
    whole = tiny_gguf(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(NotAModel, match="truncated"):
        header_of(cut)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a GGUF"),
        (b"PK\x03\x04 a zip archive", "not a GGUF"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(16), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "version"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "metadata entries"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), "truncated"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99), "type 99"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1), "array of type 9"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"t", 9), "9 dimensions"),
    ],
)
def test_what_is_no_gguf_is_refused_with_the_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    file = tmp_path / "odd.gguf"
    file.write_bytes(data)
    with pytest.raises(NotAModel, match=reason):
        header_of(file)


@pytest.fixture(scope="module")
def tiny(tiny_gguf: TinyGguf, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_gguf(tmp_path_factory.mktemp("fuzz") / "tiny.gguf").read_bytes()


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 0.999), value=st.binary(min_size=1, max_size=8))
def test_altered_bytes_are_read_or_refused(
    tiny: bytes, tmp_path_factory: pytest.TempPathFactory, place: float, value: bytes
) -> None:
    at = int(place * len(tiny))
    file = tmp_path_factory.getbasetemp() / "altered.gguf"
    file.write_bytes(tiny[:at] + value + tiny[at + len(value) :])
    try:
        header = header_of(file)
    except NotAModel:
        return
    assert header.parameters >= 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"template": ""}, "neither a chat model"),
        ({"architecture": ""}, "no language model"),
    ],
)
def test_a_gguf_of_no_known_kind_is_refused(
    tiny_gguf: TinyGguf, tmp_path: Path, arguments: dict[str, str], reason: str
) -> None:
    with pytest.raises(NotAModel, match=reason):
        describe(tiny_gguf(tmp_path / "odd.gguf", **arguments))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(SettingsError, match="regular file"):
        describe(tmp_path / "pipe.gguf")
    with pytest.raises(SettingsError, match="no readable model file"):
        describe(tmp_path / "absent.gguf")
    with pytest.raises(SettingsError, match="regular file"):
        describe(tmp_path)


@pytest.mark.parametrize(("file", "name"), [("Qwen2.5 0.5B (x).gguf", "qwen2.5-0.5b-x"), ("---.gguf", "model")])
def test_a_name_is_made_of_the_files_name(file: str, name: str) -> None:
    assert name_of(Path(file)) == name
