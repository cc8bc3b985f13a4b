"""Text from elsewhere is shown so that nothing in it can pass for something else, and nothing is lost."""

import pytest

from store.records.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Kb\n", "a\\x1b[2Kb\\x0a"),
        ("/srv/\u202etxt.exe", "/srv/\\u202etxt.exe"),
        ("in\u200bvisible\u2066", "in\\u200bvisible\\u2066"),
        ("p\u0430ypal.com", "p\\u0430ypal.com"),  # one letter is Cyrillic
        ("\u0441\u043e\u0440\u0435", "\\u0441\\u043e\\u0440\\u0435"),  # all are, and look like Latin ones
        ("\uff0fetc\u2024d", "\\uff0fetc\\u2024d"),  # full width, and a dot that is none
        ("e\u0301", "e\\u0301"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("x\ufe0f", "x\\ufe0f"),
    ],
)
def test_what_could_pass_for_something_else_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["größe, naïve", "привет мир", "日本Tシャツ", "αβγδ", "ls -l | wc", "…", "שלום"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text
