"""Numbers out of a level's waves: the rows of the report."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.engine.answer import Answer, Outcome
from benchmarks.engine.figures import percentile
from benchmarks.gpu import roofline
from benchmarks.gpu.bandwidth import Bandwidth
from benchmarks.gpu.roofline import Traffic


@dataclass(frozen=True, slots=True)
class Wave:
    """The two phases of a wave, each with an answer for each of its requests."""

    prompts: Outcome
    decode: Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """One contender at one level with one model. NaN where nothing was measured.

    `decode_per_s` are answer tokens a second, `prompt_per_s` prompt tokens a second. `first_p50_ms` and `first_p95_ms`
    are milliseconds to the first token while all prompts are computed. `step_bytes` is what a step must read, and
    `roofline_share` which part of the bandwidth took steps that wrote `decode_per_s`. `recomputed` are prompt tokens
    that were computed again while answers were written, and so slowed them. `failed` counts answers that failed, or
    had another number of tokens than asked for; `requests` are those of both phases.
    """

    model: str
    contender: str
    concurrency: int
    requests: int
    failed: int
    prompt_tokens: int
    decode_per_s: float
    prompt_per_s: float
    first_p50_ms: float
    first_p95_ms: float
    recomputed: int
    step_bytes: float
    roofline_share: float


def row(model: str, contender: str, waves: Sequence[Wave], answer: int, traffic: Traffic, bandwidth: Bandwidth) -> Row:
    """The row of one level, of which there is a wave at least; each answer was to have `answer` tokens.

    With an answer that failed there is no share of the roofline, for then not all sequences ran.
    """
    prompts = [good for wave in waves for good in _good(wave.prompts, 1)]
    decoded = [good for wave in waves for good in _good(wave.decode, answer)]
    concurrency = len(waves[0].decode.answers)
    requests = 2 * concurrency * len(waves)
    decode_s = sum(wave.decode.seconds for wave in waves)
    place = roofline.position(fmean(each.prompt_tokens for each in decoded), answer) if decoded else math.nan
    step_bytes = traffic.step(concurrency, place)
    whole = len(decoded) == concurrency * len(waves)
    steps = answer * len(waves)
    return Row(
        model=model,
        contender=contender,
        concurrency=concurrency,
        requests=requests,
        failed=requests - len(prompts) - len(decoded),
        prompt_tokens=sum(each.prompt_tokens for each in prompts),
        decode_per_s=_per_s(sum(each.generated_tokens for each in decoded), decode_s),
        prompt_per_s=_per_s(_computed(prompts), sum(wave.prompts.seconds for wave in waves)),
        first_p50_ms=percentile((each.first_ms for each in prompts), 50),
        first_p95_ms=percentile((each.first_ms for each in prompts), 95),
        # The last token of a prompt has to be computed to know what follows it.
        recomputed=max(_computed(decoded) - len(decoded), 0),
        step_bytes=step_bytes,
        roofline_share=roofline.share(step_bytes, steps, decode_s, bandwidth.bytes_per_s) if whole else math.nan,
    )


def unlike(ours: Sequence[Wave], theirs: Sequence[Wave]) -> int:
    """How many requests have not the same number of prompt tokens at two contenders: what they computed differs."""
    pairs = zip(_answers(ours), _answers(theirs), strict=True)
    return sum(a.prompt_tokens != b.prompt_tokens for a, b in pairs if not a.error and not b.error)


def ratio(rows: Sequence[Row], model: str, concurrency: int, figure: str, ours: str) -> float:
    """A figure of our row over the best of the others' at the same level; NaN if one of them is not there."""
    found = [each for each in rows if (each.model, each.concurrency) == (model, concurrency)]
    mine = next((getattr(each, figure) for each in found if each.contender == ours), math.nan)
    best = max((getattr(each, figure) for each in found if each.contender != ours), default=math.nan)
    return float(mine / best) if best > 0 else math.nan


def _answers(waves: Sequence[Wave]) -> Iterable[Answer]:
    return (answer for wave in waves for outcome in (wave.prompts, wave.decode) for answer in outcome.answers)


def _good(outcome: Outcome, tokens: int) -> list[Answer]:
    return [each for each in outcome.answers if not each.error and each.generated_tokens == tokens]


def _computed(answers: Sequence[Answer]) -> int:
    return sum(each.prompt_tokens - each.reused_tokens for each in answers)


def _per_s(tokens: int, seconds: float) -> float:
    return tokens / seconds if tokens and seconds else math.nan
