"""The only door to llama.cpp: one model, one context, and one KV memory for many sequences.

It knows no chat, no grammar and no sampling. All calls but `tokenize` must come from the thread that loaded it.
llama.cpp ends the process on some misuse (more tokens than n_batch, positions that do not continue, sequence ids out of
range); every such case is refused here.
"""

import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import llama_cpp as llama
import numpy as np
from llguidance import LLTokenizer
from numpy.typing import NDArray

from models.engine.batch import Batch, groups
from models.engine.load_log import LoadLog
from models.engine.sequence import Slice
from models.engine.vocabulary import Vocabulary
from store.records.errors import ModelFailed, SettingsError, Unreachable

Floats = NDArray[np.float32]
BATCH, DEVICE_BATCH = 256, 512
"""Tokens computed in one step at most, on a CPU and on a device: small enough that a deadline is noticed in time, and
no larger than makes the step faster for each token, which a CPU's caches end sooner."""
TILE = 64
"""Rows of a pass from which on llama.cpp computes attention on a CPU in tiles."""
TAIL = TILE
"""Tokens by which a step may be longer to end a prompt."""
MOST_SEQUENCES = 256
"""Sequence ids that llama.cpp knows (LLAMA_MAX_SEQ): those below the number of slots run, the others only park."""
LONGEST_TEXT = 2**24
"""Bytes of one text at most: more than the largest contexts hold."""
SEQUENCES = 16
"""Texts embedded in one pass at most."""


_log = LoadLog()


def _take(level: int, text: bytes | None, _: Any) -> None:
    _log.take(level, (text or b"").decode("utf-8", "replace"))


# llama.cpp keeps the address only; without this reference the callback would be freed under it.
_callback = llama.llama_log_callback(_take)
llama.llama_log_set(_callback, ctypes.c_void_p(0))
llama.llama_backend_init()


@dataclass(frozen=True, slots=True)
class Load:
    """How a model is loaded. `cells` (of KV memory), `threads` and `slots` (sequences at a time) are above 0.

    -1 `gpu_layers` means all of them.
    """

    cells: int
    threads: int
    slots: int = 1
    gpu_layers: int = -1
    embedding: bool = False
    flash: bool = True
    """Flash attention: a third faster on a CPU, with sums in 16 bits, whose last one depends on their order."""
    debug: bool = False


def accelerated() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU."""
    return bool(llama.llama_supports_gpu_offload())


class Runner:
    """A loaded model. `offloaded` is the number of layers that llama.cpp reported on the device; `host_bytes` and
    `device_bytes` are what it reported to have taken for model, KV memory and computing."""

    def __init__(self, path: str, load: Load) -> None:
        """Loads the GGUF at `path`. Raises SettingsError if llama.cpp cannot."""
        _log.start(load.debug)
        self._context: Any = None
        self._model: Any = llama.llama_model_load_from_file(os.fsencode(path), _model_settings(load))
        if not self._model:
            raise SettingsError(f"llama.cpp cannot load the model: {_log.reason()}", "", "use another GGUF file")
        self.batch = load.cells if load.embedding else DEVICE_BATCH if _log.offloaded else BATCH
        """Tokens of one step at most, but for a `tail` of TAIL more."""
        self.tail = 0 if load.embedding else TAIL
        size = self.batch + self.tail
        self._context = llama.llama_init_from_model(self._model, _context_settings(load, size))
        if not self._context:
            reason = _log.reason()
            llama.llama_model_free(self._model)
            raise SettingsError(f"llama.cpp cannot make a context: {reason}", "", "use a smaller context")
        self._vocab: Any = llama.llama_model_get_vocab(self._model)
        self._memory: Any = llama.llama_get_memory(self._context)
        self.offloaded, self.host_bytes, self.device_bytes = _log.offloaded, _log.host_bytes, _log.device_bytes
        # llama.cpp rounds the memory up; what was asked for is what is promised.
        self.cells = min(load.cells, int(llama.llama_n_ctx(self._context)))
        self.slots = load.slots
        self.build = f"llama-cpp-python {llama.__version__} gpu-layers {self.offloaded}"
        """What must be the same for a saved state to be read again, the model aside."""
        ranks = llama.llama_pooling_type(self._context) == llama.LLAMA_POOLING_TYPE_RANK
        self.width = int((llama.llama_model_n_cls_out if ranks else llama.llama_model_n_embd)(self._model))
        self.vocabulary = _read_vocabulary(self._vocab)
        # The state of a recurrent layer has no positions: nothing of it can be shared or cut back.
        self.divisible = not (llama.llama_model_is_recurrent(self._model) or llama.llama_model_is_hybrid(self._model))
        self._tiled = load.flash and not self.offloaded
        self.device_ns = 0
        self._batch = Batch(size)
        self._struct = _struct(self._batch)

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

    def compute(self, parts: Sequence[Slice]) -> Floats:
        """Computes slices of several sequences, in one pass on a device; their tokens join the KV memory.

        Returns the logits of the outputs in order, float32 (outputs, vocabulary): a view, valid until the next call.
        Raises ModelFailed if the memory has no room or llama.cpp fails; then nothing in the memory can be trusted.
        """
        split = groups(parts, TILE) if self._tiled else [list(parts)]
        if len(split) == 1:
            return self._pass(split[0])
        starts = dict(zip(map(id, parts), accumulate((part.outputs for part in parts), initial=0), strict=False))
        logits = np.empty((sum(part.outputs for part in parts), len(self.vocabulary.pieces)), np.float32)
        for group in split:
            rows = self._pass(group)
            for part in group:
                start = starts[id(part)]
                logits[start : start + part.outputs], rows = rows[: part.outputs], rows[part.outputs :]
        return logits

    def _pass(self, parts: Sequence[Slice]) -> Floats:
        self._batch.clear()
        for part in parts:
            slot = part.sequence.slot
            if not 0 <= slot < self.slots or llama.llama_memory_seq_pos_max(self._memory, slot) + 1 != part.start:
                raise ModelFailed(f"position {part.start} does not continue what sequence {slot} has computed")
            self._batch.add(slot, part.start, part.tokens, part.outputs)
        self._run(llama.llama_decode)
        rows = sum(part.outputs for part in parts)
        if not rows:
            return np.empty((0, len(self.vocabulary.pieces)), np.float32)
        logits = llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (rows, len(self.vocabulary.pieces)))

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Makes the cells of `source` at positions start to end (exclusive) those of `target` as well: no copy."""
        self._check(source, target)
        llama.llama_memory_seq_cp(self._memory, source, target, start, end)

    def drop(self, sequence: int, start: int, end: int) -> None:
        """Takes the cells at positions start to end (exclusive; -1: all that follow) away from a sequence id."""
        self._check(sequence)
        if not llama.llama_memory_seq_rm(self._memory, sequence, start, end):
            raise ModelFailed("the model's memory cannot be cut there")

    def forget(self) -> None:
        """Clears the KV memory of all sequences."""
        llama.llama_memory_clear(self._memory, True)

    def state(self, sequence: int) -> bytes:
        """What the KV memory holds for a sequence, as `restore` takes it. Raises ModelFailed if that is nothing."""
        self._check(sequence)
        buffer = (ctypes.c_uint8 * llama.llama_state_seq_get_size(self._context, sequence))()
        size = llama.llama_state_seq_get_data(self._context, buffer, len(buffer), sequence)
        if not size:
            raise ModelFailed("the model's state cannot be saved")
        return bytes(memoryview(buffer)[:size])

    def restore(self, sequence: int, state: bytes) -> None:
        """Puts a state back, for a sequence that holds nothing. It must come from `state` and the same build.

        Raises ModelFailed if llama.cpp does not take it.
        """
        self._check(sequence)
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if llama.llama_state_seq_set_data(self._context, buffer, len(state), sequence) != len(state):
            self.drop(sequence, 0, -1)
            raise ModelFailed("the saved state does not fit the model", "", "delete the file")

    def encode(self, texts: Sequence[Sequence[int]]) -> Floats:
        """The pooled vectors of up to SEQUENCES token sequences that fit the memory: float32 (texts, width)."""
        if not 0 < len(texts) <= SEQUENCES or not all(texts):
            raise ModelFailed(f"{len(texts)} texts do not fit one pass")
        self._batch.clear()
        for number, text in enumerate(texts):
            self._batch.add(number, 0, text, len(text))
        if self._memory:
            self.forget()
        self._run(llama.llama_decode if self._memory else llama.llama_encode)
        vectors = np.empty((len(texts), self.width), np.float32)
        for number in range(len(texts)):
            pooled = llama.llama_get_embeddings_seq(self._context, number)
            vectors[number] = np.ctypeslib.as_array(pooled, (self.width,))
        return vectors

    def frame(self) -> tuple[list[int], list[int], list[int]]:
        """The tokens that a reranker wants before the query, between it and the document, and after that."""
        end, separator = llama.llama_vocab_eos(self._vocab), llama.llama_vocab_sep(self._vocab)
        ends = [separator if end == llama.LLAMA_TOKEN_NULL else end] * llama.llama_vocab_get_add_eos(self._vocab)
        between = ends + [separator] * llama.llama_vocab_get_add_sep(self._vocab)
        return [self.vocabulary.begin] * self.vocabulary.begins, between, ends

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
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._context = self._model = None

    def _check(self, *sequences: int) -> None:
        if not all(0 <= each < MOST_SEQUENCES for each in sequences):
            raise ModelFailed("a sequence id is out of range")

    def _run(self, call: Any) -> None:
        """Runs the batch and waits for the device, so that the time counted is the device's and not the queue's."""
        self._struct.n_tokens = self._batch.used
        started = time.perf_counter_ns()
        code = call(self._context, self._struct)
        llama.llama_synchronize(self._context)
        self.device_ns += time.perf_counter_ns() - started
        if code != 0:
            raise ModelFailed(f"llama.cpp could not compute a batch of {self._batch.used} tokens (code {code})")


def _struct(batch: Batch) -> Any:
    """The llama_batch over a batch's arrays, which must outlive it."""

    def pointer(array: NDArray[Any], kind: Any) -> Any:
        return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))

    return llama.llama_batch(
        n_tokens=0,
        token=pointer(batch.tokens, ctypes.c_int32),
        pos=pointer(batch.positions, ctypes.c_int32),
        n_seq_id=pointer(batch.counts, ctypes.c_int32),
        seq_id=pointer(batch.pointers, ctypes.POINTER(ctypes.c_int32)),
        logits=pointer(batch.outputs, ctypes.c_int8),
    )


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


def _context_settings(load: Load, batch: int) -> Any:
    settings = llama.llama_context_default_params()
    settings.n_ctx = load.cells
    settings.n_threads = settings.n_threads_batch = load.threads
    settings.kv_unified = True
    settings.no_perf = True
    if not load.flash:
        settings.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # Models with sliding windows keep the whole context, or a shared prefix could not be cut back.
    settings.swa_full = True
    settings.n_batch = settings.n_ubatch = batch
    if load.embedding:
        settings.embeddings = True
        settings.n_seq_max = SEQUENCES
    else:
        settings.n_seq_max = load.slots
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
