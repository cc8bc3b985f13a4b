"""What llama.cpp says while it loads a model and tells in no other way: its complaints, and what it took where."""

import re
import sys
from collections import deque

ERROR = 4
"""GGML_LOG_LEVEL_ERROR of ggml.h."""
_OFFLOADED = re.compile(r"load_tensors: offloaded (\d{1,6})/\d+ layers to GPU")
_TAKEN = re.compile(
    r"\w{1,40}: {1,40}(\w{1,40}) {1,40}(?:model|KV|RS|compute|output) buffer size = {1,40}([\d.]{1,20}) MiB"
)
"""From the beginning of a line and bounded: llama.cpp also logs what a file says of itself, which must not pass for
what was done with it."""


class LoadLog:
    """Keeps the first complaints of one load, how many layers went to the device, and how many bytes it took there and
    in the host's memory for model, KV memory and computing."""

    def __init__(self) -> None:
        self._complaints: deque[str] = deque(maxlen=8)
        self._debug = False
        self.offloaded = 0
        self.host_bytes = self.device_bytes = 0

    def start(self, debug: bool) -> None:
        """Forgets the last load; `debug` also shows all lines of the next on stderr."""
        self._complaints.clear()
        self.offloaded = self.host_bytes = self.device_bytes = 0
        self._debug = debug

    def take(self, level: int, line: str) -> None:
        """Takes note of a line that llama.cpp logs at a level of ggml.h."""
        if found := _OFFLOADED.match(line):
            self.offloaded = int(found[1])
        if found := _TAKEN.match(line):
            size = round(float(found[2]) * 2**20)
            if re.search(r"CPU|_Host", found[1]):
                self.host_bytes += size
            else:
                self.device_bytes += size
        if level == ERROR and line.strip():
            self._complaints.append(line.strip())
        if self._debug:
            sys.stderr.write(line)

    def reason(self) -> str:
        """The first complaint of a failed load, without the name of the C function that made it."""
        return re.sub(r"^\w+: ", "", self._complaints[0])[:200] if self._complaints else "no reason given"
