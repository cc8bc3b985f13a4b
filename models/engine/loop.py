"""The engine's one thread: schedule, compute, take what came of it, again and again.

It owns the context: nothing else may call the runner. Everything reaches it through a queue, and every answer that was
handed in is resolved, with a result or an error, whatever happens.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from models.engine.answer import Answer, Logits
from models.engine.counters import Steps
from models.engine.pace import Pace
from models.engine.prefix_tree import PrefixTree
from models.engine.runner import MOST_SEQUENCES, Runner
from models.engine.scheduler import Scheduler
from models.engine.sequence import Sequence, Slice
from store.records.errors import BailiwickError, ModelFailed, Unreachable

FEW = 2
"""Sequences that may run for guesses to pay: with more, the device has enough to compute."""


class Loop:
    """Serves answers with one runner. `share` parks prefixes for others, `speculate` drafts from the text itself."""

    def __init__(self, runner: Runner, name: str, *, share: bool = True, speculate: bool = True) -> None:
        self._runner, self._name = runner, name
        self._speculate = speculate and runner.divisible
        parking = range(runner.slots, MOST_SEQUENCES) if share and runner.divisible else ()
        self._scheduler = Scheduler(
            runner, PrefixTree(runner, parking), runner.cells, range(runner.slots), runner.batch
        )
        self._pace = Pace(runner.batch)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._answers: dict[Sequence, Answer] = {}
        self._door, self._closed = threading.Lock(), False
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix=f"ahead-{name}")
        self.steps = Steps(cells=runner.cells)

    def hand_in(self, answer: Answer) -> None:
        """Takes an answer to serve; from any thread. Raises Unreachable if the loop has ended."""
        self._put(lambda: self._add(answer))

    def give_up(self, answer: Answer) -> None:
        """Ends an answer that nobody waits for any more, and frees its cells; from any thread."""
        self._inbox.put(lambda: self._fail(answer, Unreachable("the request was given up", self._name)))

    def restore(self, sequence: Sequence, state: bytes) -> Future[bool]:
        """Parks the saved state of all tokens of a sequence; from any thread.

        The future says whether there was room for it just now; it raises ModelFailed if the state does not fit.
        """
        done: Future[bool] = Future()

        def work() -> None:
            try:
                done.set_result(self._restore(sequence, state))
            except BailiwickError as error:
                done.set_exception(error)

        self._put(work)
        return done

    def close(self) -> None:
        """Asks the thread to end; what is in the making fails."""
        with self._door:
            self._closed = True
            self._inbox.put(lambda: None)

    def run(self) -> None:
        """Serves until closed. The thread's whole life."""
        ended: BailiwickError = Unreachable("the model was unloaded", self._name)
        try:
            while not self._closed:
                self._receive()
                self._expire(time.monotonic())
                parts = self._schedule()
                if parts:
                    self._step(parts)
        except BaseException as error:
            ended = ModelFailed(f"the engine failed: {type(error).__name__}", self._name, "restart the runtime")
            raise
        finally:
            self.close()
            self._receive()
            for answer in list(self._answers.values()):
                self._fail(answer, ended)
            self._ahead.shutdown()

    def _put(self, work: Callable[[], None]) -> None:
        with self._door:
            if self._closed:
                raise Unreachable("the model was unloaded", self._name)
            self._inbox.put(work)

    def _restore(self, sequence: Sequence, state: bytes) -> bool:
        scheduler = self._scheduler
        if not scheduler.seat(sequence):
            return False
        try:
            self._runner.restore(sequence.slot, state)
            sequence.computed = sequence.prompt
            scheduler.park(sequence)
            scheduler.trust(sequence)
        finally:
            scheduler.remove(sequence)
        return True

    def _receive(self) -> None:
        """Does what others have asked for; waits for it if there is nothing else to do."""
        if not self._answers and not self._closed:
            self._inbox.get()()
        while True:
            try:
                self._inbox.get_nowait()()
            except queue.Empty:
                return

    def _add(self, answer: Answer) -> None:
        self._answers[answer.sequence] = answer
        self._scheduler.add(answer.sequence)

    def _expire(self, now: float) -> None:
        for sequence, answer in list(self._answers.items()):
            if now >= sequence.deadline:
                sequence.stop = "deadline"
                self._finish(answer)

    def _schedule(self) -> list[Slice]:
        active = self._scheduler.active
        if self._speculate and not self._scheduler.waiting and len(active) <= FEW:
            for each in active:
                self._answers[each].guess()
        watched = any(each.streams and each.running for each in active)
        return self._scheduler.schedule(self._pace.prefill(watched), 0 if watched else self._runner.tail)

    def _step(self, parts: list[Slice]) -> None:
        began = time.perf_counter_ns()
        answers = [self._answers[part.sequence] for part in parts]
        now = time.monotonic()
        for answer in answers:
            answer.started = answer.started or now
        ahead = self._ahead.submit(_prepare, [a for a, part in zip(answers, parts, strict=True) if part.whole])
        before = self._runner.device_ns
        try:
            logits = self._runner.compute(parts)
        except ModelFailed as error:
            self._lost(answers, error)
            return
        finally:
            ahead.result()
        took = self._runner.device_ns - before
        self._settle(parts, answers, logits, took)
        self._count(parts, took, time.perf_counter_ns() - began)

    def _settle(self, parts: list[Slice], answers: list[Answer], logits: Logits, took: int) -> None:
        """Gives each slice its rows of the logits, and takes note of what came of them."""
        total = sum(len(part.tokens) for part in parts)
        row = 0
        for part, answer in zip(parts, answers, strict=True):
            rows = logits[row : row + part.outputs]
            row += part.outputs
            answer.device_ns += took * len(part.tokens) / total
            try:
                right = answer.advance(part, rows)
            except BailiwickError as error:
                self._fail(answer, error)
                continue
            except Exception as error:
                # One answer's grammar or sampler must not end the engine for all.
                self._fail(answer, ModelFailed(f"the answer failed: {type(error).__name__}", self._name))
                continue
            self._scheduler.computed(part, right)
            self.steps.drafted_tokens += part.drafted
            self.steps.accepted_tokens += right - (part.end - part.drafted)
            if part.sequence.stop:
                self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        answer.last = time.monotonic()
        answer.end()
        if answer.sequence.slot >= 0:
            self._scheduler.park(answer.sequence)
        self._forget(answer)
        answer.resolve()

    def _fail(self, answer: Answer, error: BaseException) -> None:
        self._forget(answer)
        answer.resolve(error)

    def _forget(self, answer: Answer) -> None:
        self._answers.pop(answer.sequence, None)
        self._scheduler.remove(answer.sequence)

    def _lost(self, answers: list[Answer], error: ModelFailed) -> None:
        """After a failure nothing in the memory can be trusted: those in the batch fail, the others begin anew."""
        self._runner.forget()
        for answer in answers:
            self._fail(answer, error)
        self._scheduler.restart()

    def _count(self, parts: list[Slice], device_ns: int, all_ns: int) -> None:
        steps, scheduler = self.steps, self._scheduler
        steps.steps += 1
        steps.batch = len(parts)
        steps.computed_tokens += sum(len(part.tokens) for part in parts)
        steps.step_device_ms += device_ns / 1e6
        steps.python_ms += (all_ns - device_ns) / 1e6
        steps.active, steps.waiting = len(scheduler.active), len(scheduler.waiting)
        steps.cells_used, steps.preempted = scheduler.used, scheduler.preempted
        prompts = sum(len(part.tokens) for part in parts if part.start < part.sequence.prompt)
        if any(part.start >= part.sequence.prompt for part in parts):
            self._pace.learn(prompts, device_ns)


def _prepare(answers: list[Answer]) -> None:
    """Does ahead what the answers may need; what fails here fails again, and is told, where it is needed."""
    for answer in answers:
        with suppress(Exception):
            answer.prepare()
