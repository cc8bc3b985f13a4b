"""Writes a whole llama of two small layers with random weights, which llama.cpp computes; or one that lies."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH, HEADS, INNER, LAYERS = 64, 4, 128, 2
LETTERS = [f"\u2581{each}" for each in "abcdefghijklmnopqrstuvwxyz"]
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{each:02X}>" for each in range(256)), *LETTERS]
TYPES = [2, 3, 3, *([6] * 256), *([1] * len(LETTERS))]
"""gguf.TokenType: unknown, control, byte, normal."""
KEYS: Mapping[str, Any] = {
    "general.name": "tiny",
    "llama.context_length": 64,
    "llama.block_count": LAYERS,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": WIDTH // HEADS,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.scores": [-float(each) for each in range(len(TOKENS))],
    "tokenizer.ggml.token_type": TYPES,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.chat_template": "{{ messages[0].content }}",
}
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def write(path: Path, change: Change = lambda _keys, _tensors: None) -> Path:
    """Writes the model at `path` after `change` had its way with metadata and tensors (arrays, or arrays and types)."""
    keys, tensors = dict(KEYS), _tensors()
    change(keys, tensors)
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in keys.items():
        _add(writer, key, value)
    for name, tensor in tensors.items():
        data, kind = tensor if isinstance(tensor, tuple) else (tensor, None)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def _tensors() -> dict[str, Any]:
    random = np.random.default_rng(1)
    pair = WIDTH // HEADS * 2
    shapes = {"token_embd.weight": (len(TOKENS), WIDTH), "output.weight": (len(TOKENS), WIDTH)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_q.weight": (WIDTH, WIDTH),
            f"blk.{layer}.attn_k.weight": (pair, WIDTH),
            f"blk.{layer}.attn_v.weight": (pair, WIDTH),
            f"blk.{layer}.attn_output.weight": (WIDTH, WIDTH),
            f"blk.{layer}.ffn_gate.weight": (INNER, WIDTH),
            f"blk.{layer}.ffn_up.weight": (INNER, WIDTH),
            f"blk.{layer}.ffn_down.weight": (WIDTH, INNER),
        }
    tensors = {name: (random.standard_normal(shape) * 0.1).astype(np.float32) for name, shape in shapes.items()}
    flat = [f"blk.{layer}.{each}_norm.weight" for layer in range(LAYERS) for each in ("attn", "ffn")]
    return tensors | {name: np.ones(WIDTH, np.float32) for name in ["output_norm.weight", *flat]}
