"""What concerns the whole suite."""

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# What a run tries does not depend on luck or on the machine's speed: a failure can be seen again. (The first text that
# Hypothesis makes on a fresh clone takes a second, for its tables of characters.)
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


ALONE = ("tests/e2e/", "tests/cluster/")
"""Where tests start Ray and real models: one of them at a time, while the other core does the rest."""


class Scheduling(LoadFileScheduling):
    """A file's tests go to one process, and all that start Ray to one."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(ALONE) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """Who does which test."""
    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray comes first: it takes the longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(ALONE))


def pytest_unconfigure() -> None:
    """Take Hypothesis's callback away from the garbage collector.

    CPython keeps gc.callbacks until after its last collection, so what this one refers to is never freed: through it
    pytest's session, its fixtures and DuckDB's types, which DuckDB's binding library then reports as leaked.
    """
    gc.callbacks[:] = [each for each in gc.callbacks if not each.__module__.startswith("hypothesis.")]


def pytest_configure() -> None:
    """A shell's background job ignores SIGINT, and so would every command that a test starts and ends by ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
