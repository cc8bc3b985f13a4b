"""Makes a model's answer fit what it is bound to: which tokens may stand next, and which ones must.

JSON is compact (no white space between values). What llguidance cannot enforce is refused by name, never ignored; every
finished answer is checked again by other means. Schemas may come from untrusted tool servers: nothing is fetched, and
their size is bounded.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from models.engine.constraint import Check, constraint, constraint_key
from models.errors import SchemaUnsupported
from models.request import Request
from store.records.canonical import sha256
from store.records.errors import ModelFailed

KEPT = 64


class Matcher:
    """Where one answer stands in its grammar. `prepare` may be called from another thread than the rest."""

    def __init__(self, matcher: LLMatcher, size: int) -> None:
        self._matcher, self._size = matcher, size
        self._lock = threading.Lock()
        self._bits: bytes | None = None

    @property
    def done(self) -> bool:
        """True when the answer is complete and nothing may follow."""
        with self._lock:
            return bool(self._matcher.is_stopped())

    def accept(self, token: int) -> bool:
        """Takes the token, if it may stand next; changes nothing if it may not. Microseconds: no mask is needed."""
        with self._lock:
            accepted = self._matcher.try_consume_tokens([token]) == 1
            self._bits = None if accepted else self._bits
            return accepted

    def prepare(self) -> None:
        """Computes what `allowed` will say, without the interpreter's lock: while the model computes the logits.

        A token that is taken or forced in between makes the work void.
        """
        with self._lock:
            if self._bits is None:
                self._bits = self._matcher.compute_bitmask()

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may stand next: bool (vocabulary,)."""
        self.prepare()
        bits = np.frombuffer(self._bits or b"", np.uint8)
        return np.unpackbits(bits, count=self._size, bitorder="little").view(np.bool_)

    def forced(self, most: int) -> list[int]:
        """Takes and returns the tokens that must stand next, `most` of them at most.

        They are the tokens that the model itself would write. llguidance tokenizes the forced bytes with the model's
        own tokenizer, together with the token before them, and keeps back the last ones that what follows could still
        change: after `{"a":` a token `"` is not forced, since it could become `"x` (llguidance, `ff_tokens` and
        `chop_tokens`). What is kept back stays demanded of the next token's bytes.
        """
        with self._lock:
            if most <= 0 or self._matcher.is_stopped():
                return []
            tokens = self._matcher.compute_ff_tokens()[:most]
            if not tokens:
                return []
            self._bits = None
            if not self._matcher.consume_tokens(tokens):
                raise ModelFailed("the grammar refuses the tokens that it forces", "", "simplify the schema")
            return tokens

    def rollback(self, count: int) -> None:
        """Takes back the last `count` tokens, accepted or forced. Raises ModelFailed if there are not so many."""
        with self._lock:
            self._bits = None
            if count and not self._matcher.rollback(count):
                raise ModelFailed(f"the grammar cannot take back {count} tokens")

    def check(self) -> None:
        """Raises ModelFailed if the grammar met a limit: then its answers mean nothing."""
        with self._lock:
            if self._matcher.is_error():
                raise ModelFailed("the schema's grammar grew beyond its limits", "", "simplify the schema")


@dataclass(frozen=True, slots=True)
class Grammar:
    """A compiled constraint. `digest` is the hex SHA-256 of the grammar, in which the order of properties counts."""

    digest: str
    _start: LLMatcher
    _check: Check
    _size: int

    def matcher(self) -> Matcher:
        """A matcher at the start of an answer."""
        return Matcher(self._start.deep_copy(), self._size)

    def check(self, text: str) -> None:
        """Raises ModelFailed unless a finished answer is what was asked for, and can be recorded."""
        self._check.check(text)


class Grammars:
    """Compiles constraints for one model, and keeps the last ones. Not to be used by two threads at once."""

    def __init__(self, tokens: LLTokenizer) -> None:
        self._tokens = tokens
        self._kept: OrderedDict[str, Grammar] = OrderedDict()

    def get(self, schema: dict[str, Any]) -> Grammar:
        """The grammar of a JSON Schema. Raises SchemaUnsupported if it is malformed or cannot be enforced."""
        found = self.of(Request((), schema=schema))
        assert found is not None  # a request with a schema has a grammar
        return found

    def of(self, request: Request) -> Grammar | None:
        """The grammar of what an admitted request is bound to: a schema, a regular expression, choices or required
        tools; None for free text. Raises SchemaUnsupported if it is malformed or cannot be enforced."""
        key = constraint_key(request)
        if not key:
            return None
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._compile(request)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _compile(self, request: Request) -> Grammar:
        try:
            bound = constraint(request)
        except RecursionError as error:
            raise SchemaUnsupported("the schema is nested too deeply") from error
        matcher = LLMatcher(self._tokens, bound.grammar, log_level=0)
        if not matcher.is_error() and not matcher.get_grammar_warnings():
            # The first mask builds what all the later ones use.
            matcher.compute_bitmask()
        if matcher.is_error() or matcher.get_grammar_warnings():
            reason = " ".join((matcher.get_error() or "; ".join(matcher.get_grammar_warnings())).split())
            if reason.startswith("oneOf"):
                reason = "oneOf with options that one value may fit together"
            raise SchemaUnsupported(
                f"the schema cannot be enforced: {reason[:300]}", "", "leave that out, or write it in another way"
            )
        return Grammar(sha256(bound.grammar.encode()), matcher, bound.check, self._tokens.vocab_size)
