"""Chooses the next token from logits: the most likely one, or one drawn with a temperature from a seed.

Drawing uses the Gumbel-max method (Gumbel, Statistical Theory of Extreme Values, 1954): the argmax of
`logits + T * noise` is a sample of softmax(logits / T). With the same noise, the argmax over the allowed tokens is a
sample of the distribution restricted to them. So the unrestricted choice can be tried first, and the grammar's mask is
needed only when that choice is not allowed: exact, for greedy and drawn tokens alike.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from store.records.errors import ModelFailed


class Rules(Protocol):
    """What the sampler asks of a grammar."""

    def accept(self, token: int) -> bool:
        """Takes the token, if it may stand next."""
        ...

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may stand next: bool (vocabulary,)."""
        ...


class Sampler:
    """Chooses tokens for one sequence. The same seed and logits give the same tokens."""

    def __init__(self, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._random = np.random.Generator(np.random.Philox(seed)) if temperature > 0 else None

    @property
    def name(self) -> str:
        """How tokens are chosen, for the record."""
        return f"temperature={self._temperature:g}" if self._random else "greedy"

    def choose(self, logits: NDArray[np.float32], rules: Rules | None) -> int:
        """The next token for logits, float32 (vocabulary,). With rules, it is one that they have accepted.

        Raises ModelFailed if the logits are not numbers or no token is allowed.
        """
        scores: NDArray[np.float32] = logits
        if self._random:
            # In 64 bits: among 2**16 draws of 32 bits some are exactly 0, whose noise would win over every logit.
            draws = np.maximum(self._random.standard_exponential(len(logits)), np.finfo(np.float64).tiny)
            scores = (logits - self._temperature * np.log(draws)).astype(np.float32)
        token = int(scores.argmax())
        if np.isnan(scores[token]):
            raise ModelFailed("the model computes values that are not numbers", "", "use another GGUF file")
        if rules is None or rules.accept(token):
            return token
        token = int(np.where(rules.allowed(), scores, -np.inf).argmax())
        if not rules.accept(token):
            raise ModelFailed("the grammar allows no token here", "", "simplify the schema")
        return token
