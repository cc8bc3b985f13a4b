"""What is measured: the levels, how long prompts and answers are, and the requests themselves.

A wave is as many requests at once as the level says, each with a prompt of its own. It comes twice: for one token of
answer, which takes computing its prompts and hardly anything else; and, with these still in the KV memory, for all its
tokens, which takes nothing but decoding.
"""

import random
from dataclasses import dataclass
from typing import Literal

from benchmarks.engine.ours import Switches
from benchmarks.engine.peer import Setting
from benchmarks.engine.prose import private_part
from benchmarks.engine.workload import Job, Level

Phase = Literal["prompts", "decode"]
WARM_UP_TOKENS = 4
_OVERHEAD = 48
"""Tokens of a chat template, a ticket and a task, at most."""
_PAGE = 256
"""llama.cpp rounds the memory of a slot up to so many tokens."""
LEAST_CONTEXT = 8192
"""Our engine's KV memory holds at least one context, and so the peer gets no less."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`prompt` is about how many tokens a prompt has, `answer` how many an answer has. `waves` at each level, of which
    the one for a single request has `lone` times more."""

    levels: tuple[int, ...]
    prompt: int
    answer: int
    waves: int = 1
    lone: int = 4

    def waves_at(self, concurrency: int) -> int:
        """How often a level is measured."""
        return self.waves * (self.lone if concurrency == 1 else 1)

    def context(self, concurrency: int) -> int:
        """The KV memory in tokens that a level needs, for all its sequences together."""
        # A prompt may be half as long again as prose.estimate thinks.
        longest = self.prompt * 3 // 2 + _OVERHEAD + self.answer
        return max(concurrency * -(-longest // _PAGE) * _PAGE, LEAST_CONTEXT)


CARD = Plan((1, 8, 32, 64), prompt=192, answer=128, waves=2)
CARD_QUICK = Plan((1, 32), prompt=192, answer=128)
PROCESSOR = Plan((1, 8, 32, 64), prompt=64, answer=64)
PROCESSOR_QUICK = Plan((1, 8), prompt=64, answer=64)


def plan(card: bool, quick: bool) -> Plan:
    """What is measured with or without a GPU."""
    if card:
        return CARD_QUICK if quick else CARD
    return PROCESSOR_QUICK if quick else PROCESSOR


def ours(card: bool) -> Switches:
    """Our engine without drafts: of a token that was guessed right nothing is read, which no roofline knows."""
    return Switches("ours", speculate=False, require_gpu=card)


def peers(program: str, quick: bool) -> tuple[Setting, ...]:
    """llama.cpp's server, each slot with its own part of the KV memory, as is its default, and with one for all.

    It keeps no prompts beside the KV memory and draws with the top token only, either of which makes it faster here.
    """
    split = Setting("llama.cpp", ram_cache=0, lean=True, program=program)
    unified = Setting("llama.cpp, unified KV", unified=True, ram_cache=0, lean=True, program=program)
    return (split,) if quick else (split, unified)


def wave(plan: Plan, concurrency: int, phase: Phase, name: str, banned: tuple[int, ...]) -> Level:
    """The requests of one phase of a wave: their prompts are the same in both phases, and `name`'s alone.

    `banned` are the tokens that could end an answer before it has all its tokens.
    """
    random_ = random.Random(name)
    tokens = 1 if phase == "prompts" else plan.answer
    jobs = []
    for number in range(concurrency):
        system = f"{random_.getrandbits(32):08x} is your ticket."
        task = private_part("Write a long report about these events.", plan.prompt, random_)
        jobs.append(Job(number, "writer", system, task, tokens, banned=banned))
    return Level("free_text", concurrency, tuple(jobs))


def warm_up() -> Job:
    """A request before all others: what a device does at its first steps only is not to count."""
    return Job(0, "writer", "You are being tried out.", "Say something.", WARM_UP_TOKENS)
