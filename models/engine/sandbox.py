"""The world that a chat template runs in: Jinja's immutable sandbox, cut down to what chat templates use, where every
step, item and character is paid for before it is made. Jinja's own sandbox keeps a template from reaching out, but
lets it loop and grow without end. Nothing here may work on a value, or make one, that has not been paid for.
"""

import json
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from datetime import datetime
from functools import wraps
from types import BuiltinMethodType, MethodType
from typing import Any, NoReturn

from jinja2 import Environment, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace, pass_context

STEP = 64
"""What an operation or an item costs; a character costs one."""
CALL = 8 * STEP
"""What a call costs."""
NODE = STEP // 16
"""What a part of an expression or a statement costs, each time it may be evaluated."""
WORK = 2**26
"""What a template may spend beside what its input allows: a million steps, some seconds at worst."""
SHARE = 64
"""How often it may pay for all of its input."""
_LARGEST = 2**63
_WIDEST = 16
_ALL = 2**80
WHOLE = "_whole"
TICK = "_tick"
"""A filter that pays for a number of nodes, and is true."""
OUTSIDE = "_outside"
"""Filters that pay for all of a value, or for its own length, and leave it as it is."""
_GROUPS = (dict, list, tuple, range, KeysView, ValuesView, ItemsView)
_SIMPLE = (int, float, Undefined, type(None))
_FRAME = ("_loop_vars", "_block_vars")
"""What compiled templates add to a call, and Jinja takes off again."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_QUICK = _names("length count first last default d int float abs round")
"""Filters that take the same time for any value."""
_OUTER = _names("list items")
"""Filters that do not look into the items of a value."""
_INNER = _names(
    "capitalize dictsort lower map max min reject rejectattr reverse select selectattr sort title trim unique upper"
)
_KINDS = _names(
    "boolean defined divisibleby even false float integer iterable mapping none number odd sameas sequence string "
    "true undefined"
)
"""Tests that only look at what kind of value there is, in the same time for any."""
_RELATIONS = _names("eq equalto ne ge gt le lt in lower upper == != >= > <= <")
_METHODS = _names(
    "capitalize endswith find format get isalnum isalpha isdigit isspace items join keys lower lstrip partition "
    "removeprefix removesuffix replace rfind rpartition rsplit rstrip split splitlines startswith strip title upper "
    "values"
)
"""Methods of texts and mappings that templates use."""


class Spent(Exception):
    """A template would do more than it may."""


class Refused(Exception):
    """A template called raise_exception, as templates do for roles that the model does not know."""


class Arguments(dict[str, Any]):
    """The arguments of a tool call: a mapping to templates that look into it, its JSON to those that write it out."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template. It runs one rendering at a time; `now` is the time that a template may write."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
            # A template that is compiled has nothing to pay with: what it does is done when it runs.
            optimized=False,
        )
        self._left = 0
        self.finalize = self._written
        own: dict[str, Callable[..., Any]] = {"indent": self._indent, "join": self._join, "replace": self._replace}
        own |= {"tojson": self._json, "string": _text, "safe": _text, WHOLE: _same}
        self.filters = {name: FILTERS[name] for name in _QUICK} | {OUTSIDE: self._paid(_same, deep=False)}
        self.filters[TICK] = self._tick
        self.filters |= {name: self._paid(FILTERS[name], deep=name in _INNER) for name in _OUTER | _INNER}
        self.filters |= {name: self._paid(function, deep=True) for name, function in own.items()}
        self.tests = {name: TESTS[name] for name in _KINDS}
        self.tests |= {name: self._paid(TESTS[name], deep=True) for name in _RELATIONS}
        self.globals = {"dict": dict, "namespace": Namespace, "range": range, "raise_exception": _refuse}
        self.globals["strftime_now"] = lambda form: now().strftime(str(form)[:64])
        self._functions = frozenset(id(function) for function in self.globals.values())

    def begin(self, values: Mapping[str, Any]) -> None:
        """Sets what the next rendering, of these values, may spend."""
        self._left = _ALL
        self._weigh(values, deep=True)
        self._left = WORK + SHARE * (_ALL - self._left)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls what templates may call: their own macros, the functions here, plain methods of texts and mappings."""
        self._pay(CALL)
        method = getattr(obj, "__wrapped__", obj)
        if isinstance(method, BuiltinMethodType) and isinstance(method.__self__, str | dict):
            if method.__name__ not in _METHODS:
                raise SecurityError(f"templates cannot call {method.__name__}")
            named = (value for key, value in kwargs.items() if key not in _FRAME)
            self._foresee(method.__self__, method.__name__, [*args, *named])
        elif not (
            id(obj) in self._functions
            or isinstance(obj, Macro | LoopContext | BlockReference | Undefined)
            or (isinstance(obj, MethodType) and isinstance(obj.__self__, LoopContext) and obj.__name__ == "cycle")
        ):
            raise SecurityError(f"templates cannot call a {type(obj).__name__}")
        for each in args:
            self._weigh(each, deep=False)
        result = super().call(context, obj, *args, **kwargs)
        self._weigh(result, deep=False)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Computes with numbers that stay small; adds and repeats texts and lists."""
        left, right = (str(each) if isinstance(each, Arguments) else each for each in (left, right))
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if numbers and operator == "**" and not (abs(left) < 2**32 and abs(right) < 64):
            raise Spent
        if isinstance(left, str) and operator == "%":
            raise SecurityError("templates cannot use % on a text")
        if operator == "*" and not numbers:
            for times, value in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(value, str | list | tuple):
                    self._pay(STEP * max(0, times) * len(value))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > _LARGEST:
            raise Spent
        self._weigh(result, deep=False)
        return result

    def _pay(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise Spent

    def _tick(self, count: int) -> bool:
        self._pay(NODE * count)
        return True

    def _weigh(self, value: Any, *, deep: bool) -> None:
        """Pays for one look at a value; `deep` for a look at all there is in it, which then must be plain data."""
        left = self._left - STEP
        pending = [value]
        while pending and left >= 0:
            each = pending.pop()
            if isinstance(each, str):
                left -= len(each)
            elif isinstance(each, _GROUPS):
                left -= STEP * len(each)
                if deep:
                    pending += each
                    pending += each.values() if isinstance(each, dict) else ()
            elif deep and not isinstance(each, _SIMPLE):
                # Such as a namespace, which may hold itself.
                raise SecurityError(f"a {type(each).__name__} is no data")
        self._left = left
        self._pay(0)

    def _foresee(self, owner: str | dict[Any, Any], name: str, args: list[Any]) -> None:
        """Pays for a call of a method, whose result may be much longer than what it is made of."""
        self._weigh(owner, deep=False)
        before = self._left
        self._weigh(args, deep=True)
        if isinstance(owner, str) and name == "replace" and len(args) >= 2:
            self._pay(owner.count(str(args[0])) * len(str(args[1])))
        elif isinstance(owner, str) and name == "join":
            self._pay(len(owner) * (before - self._left))
        elif isinstance(owner, str) and name == "format":
            if ":" in owner:
                raise SecurityError("templates cannot set the width of a text")
            self._pay(owner.count("{") * (before - self._left))

    def _paid(self, function: Any, *, deep: bool) -> Callable[..., Any]:
        """A filter or a test that pays for what it is given and for what it makes, all of which it makes at once."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def paid(*args: Any, **kwargs: Any) -> Any:
            for each in (*args[first:], *kwargs.values()):
                self._weigh(each, deep=deep)
            result = function(*args, **kwargs)
            if isinstance(result, Iterator):
                result = list(result)
            self._weigh(result, deep=False)
            return result

        return paid

    @pass_context
    def _written(self, _context: Context, value: Any) -> str:
        """What `{{ value }}` writes. The template's own text comes here too."""
        self._weigh(value, deep=not isinstance(value, str))
        return str(value)

    def _indent(self, text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        self._pay((str(text).count("\n") + 1) * (width if isinstance(width, int) else len(width)))
        indented: str = FILTERS["indent"](text, width, first, blank)
        return indented

    def _join(self, items: Iterable[Any], between: str = "") -> str:
        texts = [str(each) for each in items]
        self._pay(len(str(between)) * len(texts))
        return str(between).join(texts)

    def _replace(self, text: object, old: str, new: str, count: int = -1) -> str:
        self._pay(str(text).count(old) * len(new))
        return str(text).replace(old, new, count)

    def _json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """As Hugging Face's transformers defines `tojson` for chat templates; Jinja's own escapes for HTML."""
        if indent is not None and not 0 <= indent <= _WIDEST:
            raise Spent
        code = json.JSONEncoder(
            ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, allow_nan=False
        )
        if indent is None and separators is None:
            return code.encode(value)
        parts = []
        for part in code.iterencode(value):
            self._pay(len(part))
            parts.append(part)
        return "".join(parts)


class _Generation(Extension):
    """`{% generation %}` marks what a model wrote, for training; here it says nothing."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _text(value: Any) -> str:
    return str(value)


def _same(value: Any) -> Any:
    return value


def _refuse(reason: object = "") -> NoReturn:
    raise Refused(str(reason)[:120])
