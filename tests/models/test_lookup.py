"""Guesses from the text itself."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.engine.lookup import LONGEST_DRAFT, Lookup

Tokens = st.lists(st.integers(0, 2), max_size=60)


@given(Tokens, st.lists(st.tuples(Tokens, st.integers(0, LONGEST_DRAFT), st.booleans()), max_size=6))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_guess_is_what_followed_the_last_time(text: list[int], turns: list[tuple[list[int], int, bool]]) -> None:
    lookup = Lookup()
    for more, most, right in turns:
        text = text + more
        guess = lookup.guess(text, most)
        assert len(guess) <= most
        earlier = [end for end in range(3, len(text)) if text[end - 3 : end] == text[-3:]]
        if guess:
            assert guess == text[earlier[-1] :][: len(guess)]
        else:
            assert not earlier or not most
        lookup.learn(len(guess), len(guess) * right)


def test_it_does_not_guess_from_the_end_of_the_text_itself() -> None:
    assert Lookup().guess([1, 2, 3], 8) == []
    assert Lookup().guess([1, 2], 8) == []
    assert Lookup().guess([], 8) == []


def test_the_text_may_repeat_within_itself() -> None:
    assert Lookup().guess([7, 7, 7, 7], 8) == [7]


def test_it_guesses_more_when_it_was_right_and_less_when_it_was_wrong() -> None:
    text = [*range(20), 0, 1, 2]
    lookup = Lookup()
    usual = len(lookup.guess(text, LONGEST_DRAFT))
    for _ in range(30):
        lookup.learn(4, 4)
    assert lookup.guess(text, LONGEST_DRAFT) == [*range(3, 3 + LONGEST_DRAFT)]
    assert usual < LONGEST_DRAFT
    for _ in range(100):
        lookup.learn(4, 0)
    assert lookup.guess(text, LONGEST_DRAFT) == [3]


def test_what_was_not_guessed_teaches_nothing() -> None:
    text = [*range(20), 0, 1, 2]
    lookup = Lookup()
    before = lookup.guess(text, LONGEST_DRAFT)
    for _ in range(100):
        lookup.learn(0, 0)
    assert lookup.guess(text, LONGEST_DRAFT) == before
