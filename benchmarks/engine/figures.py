"""Numbers out of answers: percentiles, shares, and the rows of the report."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import median

import jsonschema

from benchmarks.engine.answer import Answer, Outcome
from benchmarks.engine.workload import Job, Level, Name


@dataclass(frozen=True, slots=True)
class Row:
    """One contender at one level. Times are milliseconds, memory MiB, shares 0 to 1; NaN where nothing was measured.

    `first` is the time to the first token, `token` the mean time between two tokens of one answer (percentiles over
    the answers), `gap` the median time between two pieces of text before the long prompt came, `longest` the longest
    after it. `valid` is the share of answers that fit their schema, `same` of those equal to ours byte for byte.
    `prompt`, `reused`, `sampled` and `forced` are tokens of all answers together.
    """

    workload: Name
    concurrency: int
    warm: bool
    contender: str
    requests: float
    failed: float
    per_minute: float
    tokens_per_s: float
    first_p50: float
    first_p95: float
    token_p50: float
    token_p95: float
    gap: float
    longest: float
    prompt: float
    reused: float
    sampled: float
    forced: float
    python_ms_per_step: float
    valid: float
    same: float
    peak_mib: float

    @property
    def stall_steps(self) -> float:
        """The longest gap after the long prompt came, in median gaps before it."""
        return self.longest / self.gap if self.gap else math.nan


def row(level: Level, contender: str, outcome: Outcome, ours: Outcome | None) -> Row:
    """The row of a contender; `ours` is what our engine made of the same level, if it was measured."""
    answers = outcome.answers
    good = [answer for answer in answers if not answer.error]
    return Row(
        workload=level.workload,
        concurrency=level.concurrency,
        warm=level.warm,
        contender=contender,
        requests=len(answers),
        failed=len(answers) - len(good),
        per_minute=60 * len(good) / outcome.seconds,
        tokens_per_s=sum(answer.generated_tokens for answer in good) / outcome.seconds,
        first_p50=percentile((answer.first_ms for answer in good), 50),
        first_p95=percentile((answer.first_ms for answer in good), 95),
        token_p50=percentile((answer.token_ms for answer in good if answer.generated_tokens > 1), 50),
        token_p95=percentile((answer.token_ms for answer in good if answer.generated_tokens > 1), 95),
        gap=percentile(outcome.gaps_before, 50),
        longest=max(outcome.gaps_after, default=math.nan),
        prompt=sum(answer.prompt_tokens for answer in good),
        reused=sum(answer.reused_tokens for answer in good),
        sampled=sum(answer.sampled_tokens for answer in good),
        forced=sum(answer.forced_tokens for answer in good),
        python_ms_per_step=outcome.python_ms / outcome.steps if outcome.steps else math.nan,
        valid=_share(fits(job, answer) for job, answer in zip(level.jobs, answers, strict=True) if job.schema),
        same=_share(a.text == b.text for a, b in zip(answers, ours.answers, strict=True)) if ours else math.nan,
        peak_mib=outcome.peak_bytes / 2**20,
    )


def middle(rows: Sequence[Row]) -> Row:
    """The medians of repeats of one row: figure by figure."""
    first = rows[0]
    numbers = {each.name: median(getattr(row, each.name) for row in rows) for each in fields(Row) if each.type is float}
    return Row(first.workload, first.concurrency, first.warm, first.contender, **numbers)


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that `share` percent of the values do not exceed (nearest rank); NaN for no values."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share / 100), 1) - 1] if ordered else math.nan


def fits(job: Job, answer: Answer) -> bool:
    """Whether an answer is JSON that fits its job's schema."""
    if answer.error or job.schema is None:
        return False
    try:
        value = json.loads(answer.text)
    except ValueError:
        return False
    return bool(jsonschema.Draft202012Validator(job.schema).is_valid(value))


def distinct_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens must be computed for prompts if every shared beginning is computed once: the nodes of a trie."""
    nodes: dict[tuple[int, int], int] = {}
    for prompt in prompts:
        node = 0
        for token in prompt:
            node = nodes.setdefault((node, token), len(nodes) + 1)
    return len(nodes)


def limit_per_minute(prompts: Sequence[Sequence[int]], answers: Sequence[Answer], prefill_per_s: float) -> float:
    """Requests a minute of a machine that did nothing but compute each token once, all at the speed of prefill.

    Forced tokens count: they save steps, not arithmetic. The last token of an answer is never computed.
    """
    generated = sum(max(answer.generated_tokens - 1, 0) for answer in answers)
    return 60 * len(answers) * prefill_per_s / (distinct_tokens(prompts) + generated)


def _share(found: Iterable[bool]) -> float:
    values = list(found)
    return sum(values) / len(values) if values else math.nan
