"""Who acts: the user on whose behalf, and the agent that acts for them. Both must be permitted."""

from dataclasses import asdict, dataclass

from store.records.canonical import Json


@dataclass(frozen=True, slots=True)
class User:
    """A person or service account, as the operating system or a token names it."""

    name: str
    uid: int
    tenant: str
    unit: str
    roles: tuple[str, ...] = ("requester",)

    def json(self) -> Json:
        """As plain JSON, for payloads and messages."""
        return {**asdict(self), "roles": list(self.roles)}

    @classmethod
    def parse(cls, value: Json) -> "User":
        """The user in `value`, as `json` writes it."""
        return cls(value["name"], value["uid"], value["tenant"], value["unit"], tuple(value["roles"]))


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
