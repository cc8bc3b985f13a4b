"""Writes a GGUF of a given shape with random weights, and the tokenizer and chat template of a model at hand.

The weights are 16-bit floats cut out of one page of random numbers: to make 8 billion of them would take minutes, and
a device reads them all the same. It never holds more than one matrix in memory.
"""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.shape import Shape
from store.records.errors import SettingsError

Halves = NDArray[np.float16]
PAGE = 2**22 + 1
"""Random numbers. Odd, so that no two rows of a matrix are the same."""
STRIDE = 12_289
"""How much later in the page each matrix starts than the one before, so that no two are the same."""
SPARE_BYTES = 2**28
"""What the file takes beside its matrices: the tokenizer and the norms."""


def write(shape: Shape, donor: Path, target: Path) -> None:
    """Writes the model to `target`, with the tokenizer of the GGUF at `donor`.

    Greedy search never ends an answer of this model, nor writes any other control token: their logits are 0, and the
    largest of the others is above. Raises SettingsError if the disk has no room for the file, or `donor` has more
    tokens than the shape.
    """
    import gguf

    fields = gguf.GGUFReader(donor).fields
    words = len(fields["tokenizer.ggml.tokens"].data)
    vocabulary = shape.vocabulary or words
    if vocabulary < words:
        raise SettingsError(f"the {shape.name} has {vocabulary} tokens, fewer than {words}", str(donor), "use another")
    _check_room(shape.matrix_bytes(vocabulary) + SPARE_BYTES, target)
    writer = gguf.GGUFWriter(target, "llama")
    _add_sizes(writer, shape, vocabulary)
    types = _add_tokenizer(writer, fields, vocabulary)
    control = np.array(types) != int(gguf.TokenType.NORMAL)
    try:
        _write_tensors(writer, shape, vocabulary, control)
    finally:
        writer.close()


def _check_room(needed: int, target: Path) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise SettingsError(
            f"the random model takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            str(target.parent),
            "set TMPDIR to a folder with more room",
        )


def _add_sizes(writer: Any, shape: Shape, vocabulary: int) -> None:
    import gguf

    writer.add_name(f"Random weights, {shape.name}")
    writer.add_license("none")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_tokenizer(writer: Any, fields: Any, vocabulary: int) -> list[int]:
    """Copies the tokenizer, filled up with tokens that no text is cut into; returns the kind of every token."""
    import gguf

    kinds: list[int] = []
    for name, field in fields.items():
        if not name.startswith("tokenizer."):
            continue
        value = field.contents()
        if name == "tokenizer.ggml.tokens":
            value += [f"pad{number}" for number in range(vocabulary - len(value))]
        if name == "tokenizer.ggml.token_type":
            value += [int(gguf.TokenType.NORMAL)] * (vocabulary - len(value))
            kinds = value
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, value)
        else:
            writer.add_key_value(name, value, field.types[0])
    return kinds


def _write_tensors(writer: Any, shape: Shape, vocabulary: int, control: NDArray[np.bool_]) -> None:
    """First the table of all tensors, then one after the other."""
    table: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (vocabulary, shape.width))]
    for number in range(shape.layers):
        norms = (f"blk.{number}.attn_norm.weight", f"blk.{number}.ffn_norm.weight")
        table += [*((name, (shape.width,)) for name in norms), *shape.block(number)]
    table += [("output_norm.weight", (shape.width,)), ("output.weight", (vocabulary, shape.width))]
    for name, size in table:
        # Weights of 16 bits, as models are published; norms must have 32.
        kind = np.dtype(np.float32 if len(size) == 1 else np.float16)
        writer.add_tensor_info(name, size, kind, math.prod(size) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    page = np.random.default_rng(0).standard_normal(PAGE, np.float32)
    for number, (name, size) in enumerate(table):
        if len(size) == 1:
            writer.write_tensor_data(np.ones(size, np.float32))
            continue
        # Each output of a layer has about the variance of its inputs; an embedding has that of the page.
        spread = 1.0 if name == "token_embd.weight" else 1 / math.sqrt(size[1])
        start = np.roll(page, number * STRIDE)
        matrix: Halves = np.resize((start * np.float32(spread)).astype(np.float16), size)
        if name == "output.weight":
            matrix[control] = 0
        writer.write_tensor_data(matrix)
