"""Chat templates are programs from outside: they get what they need, and neither reach out nor run away."""

from datetime import datetime

import pytest

from models.engine.template import LONGEST, Template
from store.records.errors import SettingsError

TURN = {"role": "user", "content": "hi"}
GROWING = "{%% set ns = namespace(x='aa', y='aa') %%}{%% for i in range(60) %%}%s{%% endfor %%}"


def render(source: str, **values: object) -> str:
    return Template(source, lambda: datetime(2026, 11, 5)).render({"messages": [TURN], **values})


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("{{ messages | map(attribute='content') | join(', ') | upper }}", "HI"),
        ("{% for m in messages %}{{ loop.index }}{{ m.role ~ ': ' + m['content'] }}{% endfor %}", "1user: hi"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% for i in range(5) if i % 2 %}{{ i }}{{ '' if loop.last else ' ' }}{% endfor %}", "1 3"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "a=1"),
        ("{% for x in [1, [2, [3]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}", "123"),
        ("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210"),
        ("{% set ns = namespace(n=1) %}{% set ns.n = ns.n * 3 %}{{ ns.n }}{{ '=' * ns.n }}", "3==="),
        ("{{ {'b': '<é>', 'a': [1, none]} | tojson }}", '{"b": "<é>", "a": [1, null]}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}", '{"a":2,"b":1}'),
        ("{{ strftime_now('%d %b %Y') }}", "05 Nov 2026"),
        ("{% generation %}{{ messages[-1:][0].content.strip().replace('h', 'H') }}{% endgeneration %}", "Hi"),
        ("{{ '{}-{}'.format('a', 1) }}{{ 'a b'.split(' ')[-1] }}{{ 'x\ny' | indent(1) }}", "a-1bx\n y"),
        ("{{ absent is defined }}{{ absent }}{{ absent | default('-') }}{{ none }}", "False-None"),
        ("{% set x %}<{{ 1 }}>{% endset %}{{ x | safe + '<' }}{{ 1 < 2 and 'a' in ['a'] }}", "<1><True"),
    ],
)
def test_templates_have_what_they_use(source: str, written: str) -> None:
    assert render(source) == written


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(99) if false %}{% endfor %}{% endfor %}",
        "{% set x %}{% for i in range(9999) %}" + "lorem" * 2000 + "{% endfor %}{% endset %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{{ 'x' * 10**10 }}",
        "{% set a = [1] * 10**9 %}",
        "{{ 10**10**10 }}",
        "{{ messages | tojson(indent=10**9) }}",
        "{{ 'x' | indent(10**10) }}",
        GROWING % "{% set ns.x = ns.x + ns.x %}",
        GROWING % "{% set ns.x = ns.x ~ ns.x %}",
        GROWING % "{% set x %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = x %}",
        GROWING % "{% set ns.x = ns.x | replace('a', ns.x) %}",
        GROWING % "{% set ns.x = ns.x.replace('a', ns.x) %}",
        GROWING % "{% set ns.x = ns.x.join(ns.x | list) %}",
        GROWING % "{% set ns.x = ns.x | list | join(ns.x) %}",
        GROWING % "{% set ns.x = '{0}{0}'.format(ns.x) %}",
        GROWING % "{% set ns.y = (99 + i) * (ns.y | int + 99) ** 9 %}",
        # A list that holds itself twice, sixty times over, is small until something looks into it.
        GROWING % "{% set ns.x = [ns.x, ns.x] %}" + "{{ ns.x }}",
        GROWING % "{% set ns.x = [ns.x, ns.x] %}" + "{{ ns.x | tojson }}",
        GROWING % "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}" + "{{ ns.x == ns.y }}",
        GROWING % "{% set ns.x = (ns.x, ns.x) %}" + "{{ {ns.x: 1} }}",
        GROWING % "{% set ns.x = (ns.x, ns.x) %}" + "{{ {}[ns.x] }}",
        "{% for i in range(99999) %}" + "{% if 1 is defined %}{% endif %}" * 99 + "{% endfor %}",
        "{% macro f() %}" + "{{ '' if 1 }}" * 99 + "{% endmacro %}{% for i in range(9999) %}{{ f() }}{% endfor %}",
        "{% block f %}" + "{{ '' if 1 }}" * 99 + "{% endblock %}{% for i in range(9999) %}{{ self.f() }}{% endfor %}",
        "{% for i in range(99999) if " + "absent or " * 99 + " 0 %}{% endfor %}",
        "{% set x = 'a' * 100000 %}{% for i in range(9999) %}{% if 'b' in x %}{% endif %}{% endfor %}",
        "{% set x = 'a' * 100000 %}{% for i in range(9999) %}{% set y = x[1:] %}{% endfor %}",
        "{% set x = 'a' * 100000 %}{% for i in range(9999) %}{% set y = x | upper %}{% endfor %}",
    ],
)
def test_a_template_that_runs_away_is_stopped(source: str) -> None:
    with pytest.raises(SettingsError, match="does too much"):
        render(source)


def test_what_a_template_may_do_grows_with_what_it_is_given() -> None:
    again = "{% for i in range(400) %}{{ '' if messages[0].content == 'x' }}{% endfor %}"
    with pytest.raises(SettingsError, match="does too much"):
        render(again * 3, messages=[{"role": "user", "content": "a" * 2**17}])
    assert (
        render("{{ messages[0].content | trim | length }}" * 20, messages=[{"content": "a" * 2**22}]) == "4194304" * 20
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[0].absent.deeper }}", "UndefinedError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ 'x'.center(10**9) }}", "SecurityError"),
        ("{{ '{:1000000000d}'.format(1) }}", "SecurityError"),
        ("{{ '%1000000000d' % 1 }}", "SecurityError"),
        ("{{ ['{0.__class__}'.format] | map('string') | list }}", "SecurityError"),
        ("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "SecurityError"),
        ("{{ range(3) | map('batch', 9) | list }}", "TemplateRuntimeError"),
        ("{{ lipsum(n=3) }}", "UndefinedError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ],
)
def test_a_template_that_fails_or_reaches_out_is_refused(source: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        render(source)


@pytest.mark.parametrize("source", ["{{ messages.__class__ }}", "{{ raise_exception.__globals__ }}", "{{ self._x }}"])
def test_what_is_private_is_undefined(source: str) -> None:
    assert render(source) == ""


@pytest.mark.parametrize(
    "source",
    [
        "{% for %}",
        "{{ 1 | batch(9) }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
        "{% for a in b %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "9" * 5000 + " }}",
        "x" * (LONGEST + 1),
    ],
)
def test_a_template_that_cannot_be_compiled_is_refused(source: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Template(source)


def test_a_template_is_asked_what_it_knows() -> None:
    branch = "{% if not tools is defined %}{% set tools = none %}{% endif %}{{ messages[0]['tool_calls'] }}{{ tools }}"
    assert Template(branch).mentions >= {"tools", "tool_calls", "messages"}
    own = Template(
        "{% set tools = [1] %}{% for m in messages %}{{ m.content == 'tool' }}{{ tools }}{% endfor %}"
    ).mentions
    assert own >= {"content", "tool", "messages"}
    assert not {"tools", "m"} & own
