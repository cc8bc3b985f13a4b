"""A model: a file, its sha256, its licence, and what its header says about it.

The sha256 is what makes a file a model. It is computed over the whole file each time the model is loaded; size and
time stamps prove nothing, since both can be set by whoever can write the file.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, get_args

from models.errors import NotAModel
from models.gguf_file import Header, read_header
from store.records.canonical import Json
from store.records.errors import IntegrityError, SettingsError

Kind = Literal["chat", "embedding", "reranker"]
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_POOLED, _RANKED = (1, 2, 3), 4
"""llama.cpp's pooling types that yield a vector for a text (mean, first token, last token), and the one for a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One GGUF model. `template` is its Jinja chat template, of a reranker the text around query and document, if any.

    `context` is its trained limit in tokens.

    `width` is the size of its embedding vectors, `shipped` whether it came with Bailiwick's set-up.
    """

    name: str
    file: Path
    sha256: str
    bytes: int
    licence: str
    kind: Kind
    architecture: str
    template: str
    context: int
    layers: int
    width: int
    vocabulary: int
    parameters: int
    shipped: bool = False

    def json(self) -> Json:
        """As plain JSON, for the registry file."""
        body = asdict(self)
        del body["shipped"]
        return {**body, "file": str(self.file)}

    @classmethod
    def parse(cls, value: Json, folder: Path, shipped: bool) -> "Model":
        """The model in `value`, as `json` writes it; a relative file is taken from `folder`.

        Raises KeyError, TypeError or ValueError if `value` does not describe a model.
        """
        body: dict[str, Any] = {each.name: value[each.name] for each in fields(cls) if each.name != "shipped"}
        for each in fields(cls):
            wanted = int if each.type is int else str
            if each.name in body and not isinstance(body[each.name], wanted):
                raise TypeError(each.name)
        if body["kind"] not in get_args(Kind) or not _NAME.fullmatch(body["name"]):
            raise ValueError(body["name"])
        return cls(**{**body, "file": folder / body["file"]}, shipped=shipped)

    def named(self, name: str) -> "Model":
        """The same model under another name."""
        return replace(self, name=check_name(name))

    @contextmanager
    def opened(self) -> Iterator[BufferedReader]:
        """The model's file, open for reading, after its sha256 was found to be the recorded one.

        Raises SettingsError if the file is gone or cannot be read, IntegrityError if it is not the recorded one.
        """
        with open_file(self.file, f"put it back, or type: bailiwick models remove {self.name}") as file:
            size = os.fstat(file.fileno()).st_size
            found = hashlib.file_digest(file, "sha256").hexdigest() if size == self.bytes else ""
            if found != self.sha256:
                raise IntegrityError(
                    f"the model file is not the one that was added: {size} bytes, sha256 {found[:12] or 'not taken'}, "
                    f"recorded {self.bytes} bytes, {self.sha256[:12]}",
                    str(self.file),
                    f"restore it, or remove and add the model {self.name} again",
                )
            file.seek(0)
            yield file

    def verify(self) -> None:
        """Recomputes the sha256 of the file. Raises as `opened` does."""
        with self.opened():
            pass


def check_name(name: str) -> str:
    """`name`, if it can be a model's name. Raises SettingsError if not."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "a model's name is 1 to 64 of a-z, 0-9, dot, dash and underscore, and starts with a letter or digit",
            name[:80],
            "give another --name",
        )
    return name


def name_of(file: Path) -> str:
    """A model name made of a file's name, as in `Qwen2.5 0.5B.gguf` to `qwen2.5-0.5b`."""
    return re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._")[:64] or "model"


@contextmanager
def open_file(path: Path, do: str) -> Iterator[BufferedReader]:
    """A regular file, open for reading. Raises SettingsError, ending in `do`, if there is none."""
    try:
        # A named pipe would block the open for ever; the kind is checked on what was opened, not on the path.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"there is no readable model file: {error.strerror}", str(path), do) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SettingsError("a model must be a regular file", str(path), do)
    with os.fdopen(descriptor, "rb") as file:
        yield file


def describe(file: Path, name: str = "", licence: str = "") -> Model:
    """Reads a GGUF file and makes a model of it; an empty licence is taken from the file's metadata.

    Raises SettingsError if there is no such file, NotAModel if it is none, or of no kind that Bailiwick runs.
    """
    name = check_name(name or name_of(file))
    with open_file(file, "give the path of a GGUF file") as opened:
        header = read_header(opened, file)
        opened.seek(0)
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        size = os.fstat(opened.fileno()).st_size
    architecture = header.text("general.architecture")
    kind = _kind(header, architecture, file)
    return Model(
        name=name,
        file=file.resolve(),
        sha256=sha256,
        bytes=size,
        licence=licence or header.text("general.license") or "unknown",
        kind=kind,
        architecture=architecture,
        template=header.text(f"tokenizer.chat_template{'.rerank' if kind == 'reranker' else ''}"),
        context=header.number(f"{architecture}.context_length"),
        layers=header.number(f"{architecture}.block_count"),
        width=header.number(f"{architecture}.embedding_length"),
        vocabulary=header.lengths.get("tokenizer.ggml.tokens", 0),
        parameters=header.parameters,
    )


def _kind(header: Header, architecture: str, file: Path) -> Kind:
    """What a model is for, or NotAModel with the reason why it is for nothing here."""
    if header.number("split.count") > 1:
        raise NotAModel("this is one part of a split GGUF", str(file), "merge the parts with llama-gguf-split")
    needed = (f"{architecture}.context_length", f"{architecture}.block_count", f"{architecture}.embedding_length")
    if not architecture or not all(header.number(key) for key in needed):
        raise NotAModel("the GGUF holds no language model", str(file), "give the GGUF of a chat or embedding model")
    if not header.lengths.get("tokenizer.ggml.tokens"):
        raise NotAModel("the GGUF holds no vocabulary", str(file), "give the GGUF of a chat or embedding model")
    if header.number(f"{architecture}.pooling_type") in _POOLED:
        return "embedding"
    if header.number(f"{architecture}.pooling_type") == _RANKED:
        # Without it llama.cpp takes for a document's score what lies somewhere in the vectors of others.
        if "cls.output.weight" not in header.tensors:
            raise NotAModel("the reranker has no head (cls.output.weight)", str(file), "convert it again")
        return "reranker"
    if header.text("tokenizer.chat_template"):
        return "chat"
    raise NotAModel(
        "the model is neither a chat model (no chat template) nor an embedding model or reranker (no pooling)",
        str(file),
        "give the GGUF of an instruction-tuned model",
    )
