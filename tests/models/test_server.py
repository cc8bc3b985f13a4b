"""The model server: lazy, verified, counted, closed once."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.engine.engine import Engine
from models.engine.runner import accelerated
from models.model import Model
from models.registry import Registry
from models.request import Request
from models.server import Loaded, ModelServer
from store.records.errors import IntegrityError, SettingsError, Unreachable

Ask = Callable[..., Request]


@pytest.fixture
def events() -> list[Loaded]:
    return []


@pytest.fixture
def server(registry: Registry, events: list[Loaded]) -> Iterator[ModelServer]:
    server = ModelServer(registry, n_ctx=1024, on_load=events.append)
    yield server
    server.close()


@pytest.fixture
def site(small: Model, tmp_path: Path) -> Registry:
    """A registry with a model of two layers."""
    registry = Registry(tmp_path / "site")
    registry.add(small.file, "small")
    return registry


def test_models_are_loaded_when_asked_for_and_reported(
    server: ModelServer, registry: Registry, events: list[Loaded], ask: Ask
) -> None:
    assert server.loaded() == ()
    done = server.generate(ask("Yes or no?", schema={"enum": ["yes", "no"]}))
    scores = server.score(ask("Yes or no?"), ["yes", "no"])
    embedded = server.embed(["one", "two"], max_tokens=0, deadline_s=60)
    assert len(scores) == 2
    assert [len(vector) for vector in embedded.vectors] == [384, 384]
    assert tuple(events) == server.loaded()
    chat, embedding = events
    assert (chat.name, chat.sha256, chat.context) == (done.model, done.model_digest, 1024)
    assert (embedding.name, embedding.sha256) == (embedded.model, embedded.model_digest)
    assert (embedding.name, embedding.sha256) == ("all-minilm-l6-v2", registry.get(kind="embedding").sha256)
    stats = server.stats()
    assert json.loads(json.dumps(stats)) == stats
    assert stats["requests"] == 3
    assert stats["sampled_tokens"] == done.sampled_tokens
    assert (stats["answers"], stats["first_token_ms"]) == (1, done.first_token_ms)
    assert (stats["scored_choices"], stats["embedded_texts"], len(stats["models"])) == (2, 2, 2)
    assert stats["reused_tokens"] > 0


def test_many_callers_load_a_model_once(server: ModelServer, events: list[Loaded], ask: Ask) -> None:
    def call() -> None:
        server.generate(ask("x", schema={"const": 1}))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events) == 1
    assert server.stats()["requests"] == 6


def test_an_altered_file_is_found_at_load(tmp_path: Path, registry: Registry, ask: Ask) -> None:
    site = Registry(tmp_path / "site")
    model = site.add(registry.get().file, "mine", copy=True)
    with model.file.open("r+b") as file:
        file.seek(-500, 2)
        file.write(b"altered")
    server = ModelServer(site, "mine")
    with pytest.raises(IntegrityError):
        server.generate(ask("x"))
    assert server.loaded() == ()
    server.close()


def test_an_unknown_model_is_refused(server: ModelServer, ask: Ask) -> None:
    with pytest.raises(SettingsError, match="no model of this name"):
        server.generate(replace(ask("x"), model="absent"))
    with pytest.raises(SettingsError, match="for embedding, not for chat"):
        server.generate(replace(ask("x"), model="all-minilm-l6-v2"))


def test_a_closed_server_is_unreachable(registry: Registry, ask: Ask) -> None:
    server = ModelServer(registry, n_ctx=256)
    server.generate(ask("x", max_tokens=1))
    server.close()
    server.close()
    with pytest.raises(Unreachable, match="closed"):
        server.generate(ask("x"))


def test_a_required_gpu_is_required(registry: Registry, ask: Ask) -> None:
    server = ModelServer(registry, n_ctx=256, require_gpu=True)
    if accelerated():
        server.generate(ask("x", max_tokens=1))
        assert server.loaded()[0].layers_on_device >= registry.get().layers
    else:
        with pytest.raises(Unreachable, match="GPU is required"):
            server.generate(ask("x"))
    server.close()


@pytest.mark.parametrize("gpu_layers", [-1, 1, 0])
def test_layers_that_do_not_get_onto_a_gpu_that_is_there_are_told(
    small: Model, site: Registry, ask: Ask, monkeypatch: pytest.MonkeyPatch, gpu_layers: int
) -> None:
    monkeypatch.setattr("models.server.card", lambda: True)
    server = ModelServer(site, "small", n_ctx=256, gpu_layers=gpu_layers)
    server.generate(ask("x", max_tokens=1))
    (loaded,) = server.loaded()
    assert loaded.fell_back == (gpu_layers != 0 and not accelerated())
    assert accelerated() or (loaded.layers, loaded.layers_on_device) == (2, 0)
    server.close()


@pytest.mark.parametrize(("fit", "tried"), [(8, [-1]), (1, [-1, 1]), (0, [-1, 1, 0])])
def test_as_many_layers_as_fit_are_put_on_the_gpu(
    small: Model, site: Registry, ask: Ask, monkeypatch: pytest.MonkeyPatch, fit: int, tried: list[int]
) -> None:
    """On a GPU with room for `fit` layers, of which the model has two."""
    load, asked = Engine.load, []

    def short_of_memory(model: Model, **settings: Any) -> Engine:
        asked.append(settings["gpu_layers"])
        if (model.layers if asked[-1] < 0 else asked[-1]) > fit:
            raise SettingsError("llama.cpp cannot load the model: unable to allocate CUDA0 buffer")
        return load(model, **settings)

    monkeypatch.setattr(Engine, "load", short_of_memory)
    monkeypatch.setattr("models.engine.runner.accelerated", lambda: True)
    server = ModelServer(site, "small", n_ctx=256)
    server.generate(ask("x", max_tokens=1))
    assert asked == tried
    server.close()
    server = ModelServer(site, "small", n_ctx=256, require_gpu=True)
    if fit < small.layers:
        with pytest.raises(SettingsError, match="CUDA0"):
            server.generate(ask("x", max_tokens=1))
    server.close()


def test_listing_models_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from models.registry import Registry; import models.server; "
        "Registry(Path('/nonexistent')).list(); "
        "sys.exit(bool({'llama_cpp', 'numpy', 'llguidance', 'jinja2', 'gguf'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
