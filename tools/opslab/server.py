"""The lab as an MCP server over stdio: `python -m tools.opslab.server STATE`.

Reads come from readings.py; writes go to the supervisor, which keeps the journal: killing this process loses nothing.
Each write takes an idempotency key; `effect_status` says what became of it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field
from typing_extensions import TypedDict

from store.records.errors import BailiwickError
from tools.opslab import readings
from tools.opslab.control import ask

VERSION = "1"
T = TypeVar("T")

Service = Annotated[Literal["gateway", "orders", "inventory"], Field(description="which service")]
Key = Annotated[str, Field(min_length=1, max_length=200, description="idempotency key")]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class Status(TypedDict):
    """What became of a key. `happened` is null if it began and nobody knows how it ended."""

    happened: bool | None
    result: dict[str, Any] | None
    attempts: int


class Reads:
    """The tools that change nothing."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def list_services(self) -> readings.ServiceList:
        """List the services with port, owner and dependency."""
        return readings.list_services(self._state)

    def check_health(self, service: Service | None = None) -> readings.Health:
        """Health of one service, or of the front door and all services."""
        return _answered(lambda: readings.check_health(self._state, service or ""))

    def read_logs(self, service: Service) -> readings.LogLines:
        """Newest warnings and errors in the log of a service."""
        return readings.read_logs(self._state, service)

    def get_metrics(self, service: Service) -> readings.Metrics:
        """Requests, errors, latency, memory, cache and quota of a service."""
        return _answered(lambda: readings.get_metrics(self._state, service))

    def diff_config(self, service: Service) -> readings.ConfigDiff:
        """What the last config rollout of a service changed."""
        return readings.diff_config(self._state, service)

    def search_runbooks(self, query: Text) -> readings.Runbooks:
        """Find the runbooks that fit a symptom, for example a line of a log."""
        return readings.search_runbooks(query)

    def effect_status(self, key: Key) -> Status:
        """Whether the effect under an idempotency key happened, and its result."""
        return _answered(lambda: _status(ask(self._state, "effect_status", key=key)))


class Writes:
    """The tools that change the lab, each once per key."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def _do(self, tool: str, key: str, **arguments: str) -> dict[str, Any]:
        result: dict[str, Any] = _answered(lambda: ask(self._state, "effect", tool=tool, arguments=arguments, key=key))
        return result

    def restart_service(self, service: Service, key: Key) -> dict[str, Any]:
        """Restart a service: clears its lock file, memory and hung workers."""
        return self._do("restart_service", key, service=service)

    def rollback_config(self, service: Service, key: Key) -> dict[str, Any]:
        """Put the previous config version of a service back."""
        return self._do("rollback_config", key, service=service)

    def clear_quota(self, service: Service, key: Key) -> dict[str, Any]:
        """Delete heap dumps from the data folder of a service; keeps its records."""
        return self._do("clear_quota", key, service=service)

    def set_dependency(
        self, service: Literal["gateway", "orders"], dependency: Literal["orders", "inventory"], key: Key
    ) -> dict[str, Any]:
        """Point a service at the registered address of its dependency."""
        return self._do("set_dependency", key, service=service, dependency=dependency)

    def wipe_data(self, service: Service, key: Key) -> dict[str, Any]:
        """Delete everything in the data folder of a service, records included. Cannot be undone."""
        return self._do("wipe_data", key, service=service)

    def page_on_call(
        self, message: Text, key: Key, ticket: Annotated[str, Field(max_length=40)] = ""
    ) -> dict[str, Any]:
        """Page the person on call."""
        return self._do("page_on_call", key, message=message, ticket=ticket)

    def open_ticket(self, title: Text, key: Key) -> dict[str, Any]:
        """Open a ticket; the result has its id."""
        return self._do("open_ticket", key, title=title)

    def send_mail(
        self, to: Text, subject: Text, body: Annotated[str, Field(max_length=5000)], key: Key
    ) -> dict[str, Any]:
        """Send a mail to any address."""
        return self._do("send_mail", key, to=to, subject=subject, body=body)


def _answered(read: Callable[[], T]) -> T:
    """The reading; what the lab refuses is an answer of the tool, not a crash of the server."""
    try:
        return read()
    except BailiwickError as error:
        raise ToolError(str(error)) from None


def _status(known: dict[str, Any]) -> Status:
    return {"happened": known["happened"], "result": known["result"], "attempts": known["attempts"]}


def build(state: Path) -> MCPServer[Any]:
    """The server of the lab in `state`."""
    server: MCPServer[Any] = MCPServer("ops", version=VERSION, log_level="CRITICAL", subscriptions=False)
    for group in (Reads(state), Writes(state)):
        for name, member in vars(type(group)).items():
            if not name.startswith("_"):
                server.add_tool(getattr(group, name), name=name, description=member.__doc__)
    return server


if __name__ == "__main__":
    build(Path(sys.argv[1])).run("stdio")
