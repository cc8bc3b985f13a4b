"""A trial of a GGUF in a process of its own: llama.cpp ends the process on some files, and that must not be ours.

llama.cpp checks what a file says of itself with assertions. A header can be read without it (models/gguf_file.py), but
whether a whole model can be loaded and computed is only known once it was. So each model that did not come with
Bailiwick is first loaded and asked for a few tokens by a child, once for each build of llama.cpp and number of layers
on the GPU. The file is handed over open: what was tried is what was verified. This guards against crashes; it is no
sandbox, though the child is given nothing that it does not need.
"""

import ctypes
import math
import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from models.errors import NotAModel, TrialTooLong
from models.model import Model
from store.records.errors import BailiwickError

LONGEST_S = 600.0
"""Seconds that any file may take, and one more for every SLOWEST bytes."""
SLOWEST = 20_000_000
CELLS, SLOTS, ROWS = 512, 2, 200
NEEDED = re.compile(
    r"PATH|LANG|LC_\w+|HOME|TMPDIR|LD_LIBRARY_PATH|PYTHON(PATH|SAFEPATH|WARNINGS)|(CUDA|NVIDIA|GGML|OMP|GOMP)_\w+"
)
"""What the child is given of the environment: no secret is among it."""
PR_SET_PDEATHSIG = 1
"""prctl(2)."""
REFUSED = 3
"""The exit code of a child that was not ended, but told what is wrong."""


def prove(model: Model, marks: Path, *, gpu_layers: int = -1) -> None:
    """Returns if llama.cpp loads and computes a model. `marks` is a private folder of those that it did.

    Raises NotAModel if it does not, IntegrityError and SettingsError as `Model.opened` does.
    """
    from models.engine.runner import accelerated

    mark = marks / f"{model.sha256}-{version('llama-cpp-python')}-{'gpu' if accelerated() else 'cpu'}{gpu_layers}"
    if model.shipped or mark.exists():
        return
    longest_s = LONGEST_S + model.bytes / SLOWEST
    with model.opened() as file:
        numbers = (file.fileno(), min(model.context, CELLS), gpu_layers, math.ceil(longest_s))
        command = [sys.executable, "-P", "-m", "models.trial", model.kind, *map(str, numbers)]
        # llama.cpp starts a debugger, if there is one, to say where it failed.
        given = {name: value for name, value in os.environ.items() if NEEDED.fullmatch(name)}
        try:
            done = subprocess.run(
                command,
                pass_fds=[file.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={**given, "GGML_NO_BACKTRACE": "1"},
                timeout=longest_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            what = f"it does not load and answer within {longest_s:.0f} s"
            raise TrialTooLong(what, f"{model.name}, {model.file}", "use another GGUF file") from None
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
    if code == -signal.SIGKILL:
        return "SIGKILL, as when memory runs out"
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
    # Many tokens, then one, then one of each of two sequences: other code computes each.
    many = (tokens * ROWS)[: min(ROWS, cells // 2)]
    runner.compute([part(first, 0, many)])
    runner.compute([part(first, len(many), tokens[:1])])
    runner.compute([part(first, len(many) + 1, tokens[:1]), part(second, 0, tokens[:1])])


def main() -> int:
    """The child's whole life; what is wrong goes to stdout."""
    *what, longest_s = map(int, sys.argv[2:])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whatever becomes of the parent, this process ends: with it, or by the alarm.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.alarm(longest_s)
    try:
        attempt(sys.argv[1], *what)
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
