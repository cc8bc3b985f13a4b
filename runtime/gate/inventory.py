"""The trusted inventory: the objects that calls may act on, as the site declares them.

It is configuration, never something a tool or a model reported. A name that does not stand here is Unknown to policy.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from store.records.canonical import Json
from store.records.errors import SettingsError

UNKNOWN = "Unknown"
_KIND = re.compile(r"[A-Z][A-Za-z0-9_]*\Z")
_RESERVED = {UNKNOWN, "User", "Agent", "Role", "Unit", "Tenant", "Action"}


@dataclass(frozen=True)
class Inventory:
    """Names by kind, as in {"Service": ("gateway", "orders")}. Kinds are entity types in Cedar.

    Raises SettingsError if a kind cannot be one, or if one name has two kinds, for then nobody could say which is
    meant.
    """

    objects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the kinds and the names."""
        for kind in self.objects:
            if not _KIND.match(kind) or kind in _RESERVED:
                raise SettingsError(
                    f"{kind!r} cannot be a kind of inventory object", "inventory", "use a name like Service"
                )
        names = [name for each in self.objects.values() for name in set(each)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(
                f"{twice[0]!r} stands in the inventory under two kinds", "inventory", "keep one of them"
            )

    @classmethod
    def services(cls, names: Iterable[str]) -> "Inventory":
        """An inventory of services only."""
        return cls({"Service": tuple(sorted(set(names)))})

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, sorted. Service is always one, so that policies may speak of services before there is any."""
        return tuple(sorted({"Service", *self.objects}))

    def kind_of(self, name: Json) -> str:
        """The kind of the object with this very name, or Unknown."""
        return next((kind for kind, names in self.objects.items() if name in names), UNKNOWN)
