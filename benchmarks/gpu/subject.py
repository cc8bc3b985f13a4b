"""The models under measurement: GGUFs at hand, and one with random weights that is there as long as a run."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu import random_model
from benchmarks.gpu.shape import Shape


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under measurement: what the report calls it, its GGUF, and the tokens that could end an answer early."""

    name: str
    file: Path
    banned: tuple[int, ...] = field(default=(), repr=False)


def at_hand(name: str, file: Path) -> Subject:
    """A model with weights of its own. All its control tokens are banned: whatever ends an answer is one of them."""
    import gguf

    kinds = gguf.GGUFReader(file).fields["tokenizer.ggml.token_type"].contents()
    return Subject(name, file, tuple(token for token, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL))


@contextmanager
def random_weights(shape: Shape, donor: Path) -> Iterator[Subject]:
    """A model of a shape with the tokenizer of `donor`, in a temporary folder that is removed at the end.

    Nothing is banned: greedy search never ends its answers. Raises SettingsError as random_model.write does.
    """
    with tempfile.TemporaryDirectory(prefix="bailiwick-gpu-") as folder:
        file = Path(folder) / "random.gguf"
        random_model.write(shape, donor, file)
        yield Subject(f"{shape.name}, random weights", file)
