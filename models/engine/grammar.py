"""Makes a model's answer fit a JSON Schema: which tokens may stand next, and which ones must.

Compact JSON only (no white space between values). What llguidance cannot enforce is refused by name, never ignored;
every finished answer is checked again by an independent validator. Schemas may come from untrusted tool servers:
nothing is fetched, and their size is bounded.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import jsonschema
import numpy as np
from jsonschema.protocols import Validator
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray
from referencing import Registry

from models.errors import SchemaUnsupported
from store.records.canonical import canonical, sha256
from store.records.errors import ModelFailed

LONGEST_SCHEMA = 256 * 1024
KEPT = 64
_OPTIONS: Any = {"whitespace_flexible": False, "coerce_one_of": False, "lenient": False}


class Matcher:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: LLMatcher, size: int) -> None:
        self._matcher, self._size = matcher, size

    @property
    def done(self) -> bool:
        """True when the answer is complete and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def accept(self, token: int) -> bool:
        """Takes the token, if it may stand next; changes nothing if it may not."""
        return self._matcher.try_consume_tokens([token]) == 1

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may stand next: bool (vocabulary,)."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, bitorder="little")[: self._size].astype(np.bool_)

    def forced(self, most: int) -> list[int]:
        """Takes and returns the tokens that must stand next, `most` of them at most."""
        if most <= 0 or self.done:
            return []
        tokens = self._matcher.compute_ff_tokens()[:most]
        if tokens and not self._matcher.consume_tokens(tokens):
            raise ModelFailed("the grammar refuses the tokens that it forces", "", "simplify the schema")
        return tokens

    def check(self) -> None:
        """Raises ModelFailed if the grammar met a limit: then its answers mean nothing."""
        if self._matcher.is_error():
            raise ModelFailed("the schema's grammar grew beyond its limits", "", "simplify the schema")


@dataclass(frozen=True, slots=True)
class Grammar:
    """A compiled JSON Schema. `digest` is the hex SHA-256 of the grammar, in which the order of properties counts."""

    digest: str
    _start: LLMatcher
    _validator: Validator
    _size: int

    def matcher(self) -> Matcher:
        """A matcher at the start of an answer."""
        return Matcher(self._start.deep_copy(), self._size)

    def check(self, text: str) -> None:
        """Raises ModelFailed unless `text` is a JSON value that fits the schema and that the ledger can carry."""
        try:
            value = json.loads(text)
            canonical(value)
        except (ValueError, RecursionError) as error:
            raise ModelFailed("the model's answer is not JSON that can be recorded", "", "bound the schema") from error
        misfit = next(iter(self._validator.iter_errors(value)), None)
        if misfit is not None:
            raise ModelFailed(f"the model's answer does not fit the schema's {misfit.validator}", _path(misfit))


def _path(error: jsonschema.ValidationError) -> str:
    """Where in the schema an error lies: its keywords, and nothing of the answer."""
    return "/".join(str(part)[:40] for part in list(error.absolute_schema_path)[:12])


class Grammars:
    """Compiles schemas for one model, and keeps the last ones."""

    def __init__(self, tokens: LLTokenizer) -> None:
        self._tokens = tokens
        self._kept: OrderedDict[str, Grammar] = OrderedDict()

    def get(self, schema: dict[str, Any]) -> Grammar:
        """The grammar of a schema. Raises SchemaUnsupported if it is malformed or cannot be enforced."""
        try:
            # Not sorted: the order of the properties is the order in which the model writes them.
            text = json.dumps(schema, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise SchemaUnsupported("the schema is not JSON", "", "give a JSON Schema as an object") from error
        if len(text) > LONGEST_SCHEMA:
            raise SchemaUnsupported(f"the schema has {len(text)} characters, more than {LONGEST_SCHEMA}")
        found = self._kept.get(text)
        if found is None:
            found = self._kept[text] = self._compile(schema, text)
        self._kept.move_to_end(text)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _compile(self, schema: dict[str, Any], text: str) -> Grammar:
        validator = _validator(schema)
        try:
            # Overrides as well, since a schema can carry options of its own under "x-guidance".
            grammar = LLMatcher.grammar_from_json_schema(text, defaults=_OPTIONS, overrides=_OPTIONS)
        except ValueError as error:
            raise SchemaUnsupported("the schema must be an object", "", "give a JSON Schema as an object") from error
        matcher = LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error() or matcher.get_grammar_warnings():
            reason = " ".join((matcher.get_error() or "; ".join(matcher.get_grammar_warnings())).split())
            raise SchemaUnsupported(
                f"the schema cannot be enforced: {reason[:300]}", "", "leave that out, or write it in another way"
            )
        return Grammar(sha256(grammar.encode()), matcher, validator, self._tokens.vocab_size)


def _validator(schema: dict[str, Any]) -> Validator:
    """An independent validator with an empty registry, so that no reference is ever fetched."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path)
        raise SchemaUnsupported("this is not a JSON Schema", place[:200], "correct it") from error
    except RecursionError as error:
        raise SchemaUnsupported("the schema is nested too deeply") from error
    return kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)
