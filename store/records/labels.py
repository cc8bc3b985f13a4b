"""What is known about a value: whose it is, how secret, how trustworthy, and where it came from.

Labels only ever join upwards: more secret, less trusted, more sources (Denning, A Lattice Model of Secure
Information Flow, 1976). What carries no label is untrusted and of the top classification.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from store.records.canonical import Json, canonical
from store.records.errors import Denied


class Classification(IntEnum):
    """How secret a value is; the join takes the highest."""

    PUBLIC = 0
    INTERNAL = 1
    CONFIDENTIAL = 2
    RESTRICTED = 3


class Integrity(IntEnum):
    """Whether a value may steer what is done; the join takes the lowest."""

    UNTRUSTED = 0
    TRUSTED = 1


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one value. `sources` are sorted names such as `user` or `tool:ops.read_logs`."""

    tenant: str
    classification: Classification = Classification.RESTRICTED
    integrity: Integrity = Integrity.UNTRUSTED
    sources: tuple[str, ...] = ()

    def join(self, *others: "Labels") -> "Labels":
        """The labels of a value made from all of these. Raises Denied if they belong to several tenants."""
        every = (self, *others)
        if len({each.tenant for each in every}) > 1:
            raise Denied("values of two tenants cannot be joined", self.tenant)
        return Labels(
            self.tenant,
            max(each.classification for each in every),
            min(each.integrity for each in every),
            tuple(sorted({source for each in every for source in each.sources})),
        )

    def json(self) -> Json:
        """As plain JSON, for events and messages."""
        return {
            "tenant": self.tenant,
            "classification": self.classification.name.lower(),
            "integrity": self.integrity.name.lower(),
            "sources": list(self.sources),
        }

    @classmethod
    def parse(cls, value: Json) -> "Labels":
        """The labels in `value`, as `json` writes them. Raises KeyError on unknown names."""
        return cls(
            value["tenant"],
            Classification[value["classification"].upper()],
            Integrity[value["integrity"].upper()],
            tuple(value["sources"]),
        )


@lru_cache(1024)
def written(labels: Labels | None) -> str:
    """Labels as canonical JSON has them; `null` if there are none. Most events of a run have the same."""
    return canonical(labels and labels.json()).decode()


def trusted(tenant: str, source: str) -> Labels:
    """The labels of what the user typed, or of a constant of a workflow."""
    return Labels(tenant, Classification.INTERNAL, Integrity.TRUSTED, (source,))
