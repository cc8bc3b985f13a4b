"""Named places where a test can kill the process, to prove that what it leaves behind is enough.

An armed point ends the process with SIGKILL: no cleanup, no flush, no exit handler, as when the power goes. Nothing
arms a point but an explicit call; no environment variable and no file does.
"""

import os
import signal
from enum import StrEnum

from store.records.errors import SettingsError


class CrashPoint(StrEnum):
    """Every point there is, in the order in which an effect passes them."""

    BEFORE_INTENT = "effect.before-intent"
    """Policy, approval and budget agreed; nothing of the effect is on disk."""
    AFTER_INTENT = "effect.after-intent"
    """The intent is on disk; the tool has not been called."""
    AFTER_CALL = "effect.after-call"
    """The tool has answered; the outcome is not recorded."""
    AFTER_OUTCOME = "effect.after-outcome"
    """The outcome is on disk; whoever called has not been told."""


_armed: dict[CrashPoint, int] = {}


def arm(name: str, visit: int = 1) -> None:
    """Let the process die at the `visit`-th time the point is reached from now on. Raises SettingsError."""
    try:
        point = CrashPoint(name)
    except ValueError:
        raise SettingsError(f"no crash point is called {name!r}", do=f"use one of {', '.join(CrashPoint)}") from None
    if visit < 1:
        raise SettingsError("a crash point is reached for the first time at visit 1", name)
    _armed[point] = visit


def disarm() -> None:
    """Forget every armed point."""
    _armed.clear()


def reach(point: CrashPoint) -> None:
    """Say that the code is at this point. Returns at once unless the point is armed for this visit."""
    if point not in _armed:
        return
    _armed[point] -= 1
    if _armed[point] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
