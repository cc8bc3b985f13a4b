"""Between text and tokens: turns a request into an answer for the loop, and what came of it into a completion.

Runs on the callers' threads, beside the engine's own: templates, tokens, grammars, and the last check of an answer.
"""

import time
from collections.abc import Sequence
from threading import Lock

import numpy as np

from models.engine.admission import admit_tokens
from models.engine.answer import Reply, Score
from models.engine.grammar import Grammar, Grammars
from models.engine.prefix_tree import common
from models.engine.prompt import Prompt
from models.engine.runner import Runner
from models.engine.sampler import Sampler
from models.engine.sequence import Sequence as Tokens
from models.engine.stops import Stops
from models.engine.tool_calls import parse
from models.errors import ContextOverflow
from models.model import Model
from models.request import Completion, Message, Request
from store.records.canonical import sha256
from store.records.errors import ModelFailed, SettingsError

LONGEST_CHOICE = 256
"""Tokens of one reply that can be scored."""


class Writer:
    """A chat model that answers. `context` is the most tokens of a prompt and its answer together."""

    def __init__(self, runner: Runner, model: Model, context: int, *, jump: bool = True) -> None:
        """Raises SettingsError if the chat template cannot be read."""
        self._runner, self._model, self._context, self._jump = runner, model, context, jump
        self._words = runner.vocabulary
        self._prompt = Prompt(model.template, self._words, lambda text: runner.tokenize(text, controls=True))
        self._grammars, self._compiling = Grammars(runner.grammar_tokens()), Lock()

    def reply(self, request: Request, arrived: float) -> Reply:
        """What the loop needs to answer a request; it may be complete already, if its grammar leaves no choice.

        Raises ContextOverflow if the prompt does not fit, ModelFailed if it is over its allowance, SchemaUnsupported if
        its schema cannot be enforced.
        """
        admit_tokens(request, len(self._words.pieces))
        prompt = self._tokens(request)
        grammar = self._grammar(request)
        reply = Reply(
            self._sequence(request, prompt, arrived),
            sampler=Sampler.of(request),
            vocabulary=self._words,
            limit=min(request.max_tokens, self._context - len(prompt)),
            matcher=grammar.matcher() if grammar else None,
            stops=Stops(request.stop),
            jump=self._jump and not request.logprobs,
            measures=request.logprobs,
        )
        reply.begin()
        return reply

    def scores(self, request: Request, choices: Sequence[str], arrived: float) -> list[Score]:
        """What the loop needs to score each choice as the whole reply to a request. Raises as `reply` does."""
        prompt = self._tokens(request)
        scores = []
        for choice in choices:
            tokens = self._runner.tokenize(choice)
            if not 0 < len(tokens) <= LONGEST_CHOICE:
                raise SettingsError(f"a choice has {len(tokens)} tokens, and 1 to {LONGEST_CHOICE} can be scored")
            if len(prompt) + len(tokens) > self._context:
                raise ContextOverflow(len(prompt) + len(tokens), self._context, self._model.name)
            sequence = self._sequence(request, prompt + tokens, arrived)
            # The prompt is worth parking, the choice is not; and the last token of the prompt has to be computed.
            sequence.keep, sequence.outputs_from = len(prompt) - 1, len(prompt) - 1
            scores.append(Score(sequence, ends=self._words.ends))
        return scores

    def prefix(self, request: Request) -> Tokens:
        """The tokens with which every prompt begins that has the request's messages and then the user's.

        Raises SettingsError if there are none.
        """
        ways = [self._prompt.tokens([*request.messages, Message("user", text)], request.tools) for text in "ab"]
        length = common(*(np.asarray(way, np.int32) for way in ways))
        if not 0 < length < self._context:
            raise SettingsError(f"the messages make a prefix of {length} tokens", self._model.name, "give others")
        return self._sequence(request, ways[0][:length], time.monotonic())

    def completion(self, request: Request, reply: Reply) -> Completion:
        """The record of an answer. One with a grammar that came to its end is checked again before it is given out.

        Raises ModelFailed if it does not fit.
        """
        sequence = reply.sequence
        assert sequence.stop
        grammar = self._grammar(request)
        text = reply.stops.text
        if grammar is not None and sequence.stop == "end":
            grammar.check(text)
        # Some models mark a call with control tokens, which are no text.
        parsed = parse(self._words.marked_text(reply.generated), request.tools)
        return Completion(
            text=parsed.text if parsed.calls else text,
            stop=sequence.stop,
            model=self._model.name,
            model_digest=self._model.sha256,
            prompt_digest=sha256(np.asarray(sequence.array, "<i4").tobytes()),
            grammar_digest=grammar.digest if grammar else "",
            seed=request.seed,
            sampler=reply.sampler.name,
            prompt_tokens=sequence.prompt,
            reused_tokens=sequence.reused,
            sampled_tokens=reply.sampled,
            forced_tokens=reply.forced,
            queue_ms=reply.since_arrival_ms(reply.started or reply.last),
            first_token_ms=reply.since_arrival_ms(reply.first),
            device_ms=round(reply.device_ns / 1e6),
            token_ids=tuple(reply.generated),
            logprobs=tuple(reply.logprobs),
            tool_calls=parsed.calls,
        )

    def _grammar(self, request: Request) -> Grammar | None:
        with self._compiling:
            return self._grammars.of(request)

    def _sequence(self, request: Request, tokens: list[int], arrived: float) -> Tokens:
        return Tokens(
            tokens,
            prompt=len(tokens),
            keep=len(tokens),
            space=request.space,
            priority=request.priority,
            arrived=arrived,
            deadline=arrived + request.deadline_s,
        )

    def _tokens(self, request: Request) -> list[int]:
        prompt = self._prompt.tokens(request.messages, request.tools)
        if 0 < request.max_prompt_tokens < len(prompt):
            what = f"the prompt has {len(prompt)} tokens, and its allowance is {request.max_prompt_tokens}"
            raise ModelFailed(what, self._model.name, "raise prompt_tokens_per_proposal, or ask for less at once")
        if not 0 < len(prompt) < self._context:
            raise ContextOverflow(len(prompt), self._context, self._model.name)
        return prompt
