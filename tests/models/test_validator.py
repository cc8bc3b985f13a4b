"""The check of finished answers: it must refuse what does not fit, whatever enforced it."""

from typing import Any

import pytest

from models.engine.formats import FORMATS
from models.engine.validator import SchemaCheck
from models.errors import SchemaUnsupported
from store.records.errors import ModelFailed

NAMED = {"properties": {"a": {"type": "integer"}}, "patternProperties": {"^b": {"type": "null"}}}


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        (
            "date",
            ["2024-02-29", "1999-12-31"],
            ["2023-02-29", "0000-01-01", "20240229", "2024-W01-1", "2024-13-01", ""],
        ),
        ("time", ["00:00:00Z", "23:59:59.5+02:00"], ["24:00:00Z", "00:00:00", "12:00Z", "noon"]),
        ("date-time", ["2024-02-29T00:00:00Z"], ["2024-02-30T00:00:00Z", "2024-02-29 00:00:00Z", "2024-02-29"]),
        ("duration", ["P1Y2M3D", "PT5M", "P2W", "P1DT1H"], ["P", "PT", "1D", "P1H", "P1W2D"]),
        ("email", ["a.b+c@d-e.org"], ["a@", "@b", "a b@c..d", "a", f"a@{'x' * 64}.org"]),
        ("hostname", ["a", "a-b.c3"], ["-a", "a-", "a..b", "", "a_b", "x" * 64]),
        ("ipv4", ["10.0.0.255"], ["10.0.0.256", "1.2.3", "01.2.3.4"]),
        ("ipv6", ["::", "2001:db8::1"], [":::", "1::2::3", "g::"]),
        ("uri", ["https://a.b/c?d#e", "mailto:x"], ["a/b", "http://[::1", "http://a b"]),
        ("uuid", ["0deadade-e6de-ecde-aeda-defaacadeaea"], ["0deadadee6deecdeaedadefaacadeaea", "x"]),
    ],
)
def test_formats_fit_what_has_them_and_nothing_else(name: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes if not FORMATS[name].fits(text)] == []
    assert [text for text in no if FORMATS[name].fits(text)] == []


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        ({"multipleOf": 0.1}, ["1.9", "0.3", "-7", "null"], ["1.95", "0.05"]),
        ({"multipleOf": 3}, ["9", "-3.0", "true"], ["10", "9.5"]),
        ({"pattern": r"^\d+$"}, ['"12"', "12"], ['"٣"', '"12\\n"']),
        ({"pattern": "^(a+)+$"}, ['"aaaa"'], [f'"{"a" * 2000}b"']),
        ({"format": "date"}, ['"2024-02-29"', "5"], ['"2023-02-29"']),
        ({**NAMED, "additionalProperties": False}, ['{"a":1,"bc":null}', "[]"], ['{"c":1}', '{"b":1}', '{"a":""}']),
        ({**NAMED, "additionalProperties": {"type": "string"}}, ['{"a":1,"c":"x"}'], ['{"c":1}']),
    ],
)
def test_words_of_our_own_are_checked(schema: dict[str, Any], yes: list[str], no: list[str]) -> None:
    check = SchemaCheck(schema)
    for text in yes:
        check.check(text)
    for text in no:
        with pytest.raises(ModelFailed, match="does not fit the schema's"):
            check.check(text)


def test_what_is_no_schema_is_refused() -> None:
    for schema in ({"type": 5}, {"required": "a"}, {"properties": {"a": {"enum": 1}}}):
        with pytest.raises(SchemaUnsupported, match="not a JSON Schema"):
            SchemaCheck(schema)
