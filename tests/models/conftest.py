"""The real default models, loaded once: `make test` has installed them before."""

from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.engine.engine import Engine
from models.model import Model, describe
from models.registry import Registry
from models.request import Message, Request


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def chat(registry: Registry) -> Iterator[Engine]:
    engine = Engine.load(registry.get(), n_ctx=2048)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def embedding(registry: Registry) -> Iterator[Engine]:
    engine = Engine.load(registry.get(kind="embedding"))
    yield engine
    engine.close()


Ask = Callable[..., Request]
TinyGguf = Callable[..., Path]


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Makes a request with one message from the user."""
    return lambda text, **settings: Request((Message("user", text),), **settings)


@pytest.fixture(scope="session")
def small(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A real model of two layers with random weights, in 16 bits: fast, and it computes the same in any batch.

    (The default model's activations are rounded to 8 bits, so that the last bit of a sum can change a whole answer.)
    """
    source = gguf.GGUFReader(registry.get().file)
    file = tmp_path_factory.mktemp("small") / "small.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    sizes = {"block_count": 2, "embedding_length": 128, "feed_forward_length": 256, "attention.head_count": 4}
    sizes |= {"attention.head_count_kv": 2, "rope.dimension_count": 32}
    for field in source.fields.values():
        if field.name.startswith(("llama.", "tokenizer.")):
            value = sizes.get(field.name.removeprefix("llama."), field.contents())
            writer.add_key_value(field.name, value, *field.types[:2])
    random = np.random.default_rng(1)
    words = len(source.fields["tokenizer.ggml.tokens"].contents())

    def add(name: str, *shape: int, scale: float) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float16))

    def flat(name: str) -> None:
        writer.add_tensor(name, np.ones(128, np.float32))

    add("token_embd.weight", words, 128, scale=1.0)
    add("output.weight", words, 128, scale=0.3)
    flat("output_norm.weight")
    for layer in range(2):
        place = f"blk.{layer}."
        flat(f"{place}attn_norm.weight")
        flat(f"{place}ffn_norm.weight")
        for name, rows, columns in (
            ("attn_q", 128, 128),
            ("attn_k", 64, 128),
            ("attn_v", 64, 128),
            ("attn_output", 128, 128),
            ("ffn_gate", 256, 128),
            ("ffn_up", 256, 128),
            ("ffn_down", 128, 256),
        ):
            add(f"{place}{name}.weight", rows, columns, scale=0.2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return describe(file)


@pytest.fixture(scope="session")
def tiny_gguf() -> TinyGguf:
    """Writes a well-formed GGUF with the metadata of a chat model and one tensor: a model to all but llama.cpp."""

    def write(path: Path, *, architecture: str = "llama", template: str = "{{ messages }}", fill: float = 1.0) -> Path:
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_context_length(64)
        writer.add_block_count(1)
        writer.add_embedding_length(8)
        writer.add_token_list(["a", "b"])
        writer.add_tensor("token_embd.weight", np.full((2, 8), fill, np.float32))
        if template:
            writer.add_chat_template(template)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write
