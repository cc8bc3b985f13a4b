"""Stop texts and half characters over the borders of tokens, against a plain implementation."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.engine.stops import Stops

LETTERS = st.text(alphabet="ab€", max_size=24)


def plain(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The answer, by looking at every beginning of the text: up to the longest stop text that is complete first."""
    for end in range(len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


def plain_shown(text: str, stops: Sequence[str]) -> str:
    """What may be shown of a text in which no stop text stands: all but the longest end that begins one."""
    for size in range(len(text), 0, -1):
        if any(stop.startswith(text[-size:]) for stop in stops):
            return text[:-size]
    return text


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(borders)]


@given(LETTERS, st.lists(st.text("ab€", min_size=1, max_size=5), max_size=4), st.lists(st.integers(0, 99), max_size=12))
@example("aab", ["ab"], [1, 2])
@example("abab€", ["abab€b", "bab", "€"], [1, 2, 3, 4, 5, 6])
def test_as_the_plain_implementation_says(text: str, stops: list[str], places: list[int]) -> None:
    answer, found = plain(text, stops)
    subject, shown, read = Stops(stops), "", b""
    for piece in cut(text.encode(), places):
        shown += subject.feed(piece)
        read += piece
        assert shown == subject.text
        if not subject.found:
            assert shown == plain_shown(read.decode("utf-8", "ignore"), stops)
    shown += subject.end()
    assert (shown, subject.text, subject.found) == (answer, answer, found)
    assert subject.feed(b"more") == "" or not found


@given(st.binary(max_size=40), st.lists(st.integers(0, 99), max_size=12))
def test_bytes_that_are_not_text_are_read_as_at_once(data: bytes, places: list[int]) -> None:
    subject = Stops(())
    for piece in cut(data, places):
        subject.feed(piece)
    subject.end()
    assert subject.text == data.decode("utf-8", "replace")


def test_half_a_character_is_held_back() -> None:
    subject = Stops(())
    smile = "😀".encode()
    assert [subject.feed(smile[:1]), subject.feed(smile[1:3]), subject.feed(smile[3:] + b"!")] == ["", "", "😀!"]
    assert subject.feed(smile[:2]) == ""
    assert subject.end() == "\ufffd"


def test_what_could_become_a_stop_text_is_held_back_until_it_cannot() -> None:
    subject = Stops(["<end>", "\n\n"])
    assert [subject.feed(each) for each in (b"hi <", b"en", b"t> \n", b"x\n", b"\nmore")] == [
        "hi ",
        "",
        "<ent> ",
        "\nx",
        "",
    ]
    assert subject.found
    assert subject.text == "hi <ent> \nx"
    assert (subject.feed(b"y"), subject.end()) == ("", "")


def test_the_replacement_of_half_a_character_can_complete_a_stop_text() -> None:
    subject = Stops(["a\ufffd"])
    assert subject.feed(b"xa\xe2") == "x"
    assert subject.end() == ""
    assert subject.found


class Watched(dict[str, int]):
    """A state's table that counts how often it is looked at."""

    looks = 0

    def __contains__(self, key: object) -> bool:
        Watched.looks += 1
        return super().__contains__(key)


@pytest.mark.parametrize("stop", ["a" * 256, "a" * 255 + "b"])
def test_repetitive_texts_take_linear_time(stop: str) -> None:
    subject = Stops([stop])
    subject._next = [Watched(table) for table in subject._next]
    Watched.looks = 0
    for _ in range(2000):
        subject.feed(b"a" * 10 + b"c")
    assert 2000 * 11 <= Watched.looks <= 2 * 2000 * 11
    assert subject.end() == ""
