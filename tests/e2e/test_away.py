"""A tool server that is away: its runs are parked, say when they are tried again, and get on when it is back."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.gateway.messages import Submission

SERVER = """
import os, sys
from mcp.server.mcpserver import MCPServer

AWAY = sys.argv[1]
server = MCPServer("notes")

@server.tool()
def read() -> dict[str, str]:
    if os.path.exists(AWAY):
        os._exit(1)
    return {"text": "all is well"}

if os.path.exists(AWAY):
    sys.exit(1)
server.run()
"""
TOOLS = """
[server.notes]
command = ["{python}", "-I", "SERVER", "AWAY"]
cwd = "/"
owner = "site"
start_timeout_s = 30

[server.notes.tools.read]
effect = "read"
egress = false
irreversible = false
timeout_s = 20
output = { classification = "internal", integrity = "untrusted" }
"""
FLOWS = '''
from bailiwick import Run, ToolFailed, workflow


@workflow("notes")
async def notes(run: Run) -> str:
    """Reads the notes; the server is asked once more if it is lost meanwhile."""
    try:
        return (await run.call("notes.read")).text
    except ToolFailed:
        return (await run.call("notes.read")).text
'''


async def test_a_run_gets_on_when_its_tool_server_is_back(sites: Callable[[], Any], tmp_path: Path) -> None:
    site = sites()
    away, server, tools, flows = (tmp_path / name for name in ("away", "server.py", "tools.toml", "flows.py"))
    server.write_text(SERVER)
    tools.write_text(TOOLS.replace("SERVER", str(server)).replace("AWAY", str(away)))
    flows.write_text(FLOWS)
    daemon = site.start("up", "--workflows", str(flows), "--tools", str(tools), "--policy", "lab")
    async with site.client(daemon) as client:
        away.touch()
        run = await client.submit(Submission(task="read the notes", workflow="notes"))
        async with asyncio.timeout(120):
            while (view := await client.run(run)).again_in_s is None:
                await asyncio.sleep(0.02)
        assert (view.status, view.error) == ("parked", "Unreachable")
        await asyncio.sleep(5)  # time for some tries
        assert (await client.run(run)).events == view.events
        listed = await asyncio.to_thread(site.run, "runs", "list")
        shown = await asyncio.to_thread(site.run, "runs", "show", run)
        for said in (listed.out, shown.out):
            assert "parked, tries again in" in said or "running" in said, said
        away.unlink()
        async with asyncio.timeout(120):
            while (view := await client.run(run)).status != "completed":
                await asyncio.sleep(0.1)
        assert view.outcome == "all is well"
    kinds = [each.event["kind"] for each in site.trail(run).views]
    assert kinds.count("run.parked") == kinds.count("run.resumed") == 1
    assert site.run("down").code == 0
