"""The model server's actor tells each load to whoever listens, also after it was started anew.

Its methods are called directly, without Ray between: what Ray adds is tried in tests/e2e.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.request import Message, Request
from runtime.actors import model_server
from runtime.actors.model_server import ModelActor, ModelHandle
from runtime.settings import Settings
from store.records.errors import Unreachable

QUESTION = Request((Message("user", "x"),), max_tokens=1)


class Direct:
    """A handle on an actor in this process. `lives` are its lives, of which the last one answers."""

    def __init__(self, lives: list[Any]) -> None:
        self._lives = lives

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: getattr(self._lives[-1], name)(*arguments))


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[list[Any]]:
    """One life of a model server; a test may add another."""
    made = [start(tmp_path)]
    yield made
    for each in made:
        each._server.close()


def start(folder: Path) -> Any:
    kind: Any = ModelActor
    return kind.__ray_metadata__.modified_class(folder, Settings(context=256, threads=1))


async def test_loads_are_told_as_they_happen_and_those_of_the_next_life_too(lives: list[Any], tmp_path: Path) -> None:
    handle = ModelHandle(Direct(lives))
    await handle.warm()
    loads = handle.loads()
    names = [each["name"] for each in await anext(loads)]
    assert names == ["smollm2-135m-instruct", "all-minilm-l6-v2"]
    waiting = asyncio.ensure_future(anext(loads))
    lives[0]._server._residents.close()
    lives.append(start(tmp_path))
    lives[0]._tell(lives[0]._server.loaded()[0])  # as at the end of a life: whoever waits there is let go
    assert await waiting == []
    assert await anext(loads) == []
    waiting = asyncio.ensure_future(anext(loads))
    await handle.embed(["x"], 0, 60)
    assert [each["name"] for each in await waiting] == ["all-minilm-l6-v2"]
    await handle.generate(QUESTION)
    assert [each["name"] for each in await anext(loads)] == ["smollm2-135m-instruct"]
    assert [each["name"] for each in (await handle.stats())["models"]] == ["all-minilm-l6-v2", "smollm2-135m-instruct"]


async def test_a_model_server_that_is_down_is_asked_again(lives: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "PAUSE_S", 0)
    asked: list[int] = []

    async def down(*_: object) -> Any:
        asked.append(1)
        if len(asked) < 3:
            raise Unreachable("the model server is down")
        return await lives[0].loads("", 0)

    loads = ModelHandle(SimpleNamespace(loads=SimpleNamespace(remote=down))).loads()
    assert await anext(loads) == []
    assert len(asked) == 3
