"""Writes all-MiniLM-L6-v2 (safetensors and vocabulary, as sentence-transformers keeps them) as a BERT GGUF.

The weights stay 32-bit floats, so nothing is lost. Only data is read: JSON, text and safetensors, never pickle.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.records.errors import SettingsError

_SPECIAL = re.compile(r"\[(?:PAD|UNK|CLS|SEP|MASK)\]")
_UNUSED = re.compile(r"\[unused\d+\]")
_LEFT_OUT = re.compile(r"embeddings\.position_ids|pooler\..*")
"""An index, and the head of BERT's next-sentence task: mean pooling uses neither."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a BERT encoder. `context` is the longest input it was trained to embed, in tokens."""

    layers: int
    width: int
    inner: int
    heads: int
    epsilon: float
    context: int

    @classmethod
    def read(cls, folder: Path) -> "Shape":
        """The shape that the configuration files in `folder` give. Raises SettingsError if it is not BERT's."""
        try:
            config = json.loads((folder / "config.json").read_bytes())
            sentences = json.loads((folder / "sentence_bert_config.json").read_bytes())
            if config["model_type"] != "bert" or config["position_embedding_type"] != "absolute":
                raise ValueError(config["model_type"])
            return cls(
                layers=int(config["num_hidden_layers"]),
                width=int(config["hidden_size"]),
                inner=int(config["intermediate_size"]),
                heads=int(config["num_attention_heads"]),
                epsilon=float(config["layer_norm_eps"]),
                context=int(sentences["max_seq_length"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError("this is not a sentence-transformers BERT model", str(folder)) from error


def convert(folder: Path, target: Path, *, name: str, licence: str) -> None:
    """Writes the model in `folder` to the GGUF file `target`. Raises SettingsError if it is not a BERT model."""
    import gguf

    shape = Shape.read(folder)
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name(name)
    writer.add_license(licence)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(shape.epsilon)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_vocabulary(writer, words)
    _add_tensors(writer, folder / "model.safetensors", shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, words: list[str]) -> None:
    import gguf

    writer.add_tokenizer_model("bert")
    writer.add_token_list([_phantom(word) for word in words])
    writer.add_token_types([_type(word) for word in words])
    writer.add_token_type_count(2)
    place = {word: index for index, word in enumerate(words) if _SPECIAL.fullmatch(word)}
    writer.add_bos_token_id(place["[CLS]"])
    writer.add_eos_token_id(place["[SEP]"])
    writer.add_sep_token_id(place["[SEP]"])
    writer.add_unk_token_id(place["[UNK]"])
    writer.add_pad_token_id(place["[PAD]"])
    writer.add_mask_token_id(place["[MASK]"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _phantom(word: str) -> str:
    """A WordPiece as llama.cpp wants it: a word's start carries a mark, its continuations do not."""
    if _SPECIAL.fullmatch(word) or _UNUSED.fullmatch(word):
        return word
    return word[2:] if word.startswith("##") else "\u2581" + word


def _type(word: str) -> int:
    import gguf

    if word == "[UNK]":
        return int(gguf.TokenType.UNKNOWN)
    if _SPECIAL.fullmatch(word):
        return int(gguf.TokenType.CONTROL)
    return int(gguf.TokenType.UNUSED if _UNUSED.fullmatch(word) else gguf.TokenType.NORMAL)


def _add_tensors(writer: Any, weights: Path, shape: Shape) -> None:
    import gguf
    from safetensors.numpy import load_file

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, shape.layers)
    for key, tensor in sorted(load_file(weights).items()):
        if _LEFT_OUT.fullmatch(key):
            continue
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise SettingsError(f"BERT has no tensor {key}", str(weights))
        # The table holds more positions than the model was trained on; the context ends where the training did.
        writer.add_tensor(name, tensor[: shape.context] if name == "position_embd.weight" else tensor)
