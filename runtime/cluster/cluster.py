"""Start and stop Ray. Only the driver (the daemon, or an embedded runtime) does, and once at a time.

While a cluster is up the process lives in an empty folder, with umask 077 and no RAY_* variables but ours: resolve
relative paths before `start`. What Ray does not need on one machine (autoscaler, dashboard, log monitor: three Python
processes) is left out, which halves the start and saves 250 MB.
"""

import atexit
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.cluster import environment
from runtime.cluster.home import Home
from store.records.errors import Unreachable

LOOPBACK = "127.0.0.1"
# Ray counts these and nothing else: actors ask for num_cpus=0, the engine has its own threads.
LOGICAL_CPUS = 64
OBJECT_STORE_BYTES = 128 * 2**20


@dataclass(slots=True)
class Cluster:
    """One running Ray cluster of this process. Made by `start`; ended by `stop`, at the latest when Python exits."""

    home: Home
    _keeper: "_Keeper" = field(repr=False)
    _environ: dict[str, str] = field(repr=False)
    _folder: Path
    _umask: int
    _stopped: bool = False

    @classmethod
    def start(cls, runtime_dir: Path) -> "Cluster":
        """Start Ray with its home under `runtime_dir` (made 0700 if need be).

        Any thread may call it; it takes one to four seconds. Raises Unreachable if Ray is not installed or does not
        start, SettingsError for an unusable folder.
        """
        loaded = sys.modules.get("ray")
        if loaded is not None and loaded.is_initialized():
            raise Unreachable("this process has a cluster already", str(runtime_dir), "stop it first")
        typed_in = Path.cwd()
        home = Home.make(runtime_dir.absolute())
        before = environment.prepare(os.environ, home.token, typed_in)
        cluster = cls(home, _Keeper(home), before, typed_in, os.umask(0o077))
        os.chdir(home.empty)
        try:
            cluster._keeper.start_ray()
        except ImportError as error:
            cluster.stop()
            raise Unreachable("Ray is not installed", str(error.name or ""), "run `make setup`") from error
        except Exception as error:
            cluster.stop()
            what = f"Ray did not start: {type(error).__name__}: {_first_line(error)}"
            raise Unreachable(what, str(runtime_dir), "run `bailiwick doctor --deep`") from error
        except BaseException:
            cluster.stop()
            raise
        atexit.register(cluster.stop)
        return cluster

    def stop(self) -> None:
        """End every process of the cluster and remove its folder. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        atexit.unregister(self.stop)
        with suppress(ImportError):
            import ray

            ray.shutdown()
        self._keeper.release()
        try:
            os.chdir(self._folder)
        except OSError:
            os.chdir("/")
        os.umask(self._umask)
        environment.restore(os.environ, self._environ)
        self.home.close()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()


class _Keeper(threading.Thread):
    """The thread that starts Ray and then waits until it is released.

    The kernel ends Ray's servers when the *thread* that started them ends (prctl(2), PR_SET_PDEATHSIG), and a caller's
    thread may be one of a pool. Outside the main thread Ray also leaves the process's SIGTERM handler alone.
    """

    def __init__(self, home: Home) -> None:
        super().__init__(name="ray-keeper", daemon=True)
        self._home = home
        self._ready, self._released = threading.Event(), threading.Event()
        self._failure: Exception | None = None

    def start_ray(self) -> None:
        """Start Ray; returns when it runs. Raises what Ray raised; KeyboardInterrupt waits until the start is over."""
        self.start()
        try:
            self._ready.wait()
        except BaseException:
            self._ready.wait()
            raise
        if self._failure:
            raise self._failure

    def release(self) -> None:
        """Let the thread end, and with it whatever it started."""
        self._released.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        try:
            _start_ray(self._home)
        except Exception as error:
            self._failure = error
        finally:
            self._ready.set()
        self._released.wait()


def _start_ray(home: Home) -> None:
    """Import Ray and start it, saying nothing on stderr."""
    warnings.filterwarnings("ignore", module=r"ray\..*")
    import ray
    from ray import _raylet
    from ray._private import worker

    # What goes wrong in a worker would be printed on our stdout, whatever `log_to_driver` says; it may quote arguments.
    worker.__dict__["print_to_stdstream"] = _print_nothing
    # Both remember what they read at an earlier start of this process.
    raylet: Any = _raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with _lean():
        ray.init(
            num_cpus=LOGICAL_CPUS,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            object_store_memory=OBJECT_STORE_BYTES,
            namespace="bailiwick",
            _node_ip_address=LOOPBACK,
            _temp_dir=str(home.path / "ray"),
        )


@contextmanager
def _lean() -> Iterator[None]:
    """While entered, a Ray node starts without autoscaler, API server and log monitor.

    Ray has parameters for the first and the last but no way to pass them through `ray.init`, and no switch for the
    API server; the release is pinned, and a test counts the processes.
    """
    from ray._private import node, parameter

    nodes: Any = node.Node
    parameters: Any = parameter
    params, serve = parameters.RayParams, nodes.start_api_server
    parameters.RayParams = partial(params, no_monitor=True, include_log_monitor=False)
    nodes.start_api_server = _serve_nothing
    try:
        yield
    finally:
        parameters.RayParams, nodes.start_api_server = params, serve


def _print_nothing(data: Any, ignore_prefix: bool) -> None:
    del data, ignore_prefix


def _serve_nothing(node: Any, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
    del node, include_dashboard, raise_on_failure


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
