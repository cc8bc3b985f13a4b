"""The requests of the benchmark, made from a seed alone: two runs, and all contenders of one run, get the same.

A prompt never depends on an answer, or contenders whose answers differ would not compute the same. What depends on
an answer is when a request may start: the workers after their router, the reviewer after its workers.
"""

import random
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.engine.prose import log_line, private_part, system_prompt
from benchmarks.engine.schemas import REVIEWER, ROUTER, WORKER, Schema

Role = Literal["router", "worker", "reviewer", "writer"]
Name = Literal["agents", "free_text", "stall"]

SHARED_TOKENS = 1500
PRIVATE_TOKENS = (95, 370)
"""As `prose.estimate` counts: 100 to 400 tokens of SmolLM2."""
WORKERS = 3
CHAIN = WORKERS + 2
"""Requests of one chain: a router, its workers, a reviewer."""
ANSWER_TOKENS = 400
"""More than any answer needs, also for a contender that writes a JSON character by character."""
ARRIVAL_TOKENS = 6000
"""The long prompt that arrives while others stream; each of these has a tenth of its tokens to write."""


@dataclass(frozen=True, slots=True)
class Job:
    """One request: a system and a user message, and the numbers of the jobs that must have ended before it starts.

    `schema` None asks for free text. `urgent` is a hint for contenders that know priorities. `banned` are tokens that
    the answer must not have: without those that end it, it has `max_tokens`.
    """

    number: int
    role: Role
    system: str
    user: str
    max_tokens: int
    schema: Schema | None = None
    after: tuple[int, ...] = ()
    urgent: bool = False
    banned: tuple[int, ...] = ()

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "Job":
        """A job that went through JSON (`dataclasses.asdict`)."""
        return cls(**{**value, "after": tuple(value["after"]), "banned": tuple(value["banned"])})


@dataclass(frozen=True, slots=True)
class Level:
    """The jobs that one measurement is made of, of which at most `concurrency` run at once.

    For `stall` the last job is the one that arrives while all others stream.
    """

    workload: Name
    concurrency: int
    jobs: tuple[Job, ...] = field(repr=False)
    warm: bool = False

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "Level":
        """A level that went through JSON (`dataclasses.asdict`)."""
        return cls(**{**value, "jobs": tuple(Job.parse(job) for job in value["jobs"])})


def agents(
    concurrency: int, requests: int, name: str, *, warm: bool = False, shared_tokens: int = SHARED_TOKENS
) -> Level:
    """Chains of router, workers and reviewer, `requests` at least, over one system prompt that is `name`'s.

    A warm level has the system prompt of the cold one and other private parts, so that the prefix alone is there.
    """
    system = system_prompt(name, shared_tokens, random.Random(name))
    random_ = random.Random(f"{name} {'warm' if warm else 'cold'}")
    jobs: list[Job] = []
    # All routers first, then all workers, then all reviewers: in this order they are taken by whoever is free.
    chains = -(-requests // CHAIN)
    for chain in range(chains):
        jobs.append(_agent(len(jobs), "router", ROUTER, system, f"Incident {chain}: choose who investigates.", random_))
    for chain in range(chains):
        for worker in range(WORKERS):
            task = f"Incident {chain}, part {worker}: find the cause and propose one call."
            jobs.append(_agent(len(jobs), "worker", WORKER, system, task, random_, after=(chain,)))
    for chain in range(chains):
        workers = tuple(chains + chain * WORKERS + worker for worker in range(WORKERS))
        task = f"Incident {chain}: may the proposed calls be made?"
        jobs.append(_agent(len(jobs), "reviewer", REVIEWER, system, task, random_, after=workers))
    return Level("agents", concurrency, tuple(jobs), warm)


def free_text(concurrency: int, requests: int, name: str) -> Level:
    """Requests for free text, 100 to 200 prompt tokens and 64 to 128 answer tokens, that share nothing."""
    random_ = random.Random(name)
    jobs = []
    for number in range(requests):
        task = private_part("Write a long report about these events.", random_.randrange(84, 165), random_)
        system = f"{random_.getrandbits(32):08x} is your ticket."
        jobs.append(Job(number, "writer", system, task, random_.randrange(64, 129)))
    return Level("free_text", concurrency, tuple(jobs))


def stall(streams: int, name: str, tokens: int = ARRIVAL_TOKENS) -> Level:
    """Streams of free text, and one prompt of `tokens` that arrives while they run."""
    random_ = random.Random(name)
    jobs = []
    for number in range(streams):
        line = log_line(random_)
        task = f"Repeat this log line again and again, and never stop:\n{line}\n{line}\n{line}\n"
        jobs.append(Job(number, "writer", f"{random_.getrandbits(32):08x} is your ticket.", task, tokens // 10))
    task = private_part("Which service is ill?", tokens, random_)
    jobs.append(Job(streams, "writer", f"{random_.getrandbits(32):08x} is your ticket.", task, 8))
    return Level("stall", streams + 1, tuple(jobs))


def probe(name: str, tokens: int = SHARED_TOKENS) -> Job:
    """One prompt of about a level's length and one token of answer: how fast a contender computes prompts."""
    return Job(0, "writer", system_prompt(name, tokens, random.Random(name)), "Go.", 1)


def _agent(
    number: int,
    role: Role,
    schema: Schema,
    system: str,
    task: str,
    random_: random.Random,
    after: tuple[int, ...] = (),
) -> Job:
    user = private_part(task, random_.randint(*PRIVATE_TOKENS), random_)
    return Job(number, role, system, user, ANSWER_TOKENS, schema, after, urgent=role != "worker")
