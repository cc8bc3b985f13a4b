"""Every error of ours is the same after a journey between actors, which goes by pickle."""

import copy
import importlib
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace

import models
import runtime
import store
import tools
import tui
from models.errors import ContextOverflow
from runtime.gate.call import ToolCall
from runtime.gate.errors import Suspended
from store.records.errors import BailiwickError
from store.records.identity import Agent, Principal, User
from store.records.labels import Labels
from tools.record import ToolRecord

CALL = ToolCall(
    run="r1",
    step="1",
    record=ToolRecord(name="ops.restart"),
    arguments={"service": "orders"},
    principal=Principal(User("alice", 1000, "local", "ops"), Agent("worker", "1")),
    labels=Labels("local"),
)
ROOMS = (models, runtime, store, tools, tui)
OWN: dict[type[BailiwickError], Callable[[], BailiwickError]] = {
    ContextOverflow: lambda: ContextOverflow(9000, 8192, "small"),
    Suspended: lambda: Suspended(replace(CALL, suspended_by=("approval:restart",)), "ab" * 32),
}
"""How those errors are made that are not made of `what`, `where` and `do`."""


def kinds(kind: type[BailiwickError] = BailiwickError) -> Iterator[type[BailiwickError]]:
    """The class and all that are derived from it."""
    yield kind
    for each in kind.__subclasses__():
        yield from kinds(each)


def test_every_error_survives_pickling_whole() -> None:
    for room in ROOMS:
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)
    found = [each for each in dict.fromkeys(kinds()) if each.__module__.split(".")[0] in {r.__name__ for r in ROOMS}]
    assert len(found) > 15
    for kind in found:
        error = OWN.get(kind, lambda kind=kind: kind("what", "where", "do"))()
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(again) is kind
            assert (str(again), repr(again), again.args) == (str(error), repr(error), error.args)
            assert vars(again) == vars(error)
