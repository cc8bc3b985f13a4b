"""Several models in memory: loaded once, the least used unloaded for another, none under those that it serves."""

import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from models.model import Model, describe
from models.registry import Registry
from models.request import Message, Request
from models.server import ModelServer
from store.records.errors import ModelFailed, SettingsError, Unreachable

MIB = 2**20


@pytest.fixture
def three(small: Model, tmp_path: Path) -> Registry:
    """A registry with three models of different digests and of one size."""
    registry = Registry(tmp_path / "site")
    data = small.file.read_bytes()
    for name in ("one", "two", "three"):
        file = tmp_path / f"{name}.gguf"
        # The last bytes are weights: another value makes another model.
        file.write_bytes(data[:-2] + name.encode()[:2])
        registry.add(file, name)
    return registry


def ask(model: str, **settings: int) -> Request:
    return Request((Message("user", "What is wrong?"),), model=model, **{"max_tokens": 2, **settings})


def names(server: ModelServer) -> list[str]:
    return [engine.model.name for engine in server._residents.all()]


def test_what_a_model_takes_is_told(three: Registry) -> None:
    server = ModelServer(three, n_ctx=512)
    server.generate(ask("one"))
    (loaded,) = server.loaded()
    assert loaded.host_bytes + loaded.device_bytes > describe(three.get("one").file).bytes
    assert not loaded.fell_back
    server.close()


def test_the_least_used_makes_room(three: Registry) -> None:
    server = ModelServer(three, n_ctx=512)
    server.generate(ask("one"))
    took = server.loaded()[0].host_bytes + server.loaded()[0].device_bytes
    server.close()
    server = ModelServer(three, n_ctx=512, memory_bytes=2 * took + MIB)
    for name in ("one", "two", "one", "three"):
        server.generate(ask(name))
    assert sorted(names(server)) == ["one", "three"]
    server.generate(ask("two"))
    assert [each.name for each in server.loaded()] == ["one", "two", "three", "two"]
    assert [each.name for each in server.resident()] == ["three", "two"]
    assert server.stats()["models"] == [asdict(each) for each in server.resident()]
    server.close()


def test_a_model_that_can_never_fit_is_refused_and_others_stay(three: Registry) -> None:
    server = ModelServer(three, n_ctx=512, memory_bytes=MIB)
    with pytest.raises(SettingsError, match="models may take 1"):
        server.generate(ask("one"))
    assert names(server) == []
    server.close()


def test_a_busy_model_is_not_unloaded(three: Registry) -> None:
    server = ModelServer(three, n_ctx=512)
    server.generate(ask("one"))
    took = server.loaded()[0].host_bytes + server.loaded()[0].device_bytes
    server.close()
    server = ModelServer(three, n_ctx=512, memory_bytes=took + MIB)
    running = server.submit(ask("one", max_tokens=400))
    with pytest.raises(Unreachable, match="all busy"):
        server.generate(ask("two"))
    assert running.result().token_ids
    assert server.generate(ask("two")).token_ids
    server.close()


def test_threads_that_ask_for_more_models_than_fit_are_all_answered(three: Registry) -> None:
    server = ModelServer(three, n_ctx=512)
    server.generate(ask("one"))
    took = server.loaded()[0].host_bytes + server.loaded()[0].device_bytes
    server.close()
    server = ModelServer(three, n_ctx=512, memory_bytes=2 * took + MIB)
    answered: list[str] = []
    refused: list[str] = []

    def call(name: str) -> None:
        done = 0
        while done < 4:
            try:
                answered.append(server.generate(ask(name)).model)
                done += 1
            except Unreachable as error:
                refused.append(error.what)

    threads = [threading.Thread(target=call, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answered) == ["one"] * 4 + ["three"] * 4 + ["two"] * 4
    assert set(refused) <= {"the models in memory are all busy"}
    server.close()


def test_a_load_that_fails_can_be_tried_again(three: Registry, tmp_path: Path) -> None:
    server = ModelServer(three, n_ctx=512)
    file = three.get("two").file
    hidden = file.rename(tmp_path / "hidden")
    with pytest.raises(SettingsError):
        server.generate(ask("two"))
    hidden.rename(file)
    assert server.generate(ask("two")).token_ids
    server.close()
    with pytest.raises(Unreachable, match="closed"):
        server.generate(ask("two"))


def test_a_model_that_is_asked_for_while_it_loads_is_loaded_once(three: Registry) -> None:
    server = ModelServer(three, n_ctx=512)
    ends: list[object] = []

    def call(request: Request) -> None:
        try:
            ends.append(server.generate(request).stop)
        except ModelFailed as error:
            ends.append(error)

    many = [threading.Thread(target=call, args=(replace(ask("one"), seed=number),)) for number in range(8)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()
    assert len(server.loaded()) == 1
    assert ends == ["length"] * 8
    server.close()
