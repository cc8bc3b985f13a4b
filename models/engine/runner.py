"""The only door to llama.cpp: one model, one context, one sequence of tokens in its KV memory.

It knows no chat, no grammar and no sampling. All calls must come from the thread that loaded it. llama.cpp ends the
process on some misuse (more tokens than n_batch, positions that do not continue); every such case is refused here.
"""

import ctypes
import os
import re
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp as llama
import numpy as np
from llguidance import LLTokenizer
from numpy.typing import NDArray

from models.engine.vocabulary import Vocabulary
from store.records.errors import ModelFailed, SettingsError, Unreachable

Floats = NDArray[np.float32]
BATCH = 256
"""Tokens computed in one pass at most: small enough that a deadline is noticed in time, large enough to be fast."""
LONGEST_TEXT = 2**24
"""Bytes of one text at most: more than the largest contexts hold."""
SEQUENCES = 16
"""Texts embedded in one pass at most."""


_ERROR = 4
"""GGML_LOG_LEVEL_ERROR of ggml.h."""


class _Log:
    """Keeps what llama.cpp says while it loads: its last complaint, and how many layers went to the device."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=8)
        self.offloaded = 0
        self.debug = False
        # llama.cpp keeps the address only; without this reference the callback would be freed under it.
        self.callback = llama.llama_log_callback(self._take)
        llama.llama_log_set(self.callback, ctypes.c_void_p(0))

    def _take(self, level: int, text: bytes | None, _data: Any) -> None:
        line = (text or b"").decode("utf-8", "replace")
        if found := re.search(r"offloaded (\d+)/\d+ layers to GPU", line):
            self.offloaded = int(found[1])
        if level == _ERROR and line.strip():
            self.lines.append(line.strip())
        if self.debug:
            sys.stderr.write(line)

    def start(self, debug: bool) -> None:
        self.lines.clear()
        self.offloaded, self.debug = 0, debug

    def reason(self) -> str:
        """The first complaint of a failed load, without the name of the C function that made it."""
        return re.sub(r"^\w+: ", "", self.lines[0])[:200] if self.lines else "no reason given"


_log = _Log()
llama.llama_backend_init()


@dataclass(frozen=True, slots=True)
class Load:
    """How a model is loaded. `context` and `threads` are numbers above 0; -1 `gpu_layers` means all of them."""

    context: int
    threads: int
    gpu_layers: int = -1
    embedding: bool = False
    debug: bool = False


def accelerated() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU."""
    return bool(llama.llama_supports_gpu_offload())


class Runner:
    """A loaded model. `offloaded` is the number of layers that llama.cpp reported on the device."""

    def __init__(self, path: str, load: Load) -> None:
        """Loads the GGUF at `path`. Raises SettingsError if llama.cpp cannot."""
        _log.start(load.debug)
        self._context: Any = None
        self._model: Any = llama.llama_model_load_from_file(os.fsencode(path), _model_settings(load))
        if not self._model:
            raise SettingsError(f"llama.cpp cannot load the model: {_log.reason()}", "", "use another GGUF file")
        self._context = llama.llama_init_from_model(self._model, _context_settings(load))
        if not self._context:
            reason = _log.reason()
            llama.llama_model_free(self._model)
            raise SettingsError(f"llama.cpp cannot make a context: {reason}", "", "use a smaller context")
        self._vocab: Any = llama.llama_model_get_vocab(self._model)
        self._memory: Any = llama.llama_get_memory(self._context)
        self.offloaded = _log.offloaded
        # llama.cpp rounds the context up; what was asked for is what is promised.
        self.context = min(load.context, int(llama.llama_n_ctx(self._context)))
        self.width = int(llama.llama_model_n_embd(self._model))
        self.vocabulary = _read_vocabulary(self._vocab)
        self.device_ns = 0
        self._size = BATCH if not load.embedding else load.context
        self._batch = llama.llama_batch_init(self._size, 0, 1)
        self._tokens, self._positions, self._outputs = (
            np.ctypeslib.as_array(pointer, (self._size,))
            for pointer in (self._batch.token, self._batch.pos, self._batch.logits)
        )
        np.ctypeslib.as_array(self._batch.n_seq_id, (self._size,))[:] = 1

    def tokenize(self, text: str, *, controls: bool = False, ends: bool = False) -> list[int]:
        """The ids of `text`; `controls` reads the texts of control tokens as such, `ends` adds the model's first and
        last token. Raises SettingsError if the text is not Unicode."""
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise SettingsError("a text holds half a surrogate pair, which is not Unicode", "", "clean it") from error
        if len(data) > LONGEST_TEXT:
            raise SettingsError(f"a text of {len(data)} bytes is too long for any model", "", "shorten it")
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = llama.llama_tokenize(self._vocab, data, len(data), ids, room, ends, controls)
        if count < 0:
            raise ModelFailed(f"llama.cpp could not tokenize a text of {len(data)} bytes")
        return list(ids[:count])

    def decode(self, tokens: Sequence[int], position: int, *, rows: int = 1) -> Floats:
        """Computes `tokens` at `position` and following; they join the KV memory.

        Returns the logits after the last `rows` of them, float32 (rows, vocabulary): a view, valid until the next call.
        """
        count = len(tokens)
        if not 0 < rows <= count <= self._size or not 0 <= position <= self.context - count:
            raise ModelFailed(f"{count} tokens at position {position} do not fit the context", "", "")
        self._tokens[:count] = tokens
        self._positions[:count] = np.arange(position, position + count)
        self._outputs[:count] = 0
        self._outputs[count - rows : count] = 1
        self._fill(count, [0] * count)
        self._compute(llama.llama_decode)
        logits = llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (rows, len(self.vocabulary.pieces)))

    def truncate(self, length: int) -> bool:
        """Forgets the KV of all tokens from position `length` on.

        False if the model's memory cannot be cut there (recurrent models); then it forgets everything.
        """
        if llama.llama_memory_seq_rm(self._memory, 0, length, -1):
            return True
        llama.llama_memory_clear(self._memory, True)
        return length == 0

    def encode(self, texts: Sequence[Sequence[int]]) -> Floats:
        """The pooled vectors of up to SEQUENCES token sequences that fit one context: float32 (texts, width)."""
        count = sum(map(len, texts))
        if not 0 < len(texts) <= SEQUENCES or not 0 < count <= self._size or not all(texts):
            raise ModelFailed(f"{len(texts)} texts of {count} tokens do not fit one pass", "", "")
        self._tokens[:count] = np.concatenate([np.asarray(text, np.int32) for text in texts])
        self._positions[:count] = np.concatenate([np.arange(len(text)) for text in texts])
        self._outputs[:count] = 1
        self._fill(count, [number for number, text in enumerate(texts) for _ in text])
        if self._memory:
            llama.llama_memory_clear(self._memory, True)
        self._compute(llama.llama_decode if self._memory else llama.llama_encode)
        vectors = np.empty((len(texts), self.width), np.float32)
        for number in range(len(texts)):
            pooled = llama.llama_get_embeddings_seq(self._context, number)
            vectors[number] = np.ctypeslib.as_array(pooled, (self.width,))
        return vectors

    def grammar_tokens(self) -> LLTokenizer:
        """The vocabulary as llguidance wants it. It calls into the model and must not outlive it."""
        # llguidance knows a token that stands for no text by a first byte that no UTF-8 text holds.
        marks = self.vocabulary.marks
        pieces = [b"\xff" + piece if token in marks else piece for token, piece in enumerate(self.vocabulary.pieces)]
        tokenize = ctypes.cast(llama.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
        # The package's own wrapper of this call goes through deprecated functions, with one warning for each token.
        make: Any = LLTokenizer.from_llamacpp  # type: ignore[attr-defined]
        made: LLTokenizer = make(
            tokens=pieces,
            vocab_ptr=self._vocab,
            tokenize_fptr=tokenize,
            eos_token=list(self.vocabulary.ends),
            slices=None,
        )
        return made

    def close(self) -> None:
        """Frees the model; the runner cannot be used afterwards."""
        if self._context:
            llama.llama_batch_free(self._batch)
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._context = self._model = None

    def _fill(self, count: int, sequences: list[int]) -> None:
        self._batch.n_tokens = count
        for row, sequence in enumerate(sequences):
            self._batch.seq_id[row][0] = sequence

    def _compute(self, call: Any) -> None:
        """Runs the batch and waits for the device, so that the time counted is the device's and not the queue's."""
        started = time.perf_counter_ns()
        code = call(self._context, self._batch)
        llama.llama_synchronize(self._context)
        self.device_ns += time.perf_counter_ns() - started
        if code != 0:
            raise ModelFailed(f"llama.cpp could not compute a batch of {self._batch.n_tokens} tokens (code {code})")


def _read_vocabulary(vocab: Any) -> Vocabulary:
    pieces: list[bytes] = []
    controls, marks, ends = set(), set(), []
    buffer = ctypes.create_string_buffer(1024)
    for token in range(llama.llama_vocab_n_tokens(vocab)):
        size = llama.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = llama.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
        piece = buffer.raw[:size]
        attributes = llama.llama_vocab_get_attr(vocab, token)
        if attributes & (llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN):
            controls.add(token)
        elif attributes & llama.LLAMA_TOKEN_ATTR_USER_DEFINED and piece[:1] + piece[-1:] == b"<>":
            marks.add(token)
        if llama.llama_vocab_is_eog(vocab, token):
            ends.append(token)
        pieces.append(piece)
    usual = llama.llama_vocab_eos(vocab)
    return Vocabulary(
        pieces=tuple(pieces),
        controls=frozenset(controls),
        marks=frozenset(controls | marks),
        ends=tuple(sorted(ends, key=lambda token: token != usual)),
        begin=int(llama.llama_vocab_bos(vocab)),
        begins=bool(llama.llama_vocab_get_add_bos(vocab)),
    )


def _model_settings(load: Load) -> Any:
    settings = llama.llama_model_default_params()
    settings.n_gpu_layers = load.gpu_layers if accelerated() else 0
    # Not mapped: the bytes whose sha256 was checked are the bytes that run, and a file that is cut short while the
    # model runs does not end the process with a bus error.
    settings.load_mode = llama.LLAMA_LOAD_MODE_NONE
    return settings


def _context_settings(load: Load) -> Any:
    settings = llama.llama_context_default_params()
    settings.n_ctx = load.context
    settings.n_threads = settings.n_threads_batch = load.threads
    settings.kv_unified = True
    settings.no_perf = True
    if not accelerated():
        # On a CPU flash attention gives other logits for another split into batches (by 0.6 for SmolLM2), so that an
        # answer would depend on what was computed before. Without it SmolLM2's logits are the same bit by bit.
        settings.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # Models with sliding windows keep the whole context, or a shared prefix could not be cut back.
    settings.swa_full = True
    if load.embedding:
        settings.embeddings = True
        settings.n_batch = settings.n_ubatch = load.context
        settings.n_seq_max = SEQUENCES
    else:
        settings.n_batch = settings.n_ubatch = BATCH
        settings.n_seq_max = 1
    return settings


def require_device(layers: int, wanted: int, offloaded: int) -> None:
    """Raises Unreachable unless all the layers that were to be on the device are there."""
    needed = layers if wanted < 0 else min(wanted, layers)
    if not accelerated():
        raise Unreachable(
            "a GPU is required and this build of llama.cpp has none", "", "build it with: make ACCEL=cuda"
        )
    if offloaded < needed:
        raise Unreachable(f"a GPU is required and holds {offloaded} of {needed} layers", "", "free memory on the GPU")
