"""The roofline of decoding: no step can be faster than the device reads what it needs.

The bound is that of Williams, Waterman and Patterson, "Roofline" (2009), for a kernel that memory limits. A step of
decoding makes one token for each running sequence. It reads every weight once, however many sequences there are, and
the keys and values of all positions of each; nothing else is counted, so a share of the roofline is a lower bound.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.records.errors import SettingsError

KV_BYTES = 2
"""Of one number in the KV memory: both contenders keep 16-bit floats."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a model makes a decode step read: bytes of `weights`, and of keys and values for each `token` of context."""

    weights: int
    token: int

    def step(self, sequences: int, position: float) -> float:
        """The bytes that a step must read which runs so many sequences, each at a position: so many tokens are before
        and at the one it computes."""
        return self.weights + sequences * self.token * position


def read(file: Path) -> Traffic:
    """The traffic of the GGUF at `file`. Of embeddings one row a token is read, and not counted, unless the matrix is
    the output's as well."""
    import gguf

    reader = gguf.GGUFReader(file)
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors}
    if "output.weight" in sizes:
        del sizes["token_embd.weight"]
    sizes.pop("rope_freqs.weight", None)
    return Traffic(sum(sizes.values()), _token_bytes(reader.fields))


def position(prompt: float, answer: int) -> float:
    """The mean position of the steps that write an answer of so many tokens after a prompt of so many: the first step
    computes the prompt's last token, the last one the token before the answer's last."""
    return prompt + (answer - 1) / 2


def share(step_bytes: float, steps: int, seconds: float, bandwidth: float) -> float:
    """Which part of a bandwidth, in bytes a second, so many steps took. NaN if the bandwidth is not known."""
    return step_bytes * steps / seconds / bandwidth if seconds and bandwidth > 0 else math.nan


def _token_bytes(fields: Any) -> int:
    def number(key: str, default: int = 0) -> int:
        field = fields.get(f"{architecture}.{key}")
        return int(field.contents()) if field else default

    architecture = fields["general.architecture"].contents()
    if number("expert_count"):
        raise SettingsError(
            "the bytes that a step of a mixture of experts reads are not known", "", "give another --model"
        )
    heads = number("attention.head_count")
    head = number("embedding_length") // heads
    width = number("attention.key_length", head) + number("attention.value_length", head)
    return number("block_count") * number("attention.head_count_kv", heads) * width * KV_BYTES
