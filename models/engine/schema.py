"""Writes a JSON Schema so that llguidance enforces all of it, and refuses by name what it would not.

What comes out allows nothing that the schema forbids. It is narrower in a few places, where a text would fit the schema
and yet could not be carried or checked: numbers keep within what a 64-bit float holds exactly, and are written without
an exponent and with few digits after the point. Words that llguidance does not know (a misspelt `minlength`) are
refused: it would ignore them. References lead to places in the schema itself; nothing is fetched. All drafts from 4 on
come out as draft 2020-12.
"""

import urllib.parse
from typing import Any, NoReturn

from models.engine.formats import FORMATS, NUMBERS
from models.engine.numbers import LARGEST, bounds, numbers
from models.engine.pattern import Pattern
from models.errors import SchemaUnsupported
from store.records.canonical import canonical

DEEPEST = 64
LEVELS = 3
MOST_REFERENCES = 512
KINDS = frozenset(["null", "boolean", "string", "integer", "number", "array", "object"])
_AT_ROOT = frozenset(["$schema", "$id", "id", "$anchor"])
_NOTES = _AT_ROOT | {
    *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$comment"),
    *("nullable", "discriminator", "externalDocs", "xml"),
}
"""Words that restrict nothing; the last four are OpenAPI's."""
_COPIED = frozenset(["type", "required", "minLength", "maxLength", "minItems", "maxItems"]) | {
    *("minProperties", "maxProperties"),
}
_NUMERIC = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
_LATER = _NUMERIC | {"format", "uniqueItems", "additionalItems"}
_ONE = frozenset(["items", "additionalProperties"])
_LISTS = frozenset(["anyOf", "oneOf", "allOf", "prefixItems"])
_DEFINITIONS = frozenset(["$defs", "definitions"])
_MAPS = _DEFINITIONS | {"properties", "patternProperties"}
_COMBINING = frozenset(["anyOf", "oneOf", "allOf", "$ref"])
_FIXED = frozenset(["enum", "const"])
DIALECTS = tuple(
    f"{scheme}://json-schema.org/{draft}schema"
    for scheme in ("http", "https")
    for draft in ("draft-04/", "draft-06/", "draft-07/", "draft/2019-09/", "draft/2020-12/")
)

Schema = dict[str, Any]


def decodable(schema: Schema, prefix: str = "") -> Schema:
    """The schema as llguidance is to have it. `prefix` is the JSON pointer at which it will stand in a larger one.

    Raises SchemaUnsupported, naming the word that cannot be enforced and where it stands.
    """
    if not isinstance(schema, dict):
        raise SchemaUnsupported("the schema must be an object", "", "give a JSON Schema as an object")
    return _Writer(schema, prefix).root()


def kinds(schema: Schema) -> frozenset[str]:
    """The types that a schema's own `type` allows."""
    named = schema.get("type", KINDS)
    return frozenset([named] if isinstance(named, str) else named)


def escaped(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


class _Writer:
    """One schema on its way."""

    def __init__(self, schema: Schema, prefix: str) -> None:
        self._given, self._prefix = schema, prefix
        self._places: set[str] = set()
        self._targets: set[str] = set()
        self._composed = _composed(schema)
        name = "any"
        while any(other.startswith(name) for other in schema.get("$defs", {})):
            name += "_"
        self._any, self._anything = name, {"$ref": f"#{prefix}/$defs/{name}"}

    def root(self) -> Schema:
        dialect = self._given.get("$schema", DIALECTS[-1])
        if not isinstance(dialect, str) or dialect.rstrip("#") not in DIALECTS:
            self._refuse("$schema", "", "use one of the drafts 4 to 2020-12")
        written: Schema = self._schema(self._given, "")
        if missing := self._targets - self._places:
            self._refuse("$ref", "", f"there is no schema at #{min(missing)[:100]}")
        if len(self._targets) > MOST_REFERENCES:
            self._refuse("$ref", "", f"refer to at most {MOST_REFERENCES} places")
        return {**written, "$defs": {**written.get("$defs", {}), **self._any_values()}}

    def _schema(self, schema: Any, place: str) -> Any:
        self._places.add(place)
        if place.count("/") > DEEPEST:
            self._refuse("so deep a nesting", place, f"nest at most {DEEPEST} deep")
        if schema is False:
            return False
        given: Schema = {
            word: value for word, value in ({} if schema is True else schema).items() if self._counts(word, place)
        }
        written: Schema = {}
        for word, value in given.items():
            self._word(written, word, value, place)
        if not given.keys() - _DEFINITIONS:
            return {**written, **self._anything}
        self._together(written, given, place)
        return written

    def _counts(self, word: str, place: str) -> bool:
        """Whether a word restricts anything."""
        if word in _AT_ROOT and place:
            self._refuse(word, place, "use it at the root only")
        return word not in _NOTES and not word.startswith("x-")

    def _word(self, written: Schema, word: str, value: Any, place: str) -> None:
        """Writes a word that can be taken by itself."""
        here = f"{place}/{escaped(word)}"
        if word in _COPIED:
            written[word] = value
        elif word in _FIXED:
            written[word] = self._value(value, word, here)
        elif word == "pattern":
            written[word] = _rust(value)
        elif word in _MAPS:
            rename = _rust if word == "patternProperties" else str
            written[word] = {
                rename(name): self._schema(each, f"{here}/{escaped(name)}") for name, each in value.items()
            }
            if len(written[word]) < len(value):
                self._refuse(f"{word} with two names for the same", place)
        elif word in _LISTS or (word == "items" and isinstance(value, list)):
            # Draft 2020-12 calls prefixItems what was a list under items.
            name = "prefixItems" if word == "items" else word
            written[name] = [self._schema(each, f"{place}/{name}/{number}") for number, each in enumerate(value)]
        elif word in _ONE:
            written[word] = self._schema(value, here)
        elif word == "$ref":
            written[word] = self._reference(value, place)
        elif word not in _LATER:
            self._refuse(word, here)

    def _together(self, written: Schema, given: Schema, place: str) -> None:
        """Writes the words whose meaning depends on others, and bounds what a schema leaves open."""
        if given.get("uniqueItems"):
            self._refuse("uniqueItems", place)
        if isinstance(given.get("items"), list) and "additionalItems" in given:
            written["items"] = self._schema(given["additionalItems"], f"{place}/items")
        self._check_count(given, place)
        whole = not (_COMBINING | _FIXED) & given.keys()
        if kinds(given) & {"integer", "number"} and (whole or _NUMERIC & given.keys()):
            written.update(bounds(given, kinds(given) == {"integer"}, self._composed, self._prefix + place))
        if "format" in given:
            self._format(written, given, place)
        if whole and "object" in kinds(given):
            written.setdefault("additionalProperties", self._anything)
        if whole and "array" in kinds(given):
            written.setdefault("items", self._anything)

    def _check_count(self, given: Schema, place: str) -> None:
        least = given.get("minProperties", 0)
        closed = given.get("additionalProperties") is False and not given.get("patternProperties")
        if least > 1 and least > len(given.get("required", ())) and not closed:
            # A name that is written twice would count twice, and stand for one property.
            self._refuse("minProperties", place, "require the properties by name")

    def _format(self, written: Schema, given: Schema, place: str) -> None:
        name = given["format"]
        if name in NUMBERS and kinds(given) <= {"integer", "number"}:
            return
        if name not in FORMATS:
            self._refuse(f"format {name}", place)
        kind = FORMATS[name]
        if not kind.pattern:
            written["format"] = name
        elif "pattern" in written:
            written.setdefault("allOf", []).append({"pattern": _rust(kind.pattern)})
        else:
            written["pattern"] = _rust(kind.pattern)
        if kind.longest:
            written["maxLength"] = min(kind.longest, given.get("maxLength", kind.longest))

    def _reference(self, reference: str, place: str) -> str:
        if not reference.startswith("#/") and reference != "#":
            self._refuse("$ref", place, "refer to a place in the schema itself, as in #/$defs/name")
        # The fragment of a URI, in which one place can be written in several ways.
        self._targets.add(urllib.parse.unquote(reference[1:]))
        return f"#{self._prefix}{reference[1:]}"

    def _value(self, value: Any, word: str, place: str) -> Any:
        try:
            canonical(value)
        except ValueError:
            self._refuse(word, place, "give values that JSON carries safely")
        if any(abs(number) > LARGEST for number in numbers(value)):
            self._refuse(word, place, f"keep numbers within {LARGEST}")
        return value

    def _any_values(self) -> Schema:
        """The schemas of any JSON value that can be carried, by the names of their definitions.

        llguidance cannot intersect what refers to itself: where several schemas meet, anything is nested LEVELS deep.
        """
        names = [self._any, *(f"{self._any}{level}" for level in range(1, LEVELS))] if self._composed else [self._any]
        schemas: Schema = {}
        for name, inner in zip(names, [*names[1:], "" if self._composed else self._any], strict=True):
            options: list[Schema] = [{"type": kind} for kind in ("null", "boolean", "string")]
            options.append({"type": "number", **bounds({}, False, self._composed, "")})
            if inner:
                again = {"$ref": f"#{self._prefix}/$defs/{inner}"}
                options += [{"type": "array", "items": again}, {"type": "object", "additionalProperties": again}]
            schemas[name] = {"anyOf": options}
        return schemas

    def _refuse(self, word: str, place: str, do: str = "leave that out, or write it in another way") -> NoReturn:
        raise SchemaUnsupported(f"the schema cannot be enforced: {word[:80]}", (self._prefix + place)[:200], do)


def _rust(pattern: str) -> str:
    return f"^(?:{Pattern(pattern, anywhere=True).rust})$"


def _composed(value: Any) -> bool:
    """Whether somewhere in a schema several schemas restrict the same value."""
    if isinstance(value, list):
        return any(map(_composed, value))
    if not isinstance(value, dict):
        return False
    words = {word for word in value if word not in _NOTES and word not in _DEFINITIONS}
    several = bool(_COMBINING & words) and (len(words) > 1 or len(value.get("allOf", ())) > 1)
    return several or any(map(_composed, value.values()))
