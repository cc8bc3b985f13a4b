"""From what an MCP server says about its tools, and what somebody classified, to tool records.

The server's own hints (annotations) are ignored: who serves a tool does not judge it.
"""

import re
from typing import Any

from mcp_types import Tool

from store.records.errors import SettingsError
from tools.catalog import NAME, Classification, Server
from tools.functions import without
from tools.record import ToolRecord
from tools.schema import Checker

MAX_TOOLS = 500


def records(server_name: str, server: Server, version: str, tools: list[Tool]) -> dict[str, tuple[str, ToolRecord]]:
    """Record name -> the tool's name on the wire and its record.

    Raises SettingsError for a name or schema that cannot be used, for two tools that get one name, and for a tools file
    that speaks of tools or arguments that do not exist.
    """
    if len(tools) > MAX_TOOLS:
        raise SettingsError(f"the server offers more than {MAX_TOOLS} tools", server_name, "use a smaller server")
    found: dict[str, tuple[str, ToolRecord]] = {}
    for tool in tools:
        short = normalised(tool.name, server_name)
        record = _record(f"{server_name}.{short}", server, version, tool, server.tools.get(short))
        if record.name in found:
            raise SettingsError(f"two tools of the server get the name {record.name}", server_name, "rename one")
        found[record.name] = (tool.name, record)
    for short in server.tools:
        if f"{server_name}.{short}" not in found:
            raise SettingsError(
                f"the tools file classifies {server_name}.{short}, which the server does not offer",
                server_name,
                "correct the name",
            )
    return found


def normalised(name: str, server_name: str) -> str:
    """A tool's name on the wire in our spelling: `readLogs` and `read-logs` are `read_logs`. Raises SettingsError."""
    short = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    short = re.sub(r"[-./ ]", "_", short)
    if len(short) > 64 or not re.fullmatch(NAME, short):
        raise SettingsError(f"the server offers a tool with an unusable name, {name[:80]!a}", server_name, "rename it")
    return short


def _record(name: str, server: Server, version: str, tool: Tool, said: Classification | None) -> ToolRecord:
    schema: dict[str, Any] = dict(tool.input_schema)
    for which in (schema, tool.output_schema):
        if which is not None:
            try:
                Checker(which)
            except ValueError:
                raise SettingsError("the server describes the tool with an invalid schema", name, "report it") from None
    if said is None:
        return ToolRecord(
            name=name,
            version=version,
            description=tool.description or "",
            input_schema=schema,
            output_schema=tool.output_schema,
            owner=server.owner,
        )
    for argument in (said.key_argument, said.target, *said.consequential):
        if argument and argument not in schema.get("properties", {}):
            raise SettingsError(
                f"the tools file names an argument {argument!r} that the tool lacks", name, "correct it"
            )
    return ToolRecord(
        name=name,
        version=version,
        description=tool.description or "",
        input_schema=without(schema, said.key_argument),
        output_schema=tool.output_schema,
        owner=said.owner or server.owner,
        output_label=said.output.record(),
        **said.model_dump(exclude={"owner", "output"}),
    )
