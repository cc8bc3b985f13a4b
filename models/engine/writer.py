"""Writes and scores answers with one loaded chat model. Runs on the engine's thread, one sequence at a time."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.engine.grammar import Grammar, Grammars
from models.engine.prefix import Prefix
from models.engine.prompt import Prompt
from models.engine.runner import BATCH, Runner
from models.engine.sampler import Sampler
from models.engine.sequence import Sequence as Answer
from models.errors import ContextOverflow
from models.request import Message, Request
from store.records.errors import ModelFailed, SettingsError

Expired = Callable[[], bool]


class Writer:
    """A chat model that answers. `name` is the model's, for errors."""

    def __init__(self, runner: Runner, template: str, name: str) -> None:
        """Raises SettingsError if the chat template cannot be read."""
        self._runner, self._name = runner, name
        self._words = runner.vocabulary
        self._prompt = Prompt(template, self._words, lambda text: runner.tokenize(text, controls=True))
        self._prefix = Prefix(runner, BATCH)
        self._grammars = Grammars(runner.grammar_tokens())

    def grammar(self, request: Request) -> Grammar | None:
        """The grammar of a request's schema, if it has one. Raises SchemaUnsupported if it cannot be enforced."""
        return None if request.schema is None else self._grammars.get(request.schema)

    def write(self, request: Request, grammar: Grammar | None, sampler: Sampler, expired: Expired) -> Answer:
        """Generates until the answer ends, the allowance or the context is spent, or time expired.

        Raises ContextOverflow if the prompt does not fit, ModelFailed if it is over its allowance.
        """
        prompt = self._tokens(request.messages)
        if 0 < request.max_prompt_tokens < len(prompt):
            what = f"the prompt has {len(prompt)} tokens, and its allowance is {request.max_prompt_tokens}"
            raise ModelFailed(what, self._name, "raise prompt_tokens_per_proposal, or ask for less at once")
        answer = Answer(
            prompt=prompt,
            limit=min(request.max_tokens, self._runner.context - len(prompt)),
            ends=self._words.ends,
            matcher=grammar.matcher() if grammar else None,
        )
        pending = answer.begin()
        if answer.stop:
            return answer
        answer.reused = self._prefix.keep(prompt)
        pending = prompt[answer.reused :] + pending
        while not answer.stop:
            logits = self._prefix.feed(pending, expired)
            if logits is None:
                answer.stop = "deadline"
            else:
                pending = answer.take(sampler.choose(logits[0], answer.matcher))
        return answer

    def score(
        self, messages: Sequence[Message], choices: Sequence[str], expired: Expired
    ) -> tuple[list[tuple[float, int]], int, int] | None:
        """The log-likelihood of each choice as the assistant's whole reply, and the number of its tokens.

        Returns those, the tokens of the prompt, and how many of them were reused; None if time expired. The end of the
        reply counts as one token, so that a choice is not favoured for being the beginning of another.
        """
        prompt = self._tokens(messages)
        replies = [self._runner.tokenize(choice) for choice in choices]
        for reply in replies:
            if not 0 < len(reply) <= BATCH:
                raise SettingsError(f"a choice has {len(reply)} tokens, and 1 to {BATCH} can be scored")
            if len(prompt) + len(reply) > self._runner.context:
                raise ContextOverflow(len(prompt) + len(reply), self._runner.context, self._name)
        reused = self._prefix.keep(prompt)
        logits = self._prefix.feed(prompt[reused:], expired)
        if logits is None:
            return None
        first = logits[0].copy()
        scores = []
        for reply in replies:
            self._prefix.keep([*prompt, -1])
            if len(self._prefix) < len(prompt):
                # A model that cannot forget a part has forgotten all of it.
                self._prefix.feed(prompt, lambda: False)
            after = self._prefix.feed(reply, expired, rows=len(reply))
            if after is None:
                return None
            scores.append((self._likelihood(np.vstack([first, after]), reply), len(reply) + 1))
        return scores, len(prompt), reused

    def _likelihood(self, logits: NDArray[np.float32], reply: Sequence[int]) -> float:
        """ln p(reply, then an end token), for logits (1 + tokens, vocabulary) before each of these."""
        rows = logits.astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
        ended = np.log(np.exp(rows[-1, list(self._words.ends)]).sum()) if self._words.ends else 0.0
        return float(rows[np.arange(len(reply)), list(reply)].sum() + ended)

    def _tokens(self, messages: Sequence[Message]) -> list[int]:
        prompt = self._prompt.tokens(messages)
        if not 0 < len(prompt) < self._runner.context:
            raise ContextOverflow(len(prompt), self._runner.context, self._name)
        return prompt
