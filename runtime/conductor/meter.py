"""The meter: the model calls that one step of a run rests on, and what an event says of one.

An event tells of one model call: its model's digest, its tokens and device time, and in its payload what was asked. The
call that a step's result came from is told by the step's own event; those on the way to it have events of their own.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from models.request import Completion
from runtime.agents.proposal import Allowance, ModelCall
from runtime.gate.rates import Rates
from store.records.canonical import Json

EMBED_S = 60.0
"""Seconds that one embedding for the memory may take."""
FRAME = 16
"""Tokens that an embedding model puts around the windows of a text, at most."""


@dataclass(frozen=True, slots=True)
class Most:
    """The most that the model calls of a step may take: tokens of prompts and of answers, milliseconds of the device.
    No call takes more of the device's time than it is given to answer in."""

    prompt: int
    generated: int = 0
    device_ms: int = 0

    @classmethod
    def of(cls, allowance: Allowance) -> "Most":
        """What an allowance may come to."""
        calls, texts = allowance.calls, allowance.texts
        seconds = (calls + bool(texts)) * allowance.seconds
        return cls(calls * allowance.prompt + texts, calls * allowance.tokens, round(1000 * seconds))

    @property
    def tokens(self) -> int:
        """Prompted and generated."""
        return self.prompt + self.generated


@dataclass
class Meter:
    """The tokens that a step may spend on model calls, and the calls that were made."""

    most: int
    calls: list[ModelCall] = field(default_factory=list)

    @property
    def last(self) -> ModelCall | None:
        """The call that the result came from, None if it came from no model."""
        return self.calls[-1] if self.calls else None


def most_tokens(text: str) -> int:
    """The most tokens that embedding a text may take: none stands for less than a byte, but for those of its frame."""
    return len(text.encode()) + FRAME


def cost(call: ModelCall, rates: Rates) -> int:
    """What a model call cost, in millionths."""
    given = call.given
    prompt = given.prompt_tokens if isinstance(given, Completion) else given.tokens
    return rates.of_model(given.model, prompt, given.tokens - prompt, given.device_ms)


def columns(call: ModelCall | None, rates: Rates) -> dict[str, Any]:
    """The fields of an event that tell of a model call, and what it cost."""
    if call is None:
        return {}
    given = call.given
    return {
        "model_digest": given.model_digest,
        "prompt_digest": given.prompt_digest,
        "grammar_digest": given.grammar_digest if isinstance(given, Completion) else "",
        "tokens": given.tokens,
        "device_ms": given.device_ms,
        "cost_micros": cost(call, rates),
    }


def told(call: ModelCall | None) -> dict[str, Json]:
    """What an auditor may ask for: what was asked, and the answer. Vectors are left out: they follow from the rest."""
    if call is None:
        return {}
    asked = [each if isinstance(each, str) else [each.role, each.content] for each in call.asked]
    given = asdict(call.given)
    if isinstance(call.given, Completion):
        return {"messages": asked, "completion": {**given, "token_ids": list(call.given.token_ids)}}
    del given["vectors"]
    return {"texts": asked, "embedding": given}
