"""What the tokens of a model are: their bytes, which of them end an answer, which are control tokens. Plain data."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of one model, by id.

    `pieces` are the bytes that a token stands for; `controls` the ids of the tokens that stand for no text; `marks` the
    ids of all tokens that structure a prompt: the controls, and tags such as `<tool_call>`; `ends` the ids that end an
    answer, the usual one first; `begin` the id of the token that begins a prompt, or -1, and `begins` whether the
    model wants it there.
    """

    pieces: tuple[bytes, ...]
    controls: frozenset[int]
    marks: frozenset[int]
    ends: tuple[int, ...]
    begin: int
    begins: bool

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text: none if it is a control token."""
        return b"" if token in self.controls else self.pieces[token]

    def text(self, tokens: Iterable[int]) -> str:
        """The text of tokens, without control tokens. Bytes that are not UTF-8 become U+FFFD."""
        data = b"".join(self.pieces[token] for token in tokens if token not in self.controls)
        return data.decode("utf-8", "replace")

    def marked_text(self, tokens: Iterable[int]) -> str:
        """The text of tokens with the control tokens written out, but for those that end an answer or begin a prompt.

        Some models mark a tool call with control tokens, and tool_calls.parse needs them; `text` is what people read.
        """
        left_out = {*self.ends, self.begin}
        return b"".join(self.pieces[token] for token in tokens if token not in left_out).decode("utf-8", "replace")

    def text_of(self, token: int) -> str:
        """How one token is written in a chat template; an empty text for -1."""
        return self.pieces[token].decode("utf-8", "replace") if token >= 0 else ""

    def mark_texts(self) -> tuple[str, ...]:
        """How the tokens that structure a prompt are written in a chat template, longest first."""
        texts = {self.text_of(token) for token in self.marks}
        return tuple(sorted(texts - {""}, key=lambda text: (-len(text), text)))
