"""The client: every verb of the gateway as a typed method. Command line and dashboard share it.

Imports nothing heavy, knows nothing of the core, and takes no answer from a process of another user.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import ValidationError

from runtime.gateway.address import Address, UnixAddress
from runtime.gateway.backend import Verbs
from runtime.gateway.channel import Channel
from runtime.gateway.messages import Greeting
from runtime.gateway.paths import newest_socket
from runtime.gateway.verbs import VERBS, Verb
from runtime.gateway.wire import REQUESTS, error
from store.records.errors import BailiwickError, Unreachable

__all__ = ["Client", "newest_socket"]

P = ParamSpec("P")
R = TypeVar("R")


def remote(
    method: Callable[Concatenate[Verbs, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["Client", P], Coroutine[Any, Any, R]]:
    """The client's method for a verb with one answer."""
    verb = VERBS[method.__name__]

    @functools.wraps(method)
    async def ask(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        answer: R = await client._ask(verb, verb.named(args, kwargs))
        return answer

    return ask


def stream(
    method: Callable[Concatenate[Verbs, P], AsyncIterator[R]],
) -> Callable[Concatenate["Client", P], AsyncGenerator[R, None]]:
    """The client's method for a verb that answers with items."""
    verb = VERBS[method.__name__]

    @functools.wraps(method)
    def items(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, None]:
        return client._items(verb, verb.named(args, kwargs))

    return items


class Client:
    """A connection to a runtime. Implements `Verbs`.

    Requests may overlap; they share a connection. A stream has one of its own, so that a reader who takes its time
    holds back nothing else. After a loss every method raises Unreachable; connect again, and `follow` from the last
    sequence number seen.
    """

    runs = remote(Verbs.runs)
    run = remote(Verbs.run)
    events = remote(Verbs.events)
    sql = remote(Verbs.sql)
    verify = remote(Verbs.verify)
    export = remote(Verbs.export)
    checkpoints = remote(Verbs.checkpoints)
    destroyed = remote(Verbs.destroyed)
    holds = remote(Verbs.holds)
    prove = remote(Verbs.prove)
    checkpoint = remote(Verbs.checkpoint)
    storage = remote(Verbs.storage)
    costs = remote(Verbs.costs)
    alerts = remote(Verbs.alerts)
    policy = remote(Verbs.policy)
    propose_policy = remote(Verbs.propose_policy)
    proposed_policy = remote(Verbs.proposed_policy)
    approve_policy = remote(Verbs.approve_policy)
    submit = remote(Verbs.submit)
    follow = stream(Verbs.follow)
    approvals = remote(Verbs.approvals)
    answer = remote(Verbs.answer)
    grants = remote(Verbs.grants)
    propose_grant = remote(Verbs.propose_grant)
    add_grant = remote(Verbs.add_grant)
    revoke_grant = remote(Verbs.revoke_grant)
    resume = remote(Verbs.resume)
    cancel = remote(Verbs.cancel)
    pause = remote(Verbs.pause)
    signal = remote(Verbs.signal)
    questions = remote(Verbs.questions)
    reply = remote(Verbs.reply)
    retry = remote(Verbs.retry)
    fork = remote(Verbs.fork)
    settle = remote(Verbs.settle)
    halt = remote(Verbs.halt)
    release = remote(Verbs.release)
    hold = remote(Verbs.hold)
    end_hold = remote(Verbs.end_hold)
    shred = remote(Verbs.shred)
    sweep = remote(Verbs.sweep)
    backup = remote(Verbs.backup)
    status = remote(Verbs.status)
    stop = remote(Verbs.stop)
    queues = remote(Verbs.queues)
    schedules = remote(Verbs.schedules)
    add_schedule = remote(Verbs.add_schedule)
    change_schedule = remote(Verbs.change_schedule)
    whoami = remote(Verbs.whoami)
    users = remote(Verbs.users)
    issue_token = remote(Verbs.issue_token)
    tokens = remote(Verbs.tokens)
    revoke_token = remote(Verbs.revoke_token)
    budgets = remote(Verbs.budgets)
    set_budget = remote(Verbs.set_budget)

    def __init__(self, address: Address, channel: Channel) -> None:
        self._address = address
        self._channel = channel
        self._ids = count(1)
        self._places = asyncio.Semaphore(REQUESTS)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._lost: BailiwickError | None = None
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def connect(cls, path: Path | None = None) -> "Client":
        """Connect to the socket, or to the usual one. Raises Unreachable if nobody listens, Denied if it refuses us."""
        return await cls.at(UnixAddress(path or newest_socket()))

    @classmethod
    async def at(cls, address: Address) -> "Client":
        """Connect to an address. Raises as `connect`."""
        return cls(address, await Channel.open(address))

    @property
    def greeting(self) -> Greeting:
        """What the runtime said of itself and of us."""
        return self._channel.greeting

    async def close(self) -> None:
        """Hang up. Requests that still wait end with Unreachable. May be called twice."""
        self._listener.cancel()
        await asyncio.wait({self._listener})
        self._fail(Unreachable("the connection was closed", str(self._address)))
        await self._channel.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, verb: Verb, arguments: dict[str, Any]) -> Any:
        async with self._places:
            if self._lost:
                raise _again(self._lost)
            request = next(self._ids)
            future = self._waiting[request] = asyncio.get_running_loop().create_future()
            try:
                await self._channel.send(request, verb.name, arguments)
                answer = await future
            finally:
                del self._waiting[request]
        if "error" in answer:
            raise error(answer["error"])
        return _typed(verb, answer.get("result"))

    async def _items(self, verb: Verb, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
        channel = await Channel.open(self._address)
        try:
            if channel.greeting.pid != self.greeting.pid:
                raise Unreachable("another runtime has taken this one's place", str(self._address), "connect again")
            await channel.send(1, verb.name, arguments)
            while "item" in (answer := await channel.receive()):
                yield _typed(verb, answer["item"])
            if "error" in answer:
                raise error(answer["error"])
        finally:
            await channel.close()

    async def _listen(self) -> None:
        try:
            while True:
                answer = await self._channel.receive()
                future = self._waiting.get(answer.get("id", 0))
                if future and not future.done():
                    future.set_result(answer)
        except BailiwickError as lost:
            self._fail(lost)

    def _fail(self, lost: BailiwickError) -> None:
        self._lost = self._lost or lost
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_again(lost))


def _again(lost: BailiwickError) -> BailiwickError:
    """The same error anew: one exception raised in many tasks would gather all their tracebacks."""
    return type(lost)(*lost.args)


def _typed(verb: Verb, value: Any) -> Any:
    try:
        return verb.result.validate_python(value)
    except ValidationError:
        raise Unreachable(
            f"the answer to {verb.name} has another form", do="restart it, so that both are one version"
        ) from None
