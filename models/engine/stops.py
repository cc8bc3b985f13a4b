"""Turns the bytes of tokens into text that may be shown, and ends an answer at its first stop text.

Characters and stop texts may lie across the borders of tokens. What could still become a stop text, or is half a
character, is held back: what was shown once never has to be taken back.
"""

import codecs
from collections import deque
from collections.abc import Sequence


class Stops:
    """The text of one answer. Its time is linear in the text, however many stop texts there are.

    The method is that of Aho and Corasick (Efficient String Matching, 1975): a state is the longest end of the text
    that begins a stop text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """`texts` are the stop texts, none of them empty."""
        self.found = False
        """Whether a stop text came: then the answer has ended before it."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._next, self._depth, self._stop = _automaton(texts)
        self._state = 0
        self._held = ""
        self._shown: list[str] = []

    @property
    def text(self) -> str:
        """All that may be shown until now; after `found` or `end` the whole answer."""
        return "".join(self._shown)

    def feed(self, piece: bytes) -> str:
        """Takes the bytes of the next token; returns what may be shown after them, and nothing after a stop text."""
        return "" if self.found else self._take(self._decoder.decode(piece))

    def end(self) -> str:
        """Ends the answer; returns what was held back. A last character that is not whole becomes U+FFFD."""
        if self.found:
            return ""
        shown = self._take(self._decoder.decode(b"", True))
        return shown if self.found else shown + self._show(len(self._held))

    def _take(self, text: str) -> str:
        start = len(self._held)
        self._held += text
        if len(self._depth) > 1:
            for place, character in enumerate(text, start + 1):
                self._state = self._step(self._state, character)
                if self._stop[self._state]:
                    self.found = True
                    return self._show(place - self._stop[self._state])
        return self._show(len(self._held) - self._depth[self._state])

    def _step(self, state: int, character: str) -> int:
        while state and character not in self._next[state]:
            state = self._next[state][""]
        return self._next[state].get(character, 0)

    def _show(self, count: int) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        self._shown.append(shown)
        return shown


def _automaton(texts: Sequence[str]) -> tuple[list[dict[str, int]], list[int], list[int]]:
    """For each state: where each character leads, and "" when no character does; its length in characters; the length
    of the longest stop text that ends there, or 0."""
    follow: list[dict[str, int]] = [{}]
    depth, stop = [0], [0]
    for text in texts:
        state = 0
        for character in text:
            if character not in follow[state]:
                follow[state][character] = len(follow)
                follow.append({})
                depth.append(depth[state] + 1)
                stop.append(0)
            state = follow[state][character]
        stop[state] = len(text)
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        for character, child in [*follow[state].items()]:
            if character:
                _link(follow, state, character, child)
                # The state that is left to lies nearer to the start, and has its own already.
                stop[child] = stop[child] or stop[follow[child][""]]
                waiting.append(child)
    return follow, depth, stop


def _link(follow: list[dict[str, int]], state: int, character: str, child: int) -> None:
    """Sets where `child` leads when no character does: the longest shorter end of it that begins a stop text."""
    while state:
        state = follow[state][""]
        if character in follow[state]:
            follow[child][""] = follow[state][character]
            return
    follow[child][""] = 0
