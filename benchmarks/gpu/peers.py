"""Finds the server that our engine is held against, and refuses one that would run on the CPU beside a GPU.

It is asked in a process of its own: two builds of llama.cpp never meet.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.engine import peer
from store.records.errors import SettingsError, Unreachable

ASK_S = 120.0
_WHEEL = (
    "import importlib.metadata, json, xllamacpp\n"
    "print(json.dumps({'version': importlib.metadata.version('xllamacpp'),"
    " 'devices': [each['type'].name for each in xllamacpp.get_device_info()]}))"
)


def found(program: str, card: bool) -> str:
    """What the server is: the `llama-server` at `program`, or that of the wheel `xllamacpp` if it is empty.

    Raises SettingsError if there is none, Unreachable if a `card` is to be measured and it cannot use one.
    """
    what, uses_card = _program(program) if program else _wheel(card)
    if card and not uses_card:
        raise Unreachable("this llama.cpp server has no GPU", what, how_to_build())
    return what


def how_to_build() -> str:
    """How to get a server with CUDA out of the sources that the locked llama-cpp-python was built from."""
    name = f"llama-cpp-python=={version('llama-cpp-python')}"
    flags = "-DGGML_CUDA=on -DCMAKE_BUILD_TYPE=Release -DLLAMA_USE_PREBUILT_UI=OFF"
    return (
        f"give --server FILE; to build it: pip download --no-deps --no-binary :all: {name} && tar xf llama_cpp_python-*"
        f".tar.gz && cmake -S llama_cpp_python-*/vendor/llama.cpp -B build {flags} && cmake --build build -j "
        "--target llama-server, which is then build/bin/llama-server"
    )


def _program(program: str) -> tuple[str, bool]:
    if not (Path(program).is_file() and os.access(program, os.X_OK)):
        raise SettingsError("this is not a program", program, "give the path of llama.cpp's llama-server")
    said = _said([program, "--version"])
    lines = [line.strip() for line in said.splitlines() if line.startswith("version:")]
    if not lines:
        raise SettingsError("this is not llama.cpp's server", program, "give the path of llama-server")
    devices = _said([program, "--list-devices"]).partition("Available devices:")[2]
    return f"llama-server, {lines[0]}", any(":" in line for line in devices.splitlines())


def _wheel(card: bool) -> tuple[str, bool]:
    said = _said([sys.executable, "-c", _WHEEL])
    try:
        told = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        # The wheel of the package index has no GPU: it is of no use beside one.
        missing = f"llama.cpp's server is not there: {how_to_build()}" if card else peer.INSTALL
        raise SettingsError(missing, "", "or measure --alone") from None
    kinds = " ".join(told["devices"])
    return f"llama.cpp's server of the wheel xllamacpp {told['version']}", "GPU" in kinds


def _said(command: list[str]) -> str:
    """What a command prints; nothing if it cannot be started."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=ASK_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")
