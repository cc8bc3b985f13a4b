"""A trial of a GGUF in a process of its own: llama.cpp ends the process on some files, and that must not be ours.

llama.cpp checks what a file says of itself with assertions. A header can be read without it (models/gguf_file.py), but
whether a whole model can be loaded and computed is only known once it was. So each model that did not come with
Bailiwick is first loaded and asked for a few tokens by a child, once for each build of llama.cpp. The file is handed
over open: what was tried is what was verified.
"""

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from models.errors import NotAModel
from models.model import Model
from store.records.errors import BailiwickError

LONGEST_S = 600.0
CELLS, SLOTS = 256, 2
REFUSED = 3
"""The exit code of a child that was not ended, but told what is wrong."""


def prove(model: Model, marks: Path, *, gpu_layers: int = -1) -> None:
    """Returns if llama.cpp loads and computes a model. `marks` is a private folder of those that it did.

    Raises NotAModel if it does not, IntegrityError and SettingsError as `Model.opened` does.
    """
    mark = marks / f"{model.sha256}-{version('llama-cpp-python')}"
    if model.shipped or mark.exists():
        return
    with model.opened() as file:
        numbers = (file.fileno(), min(model.context, CELLS), gpu_layers)
        command = [sys.executable, "-P", "-m", "models.trial", model.kind, *map(str, numbers)]
        # llama.cpp starts a debugger, if there is one, to say where it failed.
        quiet = {**os.environ, "GGML_NO_BACKTRACE": "1"}
        try:
            done = subprocess.run(
                command,
                pass_fds=[file.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=quiet,
                timeout=LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _refused(model, f"it does not load and answer within {LONGEST_S:.0f} s") from None
    if done.returncode == REFUSED:
        raise _refused(model, done.stdout.decode("utf-8", "replace").strip()[:400])
    if done.returncode != 0:
        raise _refused(model, f"llama.cpp ends its process on this file ({_ending(done.returncode)})")
    with suppress(OSError):  # then it is tried again next time
        marks.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch(mode=0o600)


def _refused(model: Model, what: str) -> NotAModel:
    return NotAModel(what, f"{model.name}, {model.file}", "use another GGUF file")


def _ending(code: int) -> str:
    return signal.Signals(-code).name if -code in {each.value for each in signal.Signals} else f"exit code {code}"


def attempt(kind: str, descriptor: int, cells: int, gpu_layers: int) -> None:
    """Loads the open file and computes with it. Raises BailiwickError, or is the end of this process."""
    from models.engine.runner import Load, Runner
    from models.engine.sequence import Sequence, Slice

    def part(sequence: Sequence, start: int, tokens: list[int]) -> Slice:
        return Slice(sequence, start, tokens, 1, 0, True)

    load = Load(cells, len(os.sched_getaffinity(0)), SLOTS, gpu_layers, kind != "chat")
    runner = Runner(f"/proc/self/fd/{descriptor}", load)
    tokens = (runner.tokenize("The quick brown fox", ends=True) or [0])[: cells // 2]
    if kind != "chat":
        runner.encode([tokens, tokens[:1]])
        return
    runner.grammar_tokens()
    first, second = (Sequence(tokens, len(tokens), 0) for _ in range(2))
    first.slot, second.slot = 0, 1
    # Several tokens, then one, then one of each of two sequences: other code computes each.
    runner.compute([part(first, 0, tokens)])
    runner.compute([part(first, len(tokens), tokens[:1])])
    runner.compute([part(first, len(tokens) + 1, tokens[:1]), part(second, 0, tokens[:1])])


def main() -> int:
    """The child's whole life; what is wrong goes to stdout."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        attempt(sys.argv[1], *map(int, sys.argv[2:]))
    except BailiwickError as error:
        print(error.what)
        return REFUSED
    except Exception as error:
        # Whatever a vocabulary or a shape leads to here it would lead to in the engine.
        print(f"the model cannot be used: {type(error).__name__} while it was tried")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
