"""The sizes of a Llama model, which alone decide how fast it is: what its weights are does not matter."""

from dataclasses import dataclass

Matrices = tuple[tuple[str, tuple[int, int]], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of the Llama family with grouped-query attention, its output matrix not tied to its embeddings.

    `vocabulary` 0 takes that of the model whose tokenizer it gets.
    """

    name: str
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int = 0
    context: int = 8192

    @property
    def head(self) -> int:
        """The width of one attention head."""
        return self.width // self.heads

    def block(self, number: int) -> Matrices:
        """The matrices of one layer by name: (rows, columns), a row for each output."""
        kv, before = self.kv_heads * self.head, f"blk.{number}."
        return (
            (f"{before}attn_q.weight", (self.width, self.width)),
            (f"{before}attn_k.weight", (kv, self.width)),
            (f"{before}attn_v.weight", (kv, self.width)),
            (f"{before}attn_output.weight", (self.width, self.width)),
            (f"{before}ffn_gate.weight", (self.inner, self.width)),
            (f"{before}ffn_up.weight", (self.inner, self.width)),
            (f"{before}ffn_down.weight", (self.width, self.inner)),
        )

    def matrix_bytes(self, vocabulary: int) -> int:
        """The bytes of all matrices in 16 bits a weight, with so many tokens: nearly all of the file."""
        block = sum(rows * columns for _, (rows, columns) in self.block(0))
        return 2 * (self.layers * block + 2 * vocabulary * self.width)


LLAMA_3_8B = Shape("8B shape", layers=32, width=4096, inner=14336, heads=32, kv_heads=8, vocabulary=128256)
"""Llama 3 8B: "The Llama 3 Herd of Models" (Meta, 2024), table 3."""
TINY = Shape("tiny shape", layers=4, width=256, inner=512, heads=4, kv_heads=2)
"""What two CPU cores compute in a moment."""
