"""A driver with a tool host, a core, and an agent gone bad that has come by handles on both; says what each call gave.

intruder.py RUNTIME_DIR TOOLS_FILE
"""

import asyncio
import json
import secrets
import sys
from pathlib import Path
from typing import Any

AHEAD = 2**40
"""An epoch that no core will reach: were it taken once, every core would be refused from then on."""


def bad_agent() -> Any:
    import ray

    @ray.remote(num_cpus=0)
    class BadAgent:
        async def tries(self, host: Any, core: Any) -> dict[str, str]:
            """What comes of calls by whoever does not know the secret."""
            call = ("call", "odd.echo", {"text": "x"}, "k", 30, AHEAD)
            answer = ("answer", ("any-approval", "any-user"))
            wrong, text, right_length = b"", "secret", secrets.token_bytes(32)
            return {
                "host, nothing": await said(host.call.remote(wrong, *call)),
                "host, text": await said(host.call.remote(text, *call)),
                "host, guessed": await said(host.call.remote(right_length, *call)),
                "host, close": await said(host.call.remote(right_length, "close")),
                "core, guessed": await said(core.call.remote(right_length, *answer)),
                "core, start": await said(core.start.remote(right_length, None, False)),
            }

    return BadAgent


async def said(reference: Any) -> str:
    """The kind of error that a call ends in."""
    try:
        await reference
    except Exception as error:
        return type(getattr(error, "cause", error)).__name__
    return "nothing wrong"


async def main() -> None:
    from runtime.actors.call import spawn
    from runtime.actors.core import CoreActor, CoreSpec
    from runtime.actors.tool_host import HostHandle, ToolHostActor
    from runtime.cluster.cluster import Cluster
    from runtime.settings import Settings
    from tools.catalog import load

    folder = Path(sys.argv[1])
    cluster = Cluster.start(folder)
    secret = secrets.token_bytes(32)
    host = spawn(ToolHostActor, (load(Path(sys.argv[2])),), folder / "logs", secret)
    core = spawn(CoreActor, secret)
    handle = HostHandle(host, secret)
    found: dict[str, Any] = {"tools": sorted(await handle.records())}
    found["tried"] = await bad_agent().remote().tries.remote(host, core)
    outcome = await handle.call("odd.echo", {"text": "still here"}, "k", 30, 1)
    found["after"] = outcome.value
    nothing: Any = None
    spec = CoreSpec(folder, Settings.load(data_dir=folder), nothing, handle, nothing)
    found["shown"] = any(secret.hex() in each or repr(secret) in each for each in (repr(handle), repr(spec)))
    await handle.close()
    cluster.stop()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
