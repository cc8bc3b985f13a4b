"""A model's own chat template, compiled. It comes in the model's file, from outside: it must never see anything but the
plain data that `render` is given, and runs in a sandbox that bounds what it does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.visitor import NodeTransformer

from models.engine.sandbox import OUTSIDE, TICK, WHOLE, Refused, Sandbox, Spent
from store.records.errors import SettingsError

LONGEST = 2**18
"""Characters of a template at most: fifteen times the longest of those that are published."""
_FAILURES = (
    *(jinja2.TemplateError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError),
    *(RecursionError, MemoryError),
)


class Template:
    """A chat template in Jinja2, as Hugging Face's transformers defines them. Threads render one after the other.

    `mentions` are the variables that the template expects from outside, and every attribute, key and text in its
    expressions: what it knows of.
    """

    def __init__(self, source: str, now: Callable[[], datetime] = datetime.now) -> None:
        """Raises SettingsError if the template cannot be compiled. `now` is the time that it may write."""
        self._sandbox, self._turn = Sandbox(now), Lock()
        try:
            if len(source) > LONGEST:
                raise ValueError
            tree = self._sandbox.parse(source)
            # In this order: Jinja folds the constants of the tree when it looks for variables.
            mentioned = set(_mentioned(tree))
            self.mentions = frozenset(mentioned | meta.find_undeclared_variables(tree))
            code = self._sandbox.compile(_Metered().visit(tree))
            self._template = jinja2.Template.from_code(self._sandbox, code, self._sandbox.make_globals(None))
        except (jinja2.TemplateError, SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise SettingsError("the model's chat template cannot be read", "", "use another GGUF file") from error

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values. Raises SettingsError if the template refuses them, fails or does too much."""
        with self._turn:
            try:
                self._sandbox.begin(values)
                return self._template.render(values)
            except Refused as error:
                raise SettingsError(f"the model's chat template refuses the messages: {error}") from error
            except Spent as error:
                raise SettingsError("the model's chat template does too much", "", "use another GGUF file") from error
            except _FAILURES as error:
                kind = type(error).__name__
                raise SettingsError(f"the model's chat template fails on the messages: {kind}") from error


class _Metered(NodeTransformer):
    """Rewrites a template so that the sandbox sees each step of it, also what Jinja compiles into plain Python."""

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        """Text of the template is written as a value is: in a loop it costs each time."""
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """`a ~ b` is `[a, b] | join`."""
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """A loop goes over a list that has been paid for, and each pass costs what is done in it."""
        body, test = _tick(node.body), _tick([node.test]) if node.test else None
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "list")
        node.body.insert(0, nodes.ExprStmt(body, lineno=node.lineno))
        if node.test and test:
            node.test = nodes.And(test, node.test, lineno=node.lineno)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        """What can be called costs what is done in it."""
        body = _tick(node.body)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(body, lineno=node.lineno))
        return node

    visit_Block = visit_CallBlock = visit_Macro

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Two values that are compared may both be large."""
        self.generic_visit(node)
        node.expr = _filtered(node.expr, WHOLE)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, WHOLE)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """A slice is a copy, and a key is hashed."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filtered(node.node, OUTSIDE)
        elif not isinstance(node.arg, nodes.Const):
            node.arg = _filtered(node.arg, WHOLE)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        """A key is hashed."""
        self.generic_visit(node)
        node.key = _filtered(node.key, WHOLE)
        return node


def _tick(body: Sequence[nodes.Node]) -> nodes.Expr:
    """An expression, true, that costs as much as there are nodes in what is done."""
    count = sum(1 for node in body for _ in node.find_all(nodes.Node)) + len(body)
    return _filtered(nodes.Const(count), TICK)


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _mentioned(tree: nodes.Template) -> Iterator[str]:
    for node in tree.find_all((nodes.Getattr, nodes.Const)):
        name = node.attr if isinstance(node, nodes.Getattr) else getattr(node, "value", None)
        if isinstance(name, str):
            yield name
