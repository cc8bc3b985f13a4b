"""Whether this machine has a GPU, as its device files tell. Knows no driver, and asks nothing of it."""

from pathlib import Path

CARDS = ("/dev/nvidiactl", "/dev/kfd")
"""What the drivers of NVIDIA and AMD make where a process may reach their cards: in a container, only if it was given
one."""


def card() -> bool:
    """Whether a GPU of a kind that llama.cpp can be built for can be reached from here."""
    return any(Path(each).exists() for each in CARDS)
