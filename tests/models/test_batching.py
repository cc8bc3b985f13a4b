"""Many requests at a time on a real context: the same answers as alone, shared prefixes, preemption, giving up."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Any

import pytest

from models.engine.engine import Engine
from models.model import Model
from models.request import Completion, Message, Request
from store.records.errors import Unreachable

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"service": {"enum": ["gateway", "orders"]}, "summary": {"type": "string", "maxLength": 12}},
    "required": ["service", "summary"],
    "additionalProperties": False,
}
SYSTEM = "You look after services. " * 30
Load = Callable[..., Engine]


@pytest.fixture
def load(small: Model) -> Iterator[Load]:
    """Loads the small model, and frees it after the test."""
    engines: list[Engine] = []

    def make(**settings: Any) -> Engine:
        engines.append(Engine.load(small, n_ctx=1024, n_threads=1, **{"flash_attention": False, **settings}))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def asked(text: str, **settings: Any) -> Request:
    return Request((Message("system", SYSTEM), Message("user", text)), **{"max_tokens": 24, **settings})


def mixed(count: int) -> list[Request]:
    """Requests of every kind: free and bound, greedy and drawn, with and without a common beginning."""
    kinds: list[dict[str, Any]] = [
        {},
        {"schema": FORM, "max_tokens": 60},
        {"temperature": 0.3, "seed": 7},
        {"schema": FORM, "temperature": 0.3, "seed": 3, "max_tokens": 60},
    ]
    return [asked(f"Incident {number}: what is wrong?", **kinds[number % 4]) for number in range(count)]


def alone(load: Load, requests: list[Request]) -> list[tuple[int, ...]]:
    engine = load(slots=1, share_prefixes=False, speculate=False)
    return [engine.generate(request).token_ids for request in requests]


@pytest.mark.parametrize(
    "settings", [{}, {"cells": 4096}, {"slots": 3}, {"share_prefixes": False}, {"speculate": False}]
)
def test_an_answer_does_not_depend_on_its_company(load: Load, settings: dict[str, Any]) -> None:
    requests = mixed(12)
    engine = load(**settings)
    together = [each.result().token_ids for each in [engine.submit(request) for request in requests]]
    assert together == alone(load, requests)


def test_without_jumping_forward_the_text_is_the_same(load: Load) -> None:
    request = asked("What is wrong?", schema=FORM, max_tokens=100)
    jumped, stepped = load().generate(request), load(jump_forward=False).generate(request)
    assert (jumped.text, jumped.stop) == (stepped.text, "end")
    assert jumped.forced_tokens > 5
    assert stepped.forced_tokens == 0


def test_a_common_beginning_is_computed_once(load: Load) -> None:
    engine = load(cells=8192)
    done = [each.result() for each in [engine.submit(request) for request in mixed(9)]]
    beginning = min(each.reused_tokens for each in done if each.reused_tokens)
    assert sorted(each.reused_tokens == 0 for each in done) == [False] * 8 + [True]
    assert beginning > 100
    assert engine.counters["computed_tokens"] < sum(each.tokens for each in done) - 8 * beginning + 8


def test_nothing_is_shared_between_spaces(load: Load) -> None:
    engine = load(cells=4096)
    first = engine.generate(asked("What is wrong?", space="ward-1"))
    assert engine.generate(asked("What is wrong?", space="ward-2")).reused_tokens == 0
    assert engine.generate(asked("What is wrong?", space="ward-1")).reused_tokens == first.prompt_tokens - 1


def test_with_too_little_memory_for_all_everyone_is_answered(load: Load) -> None:
    requests = [asked(f"{number} " * 150, max_tokens=60) for number in range(6)]
    engine = load(share_prefixes=False)
    together = [each.result() for each in [engine.submit(request) for request in requests]]
    assert engine.counters["preempted"] > 0
    assert [each.token_ids for each in together] == alone(load, requests)


def test_what_is_given_up_frees_its_memory(load: Load) -> None:
    engine = load(cells=4096, share_prefixes=False)
    waiting = [engine.submit(asked(f"Count {number}.", max_tokens=900)) for number in range(4)]
    until(lambda: engine.counters["active"] == 4)
    for each in waiting[:3]:
        assert each.cancel()
    until(lambda: engine.counters["active"] == 1)
    used = engine.counters["cells_used"]
    assert used < 1024
    waiting[3].cancel()
    with pytest.raises(CancelledError):
        waiting[3].result()
    assert engine.generate(asked("And now?", max_tokens=2)).token_ids


def test_a_stream_is_the_answer_in_pieces(load: Load) -> None:
    pieces: list[str] = []
    done = load().submit(asked("Tell me.", max_tokens=60), on_text=pieces.append).result()
    assert "".join(pieces) == done.text
    assert len(pieces) >= 1


def test_a_deadline_leaves_what_there_is(load: Load) -> None:
    engine = load()
    done = engine.generate(asked("Go on and on.", max_tokens=800, deadline_s=0.3, logit_bias=ends_never(engine)))
    assert (done.stop, done.queue_ms < 300) == ("deadline", True)
    assert len(done.token_ids) < 800


def test_log_probabilities_are_those_of_the_tokens(load: Load) -> None:
    engine = load()
    done = engine.generate(asked("Which?", schema=FORM, max_tokens=100, logprobs=True))
    assert len(done.logprobs) == len(done.token_ids)
    assert all(each <= 0 for each in done.logprobs)
    assert done.forced_tokens == 0
    plain = replace(asked("Which?"), max_tokens=1, logprobs=True)
    first = engine.generate(plain)
    scored = engine.score(plain, [first.text])[0]
    assert scored < first.logprobs[0] <= 0


def test_the_urgent_goes_before_those_that_wait(load: Load) -> None:
    engine = load(slots=1)
    order: list[str] = []

    def note(name: str) -> Callable[["Future[Completion]"], None]:
        return lambda _: order.append(name)

    busy = engine.submit(asked("Busy.", max_tokens=200))
    until(lambda: engine.counters["active"] == 1)
    late = [engine.submit(asked(f"Later {number}", max_tokens=2)) for number in range(3)]
    urgent = engine.submit(asked("Now!", max_tokens=2, priority=3))
    for number, each in enumerate(late):
        each.add_done_callback(note(f"late {number}"))
    urgent.add_done_callback(note("urgent"))
    for each in (busy, urgent, *late):
        each.result()
    assert order == ["urgent", "late 0", "late 1", "late 2"]


def test_closing_resolves_everything(load: Load) -> None:
    engine = load()
    waiting = [engine.submit(asked(f"Count {number}.", max_tokens=800)) for number in range(30)]
    engine.close()
    assert {type(each.exception()) for each in waiting} <= {Unreachable, type(None)}
    assert any(each.exception() for each in waiting)
    with pytest.raises(Unreachable):
        engine.submit(asked("x"))


def test_closing_while_others_ask_ends_nobody_but_the_engine(load: Load) -> None:
    """Prompts are tokenized on the callers' threads: the model must not be freed under them."""
    engine = load(slots=4)
    ends: list[type] = []

    def call(number: int) -> None:
        try:
            while True:
                engine.generate(asked(f"{number} " * 200, max_tokens=1))
        except BaseException as error:
            ends.append(type(error))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: engine.counters["requests"] > 3)
    engine.close()
    for thread in threads:
        thread.join()
    assert ends == [Unreachable] * 8


def test_threads_that_come_and_go(load: Load) -> None:
    engine = load(slots=4)
    answers: dict[int, str] = {}

    def call(number: int) -> None:
        future = engine.submit(asked(f"Say {number}.", schema={"enum": [number, -number]}))
        if number % 3:
            answers[number] = future.result().text
        else:
            future.cancel()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(1, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {abs(json.loads(text)) for text in answers.values()} == set(answers)
    until(lambda: engine.counters["active"] == engine.counters["waiting"] == 0)


def until(true: Callable[[], bool]) -> None:
    """Waits until something is true; a hang is the test run's time limit."""
    while not true():
        time.sleep(0.002)


def ends_never(engine: Engine) -> tuple[tuple[int, float], ...]:
    """A bias against every token that ends an answer."""
    return tuple((token, -100.0) for token in engine._runner.vocabulary.ends)
