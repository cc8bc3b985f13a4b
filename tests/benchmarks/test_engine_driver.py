"""The driver of the engine's benchmark, with a contender that answers at once and takes notes."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.engine.answer import Answer, Outcome
from benchmarks.engine.contender import obey
from benchmarks.engine.driver import STARTED, Contender, OnText, peak_bytes, run
from benchmarks.engine.ours import OURS, Switches
from benchmarks.engine.peer import DEFAULT, Setting
from benchmarks.engine.process import ContenderFailed, Process
from benchmarks.engine.workload import Job, Level, agents, free_text, stall


class Notes:
    """A contender without a model: it notes when jobs begin and end, and waits as it is told."""

    def __init__(self, wait: Callable[[Job], None] = lambda _: None) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self._wait = wait

    def answer(self, job: Job, on_text: OnText | None = None) -> Answer:
        with self._lock:
            assert set(job.after) <= set(self.ended)
            self.begun.append(job.number)
            self._running += 1
            self.most = max(self.most, self._running)
        if on_text:
            for _ in range(STARTED):
                on_text("x")
        self._wait(job)
        with self._lock:
            self._running -= 1
            self.ended.append(job.number)
        return Answer(text=str(job.number), first_ms=1.0, total_ms=2.0, sampled_tokens=2)

    def work(self) -> tuple[int, float]:
        return len(self.ended), 3.0 * len(self.ended)

    def prompt(self, job: Job) -> list[int]:
        return [job.number]

    def close(self) -> None:
        pass


def test_every_job_is_answered_once_and_in_its_place() -> None:
    notes: Contender = Notes()
    outcome = run(notes, agents(8, 48, "a", shared_tokens=200))
    assert [answer.text for answer in outcome.answers] == [str(number) for number in range(50)]
    assert outcome.steps == 50
    assert outcome.python_ms == 150.0
    assert outcome.peak_bytes == pytest.approx(peak_bytes(), rel=0.5)


def test_as_many_jobs_run_at_once_as_the_level_says() -> None:
    # Jobs go on only when four of them have met: with fewer at once, this would not end.
    meeting = threading.Barrier(4, timeout=60)

    def meet(_: Job) -> None:
        meeting.wait()

    notes = Notes(meet)
    run(notes, free_text(4, 8, "a"))
    assert notes.most == 4


def test_one_at_a_time_takes_the_jobs_in_their_order() -> None:
    notes = Notes()
    run(notes, agents(1, 15, "a", shared_tokens=200))
    assert notes.begun == list(range(15))


def test_the_long_prompt_comes_when_all_streams_show_text() -> None:
    arrived = threading.Event()
    notes = Notes(lambda job: arrived.set() if job.number == 3 else _await(arrived))
    outcome = run(notes, stall(3, "a", 300))
    assert notes.begun[-1] == 3
    assert len(outcome.answers) == 4
    assert len(outcome.gaps_before) == 3 * (STARTED - 1)


def test_a_stream_that_stands_still_while_the_long_prompt_is_answered_shows_as_a_gap() -> None:
    arrived = threading.Event()

    class Stalling(Notes):
        def answer(self, job: Job, on_text: OnText | None = None) -> Answer:
            answer = super().answer(job, on_text)
            if on_text:
                on_text("after the stall")
                return answer
            return Answer(first_ms=60_000.0)

    notes = Stalling(lambda job: arrived.set() if job.number == 2 else _await(arrived))
    outcome = run(notes, stall(2, "a", 300))
    assert len(outcome.gaps_after) == 2


def test_a_contender_that_raises_ends_the_run_with_its_error() -> None:
    def fail(_: Job) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(Notes(fail), Level("free_text", 2, free_text(2, 4, "a").jobs))


def test_a_contender_obeys_orders_and_knows_no_others() -> None:
    one = free_text(1, 1, "a")
    assert obey(Notes(), {"do": "prompts", "jobs": [asdict(one.jobs[0])]}) == [[0]]
    assert Answer(**obey(Notes(), {"do": "answer", "job": asdict(one.jobs[0])})).text == "0"
    outcome = Outcome.parse(json.loads(json.dumps(obey(Notes(), {"do": "run", "level": asdict(one)}))))
    assert [answer.text for answer in outcome.answers] == ["0"]
    with pytest.raises(ValueError, match="dance"):
        obey(Notes(), {"do": "dance"})


@pytest.mark.parametrize("setting", [OURS, DEFAULT])
def test_a_contender_that_cannot_load_says_why(setting: Switches | Setting, tmp_path: Path) -> None:
    with pytest.raises(ContenderFailed, match=f"{setting.name} ended with code 1: .*Error"):
        Process(setting, tmp_path / "none.gguf", slots=1, context=64, threads=1)


def _await(event: threading.Event) -> None:
    assert event.wait(60)
