"""Whose content a key is for, and what an order to keep or to destroy is about. Names only: nothing secret."""

from dataclasses import dataclass
from urllib.parse import unquote

from store.records.errors import SettingsError

NAME_LIMIT = 512
"""Characters of a name, which is as many as an event's have."""
ANY = "*"


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """Whose content it is: a tenant's user (empty: the runtime itself), in one retention class."""

    tenant: str
    user: str
    retention: str


@dataclass(frozen=True, slots=True)
class Scope:
    """All content of a tenant, or of one of its users, or in one retention class. None is any."""

    tenant: str
    user: str | None = None
    retention: str | None = None

    def check(self) -> None:
        """Raise SettingsError unless these are names that somebody's content can have."""
        for name in (self.tenant, self.user, self.retention):
            if name is not None and (len(name) > NAME_LIMIT or not name.isprintable()):
                raise SettingsError(f"a name has at most {NAME_LIMIT} printable characters", name[:NAME_LIMIT])
        if not self.tenant:
            raise SettingsError("the tenant must be named")

    def covers(self, owner: Owner) -> bool:
        """Whether it is about this owner's content."""
        return (
            self.tenant == owner.tenant
            and self.user in (None, owner.user)
            and self.retention in (None, owner.retention)
        )

    def meets(self, other: "Scope") -> bool:
        """Whether there can be content that both are about."""
        users = None in (self.user, other.user) or self.user == other.user
        classes = None in (self.retention, other.retention) or self.retention == other.retention
        return self.tenant == other.tenant and users and classes

    @property
    def path(self) -> str:
        """User and class as an event's step names them: `*` for any, and what could be mistaken quoted."""
        return "/".join(ANY if name is None else _quoted(name) for name in (self.user, self.retention))

    @classmethod
    def parse(cls, tenant: str, path: str) -> "Scope":
        """The scope of a tenant's path. Raises ValueError if it is none."""
        user, retention = (None if name == ANY else unquote(name) for name in path.split("/"))
        return cls(tenant, user, retention)

    def __str__(self) -> str:
        parts = [f"tenant {self.tenant}"]
        if self.user is not None:
            parts.append(f"user {self.user or '(the runtime itself)'}")
        if self.retention is not None:
            parts.append(f"class {self.retention}")
        return ", ".join(parts)


def _quoted(name: str) -> str:
    """As `unquote` reads it. Letters of any script stay one character each."""
    for each in ("%", "/", ANY):
        name = name.replace(each, f"%{ord(each):02X}")
    return name
