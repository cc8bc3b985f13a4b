"""What can be done to the lab, as the supervisor does it: once a key, journalled, and for real.

Standard library only.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tools.opslab.child import Child
from tools.opslab.journal import Effect, Journal, Refused
from tools.opslab.layout import DEPENDS_ON, HOST, append, write

Result = dict[str, Any]


class Effects:
    """The effects of one lab. Arguments are checked here as well: nothing is journalled that cannot begin."""

    def __init__(self, state: Path, children: dict[str, Child], journal: Journal) -> None:
        self._state, self._children, self._journal = state, children, journal
        self._order = asyncio.Lock()
        self._known: dict[str, tuple[tuple[str, ...], Callable[..., Awaitable[Result]]]] = {
            "restart_service": (("service",), self._restart_service),
            "rollback_config": (("service",), self._rollback_config),
            "clear_quota": (("service",), self._clear_quota),
            "wipe_data": (("service",), self._wipe_data),
            "set_dependency": (("service", "dependency"), self._set_dependency),
            "page_on_call": (("message", "ticket"), self._page_on_call),
            "open_ticket": (("title",), self._open_ticket),
            "send_mail": (("to", "subject", "body"), self._send_mail),
        }

    async def run(self, tool: str, arguments: Result, key: str) -> Result:
        """Carry out an effect, once per key: a repeated key gives the recorded result. Raises Refused.

        One at a time: two attempts with one key cannot both find it new.
        """
        async with self._order:
            if not key:
                raise Refused("an effect needs a key")
            if tool not in self._known:
                raise Refused("no such effect")
            names, carry_out = self._known[tool]
            if set(arguments) != set(names) or not all(isinstance(value, str) for value in arguments.values()):
                raise Refused(f"{tool} takes {', '.join(names)}")
            if known := self._journal.repeat(key, tool, arguments):
                return recorded(known)
            self._check(tool, arguments)
            self._journal.begin(key, tool, arguments)
            result = await carry_out(**arguments)
            self._journal.done(key, result)
            return result

    def _check(self, tool: str, arguments: Result) -> None:
        service = arguments.get("service")
        if service is not None and service not in self._children:
            raise Refused(f"no such service; there are {', '.join(self._children)}")
        if tool == "rollback_config" and len(self._children[arguments["service"]].home.versions()) < 2:
            raise Refused(f"{service} has only one config version, there is nothing to roll back to")
        if tool == "set_dependency" and arguments["dependency"] != DEPENDS_ON.get(arguments["service"]):
            raise Refused(f"{service} depends on {DEPENDS_ON.get(arguments['service'], 'nothing')}")

    async def _restart_service(self, service: str) -> Result:
        healthy = await self._children[service].restart(clean=True)
        return {"service": service, "restarted": True, "healthy": healthy}

    async def _rollback_config(self, service: str) -> Result:
        child = self._children[service]
        was, back = child.home.versions()[-1], child.home.versions()[-2]
        now = child.home.roll_out(child.home.config(back))
        healthy = await child.restart(clean=False)
        return {"service": service, "from_version": was, "restored": back, "now_version": now, "healthy": healthy}

    async def _clear_quota(self, service: str) -> Result:
        """Removes dumps, never records."""
        freed = sum(_remove(path) for path in self._children[service].home.data.glob("*.dump"))
        return {"service": service, "freed_bytes": freed}

    async def _wipe_data(self, service: str) -> Result:
        freed = sum(_remove(path) for path in self._children[service].home.data.iterdir())
        return {"service": service, "wiped_bytes": freed}

    async def _set_dependency(self, service: str, dependency: str) -> Result:
        port = self._children[dependency].port
        write(self._children[service].home.dependency, {"host": HOST, "port": port})
        return {"service": service, "dependency": dependency, "port": port}

    async def _page_on_call(self, message: str, ticket: str) -> Result:
        return {"id": self._file("pages", "PAGE", {"message": message, "ticket": ticket})}

    async def _open_ticket(self, title: str) -> Result:
        return {"id": self._file("tickets", "TCK", {"title": title})}

    async def _send_mail(self, to: str, subject: str, body: str) -> Result:
        return {"id": self._file("mail", "MAIL", {"to": to, "subject": subject, "body": body})}

    def _file(self, tray: str, prefix: str, entry: Result) -> str:
        path = self._state / f"{tray}.jsonl"
        number = 1 + (path.read_bytes().count(b"\n") if path.exists() else 0)
        append(path, json.dumps({"id": f"{prefix}-{number}", **entry}))
        return f"{prefix}-{number}"


def recorded(effect: Effect) -> Result:
    """The result of an effect that is done. Raises Refused if it began and nobody knows how it ended."""
    if effect.result is None:
        raise Refused("the effect began before the lab last stopped; look whether it happened")
    return effect.result


def status(journal: Journal, key: str) -> Result:
    """What is known about a key: `happened`, and its result. `happened` is null for one that began and never ended."""
    effect = journal.find(key)
    if effect is None:
        return {"happened": False, "result": None, "attempts": 0}
    return {"happened": None if effect.result is None else True, "result": effect.result, "attempts": effect.attempts}


def _remove(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size
