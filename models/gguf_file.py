"""Reads the header of a GGUF file: metadata and tensor table, never the weights.

The file may come from anywhere, so every length is checked against the bytes that are there before it is believed,
and nothing is mapped into memory. The layout is that of llama.cpp's docs/gguf.md, versions 2 and 3, little endian.
"""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from models.errors import NotAModel

MAGIC = b"GGUF"
LONGEST_TEXT = 16 * 2**20
MOST_ENTRIES = 2**20
_STRING, _ARRAY = 8, 9
_STORED_ONLY = {9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 27: "I64", 28: "F64"}
"""GGML types that llama.cpp reads but cannot multiply with: it ends the process in the first step (ggml-cpu.c has no
`vec_dot` for them). Indices, the one use of integers in models, are I32."""
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


@dataclass(slots=True)
class Header:
    """What a GGUF says about itself. `values` holds scalars and texts, `lengths` the number of items of each array,
    `tensors` the names of the tensors."""

    values: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: set[str] = field(default_factory=set)
    parameters: int = 0

    def number(self, key: str) -> int:
        """The non-negative integer under `key`, or 0 if there is none."""
        value = self.values.get(key, 0)
        return value if isinstance(value, int) and value > 0 else 0

    def text(self, key: str) -> str:
        """The text under `key`, or an empty one."""
        value = self.values.get(key, "")
        return value if isinstance(value, str) else ""


class _Reader:
    """Takes numbers and texts off the front of a file and refuses to read past its end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.size = os.fstat(file.fileno()).st_size

    def truncated(self) -> NotAModel:
        return NotAModel("the GGUF file is truncated", str(self.path), "copy or download it again")

    def malformed(self, what: str) -> NotAModel:
        return NotAModel(f"the GGUF file is malformed: {what}", str(self.path), "copy or download it again")

    def take(self, size: int) -> bytes:
        if size > self.size - self.file.tell():
            raise self.truncated()
        data = self.file.read(size)
        if len(data) != size:
            raise self.truncated()
        return data

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, what: str) -> int:
        value = int(self.number("<Q"))
        if value > MOST_ENTRIES:
            raise self.malformed(f"{value} {what}")
        return value

    def text(self) -> str:
        length = int(self.number("<Q"))
        if length > LONGEST_TEXT:
            raise self.truncated() if length > self.size else self.malformed(f"a text of {length} bytes")
        return self.take(length).decode("utf-8", "replace")

    def skip(self, size: int) -> None:
        if size > self.size - self.file.tell():
            raise self.truncated()
        self.file.seek(size, os.SEEK_CUR)

    def array(self) -> int:
        """Passes over an array and returns how many items it has."""
        kind, length = int(self.number("<I")), self.count("items in an array")
        if kind in _SCALARS:
            self.skip(length * struct.calcsize(_SCALARS[kind]))
        elif kind == _STRING:
            for _ in range(length):
                self.skip(int(self.number("<Q")))
        else:
            raise self.malformed(f"an array of type {kind}")
        return length


def read_header(file: BinaryIO, path: Path) -> Header:
    """The header of the open GGUF `file`; also checks that all the tensors it lists lie within it.

    `path` is what errors name.

    Raises NotAModel if the file is no GGUF, truncated, or malformed; OSError if it cannot be read.
    """
    reader = _Reader(file, path)
    if reader.size < 4 or reader.take(4) != MAGIC:
        raise NotAModel("this is not a GGUF file", str(path), "give the path of a model in GGUF format")
    version = int(reader.number("<I"))
    if version not in (2, 3):
        raise NotAModel(f"GGUF version {version} is not supported", str(path), "convert the model to GGUF version 3")
    tensors, entries = reader.count("tensors"), reader.count("metadata entries")
    header = Header()
    for _ in range(entries):
        _read_entry(reader, header)
    _read_tensors(reader, header, tensors)
    return header


def _read_entry(reader: _Reader, header: Header) -> None:
    key, kind = reader.text(), int(reader.number("<I"))
    if kind in _SCALARS:
        header.values[key] = reader.number(_SCALARS[kind])
    elif kind == _STRING:
        header.values[key] = reader.text()
    elif kind == _ARRAY:
        header.lengths[key] = reader.array()
    else:
        raise reader.malformed(f"a value of type {kind}")


def _read_tensors(reader: _Reader, header: Header, tensors: int) -> None:
    """Adds up the parameters and checks that the last byte of every tensor is there."""
    end = 0
    for _ in range(tensors):
        name = reader.text()
        dimensions = int(reader.number("<I"))
        if not 0 < dimensions <= 4:
            raise reader.malformed(f"a tensor of {dimensions} dimensions")
        items = 1
        for _ in range(dimensions):
            items *= int(reader.number("<Q"))
        kind, offset = int(reader.number("<I")), int(reader.number("<Q"))
        if kind in _STORED_ONLY:
            what = f"the tensor {name[:80]} is of type {_STORED_ONLY[kind]}, with which llama.cpp cannot compute"
            raise NotAModel(what, str(reader.path), "convert the model to F32, F16, BF16 or a quantized type")
        header.tensors.add(name)
        header.parameters += items
        end = max(end, offset + _tensor_bytes(kind, items))
    alignment = header.number("general.alignment") or 32
    start = -(-reader.file.tell() // alignment) * alignment
    if tensors and start + end > reader.size:
        raise reader.truncated()


def _tensor_bytes(kind: int, items: int) -> int:
    """The bytes of a tensor of GGML type `kind`; 0 if the type is newer than the gguf package."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        return 0
    return items // block * size
