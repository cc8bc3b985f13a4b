"""Guesses the next tokens of an answer from its own text: speculation without a second model.

Prompt-lookup decoding (Saxena, 2023): agents repeat names, paths and whole lines of what they were given. If the last
tokens stand earlier in the text as well, what followed there is the guess. It is computed along with the next token and
kept only as far as sampling yields the same tokens: the answer is what it would have been without.
"""

LONGEST_DRAFT = 8
_RUN = 3
"""How many tokens must be the same for what followed to be a guess."""
_DOUBT = 0.85
"""The weight of the past in the share of guesses that were right."""


class Lookup:
    """The text of one sequence. It guesses less the less its guesses were right."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._known = 0
        self._trust = 0.5

    def guess(self, tokens: list[int], most: int) -> list[int]:
        """Up to `most` tokens that may follow `tokens`, which only ever grow from call to call."""
        for end in range(max(self._known, _RUN), len(tokens)):
            self._ends[tuple(tokens[end - _RUN : end])] = end
        self._known = len(tokens)
        found = self._ends.get(tuple(tokens[-_RUN:]))
        length = min(most, round(LONGEST_DRAFT * self._trust))
        return tokens[found : found + length] if found else []

    def learn(self, guessed: int, right: int) -> None:
        """Takes note of how many tokens of a guess were right. Even one that was always wrong is tried with one."""
        if guessed:
            self._trust = max(1 / LONGEST_DRAFT, _DOUBT * self._trust + (1 - _DOUBT) * right / guessed)
