"""What Ray's processes find in their environment. Ray reads it once, at import, so it is set before that.

Nothing of a user's own RAY_* variables is kept: one of them could join us to another cluster (RAY_ADDRESS), run a
hook of somebody else's (RAY_RUNTIME_ENV_HOOK) or open the ports (RAY_AUTH_MODE).
"""

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from runtime.gateway.peer import MARK

_SWITCHES = {
    # Every port: a bearer token, or no answer.
    "RAY_AUTH_MODE": "token",
    # Ray replaces a loopback node address by the machine's own, unless clusters of several machines are off. With the
    # loopback address kept, all its servers bind to 127.0.0.1.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Nothing is sent, collected or exported.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_open_telemetry": "0",
    "RAY_enable_export_api_write": "0",
    "RAY_enable_timeline": "0",
    "RAY_task_events_report_interval_ms": "0",
    # Idle workers started ahead cost 120 MB each and the seconds a start takes.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # No remote call ever starts a cluster by itself: it would not be like ours.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Under `uv run` Ray would copy the current folder into each worker's path.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Ray would hide the GPU from an actor that asks for none of Ray's own GPU units; the engine asks llama.cpp.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray's memory monitor kills actors when *other* programs fill the machine; the kernel decides better.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_LOG_TO_DRIVER": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_LOGGER_LEVEL": "error",
    # Workers never put a script's folder first on their path.
    "PYTHONSAFEPATH": "1",
}


def prepare(environ: MutableMapping[str, str], token: Path, typed_in: Path) -> dict[str, str]:
    """Set `environ` for Ray; returns a copy of what it was, for `restore`.

    `token` is the file that holds the bearer token; `typed_in` is the folder the command was typed in, from which no
    process may import anything.
    """
    before = dict(environ)
    _switch(environ)
    environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    # No process of a cluster (an agent, a tool host) may talk to a gateway, of whatever runtime: it could approve.
    environ[MARK] = "1"
    # Ray sets OMP_NUM_THREADS=1 in an actor that asks for no CPU; say what the machine has unless the user did.
    environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    paths = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if Path(path).is_absolute()]
    safe = [path for path in paths if Path(path).resolve() != typed_in.resolve()]
    environ["PYTHONPATH"] = os.pathsep.join(safe)
    return before


@contextmanager
def switched(environ: MutableMapping[str, str]) -> Iterator[None]:
    """While entered, `environ` is fit for `import ray`, which reads a part for good: the address depends on it."""
    before = dict(environ)
    _switch(environ)
    try:
        yield
    finally:
        restore(environ, before)


def _switch(environ: MutableMapping[str, str]) -> None:
    for name in [name for name in environ if name.startswith("RAY_")]:
        del environ[name]
    environ.update(_SWITCHES)


def restore(environ: MutableMapping[str, str], before: dict[str, str]) -> None:
    """Put back what `prepare` changed, and drop what Ray added."""
    for name in [name for name in environ if name.startswith("RAY_")]:
        del environ[name]
    for name in ("PYTHONBREAKPOINT", "PYTHONSAFEPATH", "OMP_NUM_THREADS", "PYTHONPATH", MARK):
        environ.pop(name, None)
    environ.update(before)
