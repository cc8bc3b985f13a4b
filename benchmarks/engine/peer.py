"""The peer: llama.cpp's own server, from the wheel `xllamacpp`, in this process. Never imported next to our engine.

It is called in the process instead of over its listening address, which spares it the HTTP. Its settings are a
`Setting`; the number of its slots is the concurrency of the level, so a peer is started anew for each level.
"""

import importlib
import json
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from benchmarks.engine.answer import Answer
from benchmarks.engine.driver import OnText
from benchmarks.engine.schemas import gbnf, lark
from benchmarks.engine.workload import Job

INSTALL = "llama.cpp's server is not there: pip install --target FOLDER xllamacpp, and put FOLDER on PYTHONPATH"


@dataclass(frozen=True, slots=True)
class Setting:
    """How the peer is run. `grammar` is how it is told what to write: `schema` leaves that to it, as a user would.

    `gbnf` and `llguidance` are compact grammars that allow exactly the bytes that our engine may write. `batch` and
    `micro_batch` are tokens, `ram_cache` MiB of prompts that it keeps outside the KV memory, `reuse` the least tokens
    of a chunk that it may shift to reuse. `lean` draws with the top token only, which greedy decoding needs no more of.
    `program` is the `llama-server` to start (program.py); empty for the one in the wheel.
    """

    name: str
    grammar: str = "schema"
    unified: bool = False
    batch: int = 2048
    micro_batch: int = 512
    ram_cache: int = 8192
    reuse: int = 0
    lean: bool = False
    program: str = ""


DEFAULT = Setting("default")
"""llama.cpp's defaults, but for the number of slots, which is the concurrency of the level."""
TUNED = (
    Setting("tuned", "gbnf", unified=True, reuse=64, ram_cache=0, lean=True),
    Setting("tuned", "gbnf", unified=False, reuse=64, ram_cache=0, lean=True),
    Setting("tuned", "gbnf", unified=True, batch=512, micro_batch=256, reuse=64, ram_cache=0, lean=True),
    Setting("tuned", "gbnf", unified=True, batch=256, micro_batch=128, reuse=64, lean=True),
)
"""Settings for the tuned peer, the best one first. A full run measures all and counts the best of each level."""
GUIDED = Setting("tuned, llguidance", "llguidance", unified=True, reuse=64, ram_cache=0, lean=True)
"""Beyond llama.cpp's releases, which are built without llguidance: the wheel has it, for whoever writes its grammar."""


class Peer:
    """llama.cpp's server. `context` is the KV memory of all its slots together, in tokens."""

    def __init__(self, file: str, setting: Setting, slots: int, context: int, threads: int) -> None:
        """Loads the GGUF at `file`. Raises ImportError if xllamacpp is not there."""
        xllamacpp = importlib.import_module("xllamacpp")
        settings = xllamacpp.CommonParams()
        settings.model.path = file
        settings.n_ctx, settings.n_parallel = context, slots
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        settings.kv_unified = setting.unified
        settings.n_batch, settings.n_ubatch = setting.batch, setting.micro_batch
        settings.cache_ram_mib, settings.n_cache_reuse = setting.ram_cache, setting.reuse
        settings.verbosity = 0
        self._setting = setting
        self._server: Any = xllamacpp.Server(settings)

    def answer(self, job: Job, on_text: OnText | None = None) -> Answer:
        """Answers one job; see Contender."""
        body = chat(job, self._setting)
        started = time.perf_counter()
        try:
            if on_text is None:
                reply = checked(self._server.handle_chat_completions(body))
                text = reply["choices"][0]["message"]["content"] or ""
            else:
                reply, text = self._stream(body, on_text)
        except RuntimeError as error:
            return Answer(error=str(error)[:300] or "no reason given")
        return answered(reply["timings"], text, (time.perf_counter() - started) * 1000)

    def work(self) -> tuple[int, float]:
        """It tells no steps, and has no Python between them."""
        return 0, 0.0

    def prompt(self, job: Job) -> list[int]:
        """The tokens of a job's prompt, as the server templates and tokenizes it."""
        text = self._post("/apply-template", {"messages": _messages(job)})["prompt"]
        tokens: list[int] = self._post("/tokenize", {"content": text, "add_special": True})["tokens"]
        return tokens

    def close(self) -> None:
        """Stops the server."""
        self._server = None

    def _stream(self, body: dict[str, Any], on_text: OnText) -> tuple[dict[str, Any], str]:
        """Streams one answer. Returns its last chunk, which has the timings, and the text."""
        pieces: list[str] = []
        last: dict[str, Any] = {}

        def take(chunk: dict[str, Any]) -> None:
            last.update(chunk)
            piece = chunk["choices"][0]["delta"].get("content") if "choices" in chunk else ""
            if piece:
                pieces.append(piece)
                on_text(piece)

        self._server.handle_chat_completions({**body, "stream": True}, take)
        return checked(last), "".join(pieces)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        # Its own loopback address: these two are not among the calls that the wheel has in the process.
        request = urllib.request.Request(
            self._server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)


def chat(job: Job, setting: Setting) -> dict[str, Any]:
    """The request for a chat completion that a job is."""
    body: dict[str, Any] = {"messages": _messages(job), "max_tokens": job.max_tokens, "temperature": 0.0, "seed": 0}
    if setting.lean:
        body |= {"samplers": ["top_k"], "top_k": 1}
    if job.banned:
        body["logit_bias"] = [[token, False] for token in job.banned]
    if job.schema is not None:
        match setting.grammar:
            case "gbnf":
                body["grammar"] = gbnf(job.schema)
            case "llguidance":
                body["grammar"] = lark(job.schema)
            case _:
                schema = {"name": job.role, "schema": job.schema}
                body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def answered(timings: dict[str, Any], text: str, total_ms: float) -> Answer:
    """The answer that took `total_ms`, with the server's own `timings` of it."""
    return Answer(
        text=text,
        prompt_tokens=timings["cache_n"] + timings["prompt_n"],
        reused_tokens=timings["cache_n"],
        sampled_tokens=timings["predicted_n"],
        first_ms=max(total_ms - timings["predicted_ms"], 0.0),
        total_ms=total_ms,
        device_ms=timings["prompt_ms"] + timings["predicted_ms"],
    )


def _messages(job: Job) -> list[dict[str, str]]:
    return [{"role": "system", "content": job.system}, {"role": "user", "content": job.user}]


def checked(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply that is an answer. Raises RuntimeError with what the server says if it is none."""
    if "timings" not in reply:
        raise RuntimeError(str(reply.get("error", "the server sent no answer")))
    return reply
