"""A driver in a process of its own: starts a cluster and an actor, says what it sees, then does as its input says.

    driver.py RUNTIME_DIR [--open]

`--open` starts Ray as it comes, without a token: what the doctor must not let pass.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


def actor_class() -> Any:
    import ray

    @ray.remote(num_cpus=0)
    class Worker:
        def look(self) -> dict[str, Any]:
            """What a worker finds around it. Prints what must reach nobody's terminal."""
            print("the text of a prompt")
            import models
            import tools

            return {
                "rooms": [str(Path(str(room.__file__)).parent.parent) for room in (tools, models)],
                "cwd": str(Path.cwd()),
                "umask": os.umask(0o077),
                "pid": os.getpid(),
            }

    return Worker


def open_cluster() -> None:
    import ray

    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=sys.argv[1],
    )


def main() -> None:
    if sys.argv[2:] == ["--open"]:
        open_cluster()
        print(json.dumps({"pid": os.getpid()}), flush=True)
        sys.stdin.read()
        return
    from runtime.cluster.cluster import Cluster
    from store.records.errors import Unreachable

    for _ in sys.stdin:
        before = os.environ.copy()
        cluster = Cluster.start(Path(sys.argv[1]))
        import ray

        try:
            Cluster.start(Path(sys.argv[1]))
        except Unreachable as error:
            again = error.what
        worker = actor_class().remote()
        facts = ray.get(worker.look.remote())
        print(json.dumps({"home": str(cluster.home.path), "again": again, **facts}), flush=True)
        for line in sys.stdin:
            if line == "stop\n":
                break
            print(json.dumps(ray.get(worker.look.remote())), flush=True)
        cluster.stop()
        print(json.dumps({"restored": os.environ.copy() == before, "cwd": str(Path.cwd())}), flush=True)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a driver that ends in order; see test_a_ctrl_c
    main()
