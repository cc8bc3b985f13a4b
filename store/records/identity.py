"""Who acts: the user on whose behalf, and the agent that acts for them. Both must be permitted."""

from dataclasses import asdict, dataclass

from store.records.canonical import Json

ROLES = ("requester", "approver", "auditor", "admin")
NO_UID = -1
"""The number of a user who has none: the operating system does not know them."""


@dataclass(frozen=True, slots=True)
class User:
    """A person or service account, as the operating system, the directory or a token names it.

    `groups` are all that they are in, those that these lie in included, sorted.
    """

    name: str
    uid: int
    tenant: str
    unit: str
    roles: tuple[str, ...] = ("requester",)
    groups: tuple[str, ...] = ()

    def json(self) -> Json:
        """As plain JSON, for payloads and messages. Whoever is in no group is written as before there were any: what an
        approval was bound to then, it still is."""
        plain = {**asdict(self), "roles": list(self.roles), "groups": list(self.groups)}
        return {name: value for name, value in plain.items() if name != "groups" or value}

    @classmethod
    def parse(cls, value: Json) -> "User":
        """The user in `value`, as `json` writes it, or wrote it before there were groups in it."""
        roles, groups = tuple(value["roles"]), tuple(value.get("groups", ()))
        return cls(value["name"], value["uid"], value["tenant"], value["unit"], roles, groups)


@dataclass(frozen=True, slots=True)
class Agent:
    """An actor of the runtime and its version: `core`, `router`, `worker`, `reviewer`, `rule`."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Principal:
    """An agent acting on behalf of a user."""

    user: User
    agent: Agent
