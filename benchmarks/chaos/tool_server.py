"""The book as an MCP server over stdio: `python -m benchmarks.chaos.tool_server COUNTER`."""

import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer

from benchmarks.chaos.book import CLASSIFIED, SERVER, Book


def build(book: Book) -> MCPServer[Any]:
    """The server of a book."""
    server: MCPServer[Any] = MCPServer(SERVER, version="1", log_level="CRITICAL", subscriptions=False)
    for name in CLASSIFIED:
        tool = getattr(book, name)
        server.add_tool(tool, name=name, description=tool.__doc__)
    return server


if __name__ == "__main__":
    build(Book(Path(sys.argv[1]))).run("stdio")
