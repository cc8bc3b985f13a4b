"""The real default models, loaded once: `make test` has installed them before."""

from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.engine.engine import Engine
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
