"""Each load of a model is an event, and one that fell back to the CPU says so."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from runtime.gateway.messages import EventView
from store.records.kinds import Kind

LOADED = {"sha256": "ab" * 32, "name": "m", "layers": 30, "layers_on_device": 30, "fell_back": False}
FELL_BACK = {**LOADED, "layers_on_device": 0, "fell_back": True}


async def test_a_load_is_an_event_and_so_is_a_fall_to_the_cpu(live: Any) -> None:
    more: asyncio.Queue[list[dict[str, Any]]] = asyncio.Queue()

    async def loads() -> AsyncIterator[list[dict[str, Any]]]:
        while True:
            yield await more.get()

    async with live() as life:
        life.core.hear(loads())
        for each in ([LOADED], [], [FELL_BACK]):
            more.put_nowait(each)
        views: list[EventView] = []
        while len(views) < 2:
            await asyncio.sleep(0.01)
            told = await life.core.events(0, "", 100, True, 0.0)
            views = [view for view in told if view.event["kind"] == Kind.MODEL_LOADED]
    assert [view.event["decision"] for view in views] == ["", "fell-back"]
    assert [view.payload for view in views] == [LOADED, FELL_BACK]
    assert {view.event["model_digest"] for view in views} == {LOADED["sha256"]}
