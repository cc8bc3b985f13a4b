"""One answer in the making: its prompt, what was generated, how much more may be, and why it stopped."""

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field
from typing import Literal

from models.engine.grammar import Matcher

Stop = Literal["", "end", "length", "deadline"]


@dataclass(slots=True)
class Sequence:
    """The state of one generation. `limit` is the most tokens it may generate, sampled and forced together."""

    prompt: list[int]
    limit: int
    ends: Tokens[int]
    matcher: Matcher | None = None
    reused: int = 0
    generated: list[int] = field(default_factory=list)
    sampled: int = 0
    stop: Stop = ""

    @property
    def forced(self) -> int:
        """How many of the generated tokens the grammar forced."""
        return len(self.generated) - self.sampled

    def begin(self) -> list[int]:
        """The tokens that the grammar forces before anything is sampled."""
        return self._force()

    def take(self, token: int) -> list[int]:
        """Adds a sampled token (which the matcher has accepted) and what the grammar forces after it.

        Returns the tokens that were added; they are to be computed next, unless `stop` is set.
        """
        self.generated.append(token)
        self.sampled += 1
        if token in self.ends:
            self.stop = "end"
            return [token]
        return [token, *self._force()]

    def _force(self) -> list[int]:
        forced = self.matcher.forced(self.limit - len(self.generated)) if self.matcher else []
        self.generated += forced
        if self.matcher:
            self.matcher.check()
        if self.matcher and self.matcher.done:
            self.stop = "end"
        elif len(self.generated) >= self.limit:
            self.stop = "length"
        return forced
