"""How often a core may die: the supervisor's own count, without Ray. tests/e2e sees real cores die."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runtime.actors import supervisor
from runtime.actors.supervisor import MOST_DEATHS, Plan, Supervisor
from runtime.settings import Settings
from store.records.errors import Unreachable


class Watched(Supervisor):
    """One whose cores die as soon as they are there, `left` times."""

    def __init__(self, folder: Path, left: int) -> None:
        super().__init__(Plan(Settings(data_dir=folder), folder))
        self._spec: Any = supervisor.CoreSpec(folder, self._settings, *[None] * 3)  # type: ignore[arg-type]
        self.left, self.begun, self.over = left, 0, asyncio.Event()

    async def _death(self) -> None:
        if self.left == 0:
            self.over.set()
            await asyncio.Event().wait()
        self.left -= 1

    async def _new_core(self, spec: Any, resume: bool) -> None:
        assert resume
        self.begun += 1


async def test_a_core_that_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    kept = Watched(tmp_path, 10**6)
    await kept._keep_core()
    assert kept.begun == MOST_DEATHS - 1
    with pytest.raises(Unreachable, match=f"the core died {MOST_DEATHS} times"):
        await kept.stopped()


async def test_deaths_that_lie_far_apart_do_not_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STEADY_S", 0.0)
    kept = Watched(tmp_path, 3 * MOST_DEATHS)
    keeping = asyncio.create_task(kept._keep_core())
    await kept.over.wait()
    keeping.cancel()
    assert kept.begun == 3 * MOST_DEATHS
