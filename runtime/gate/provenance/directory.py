"""Who and what a name in the user's words stands for, as the site itself has it on record.

A directory is configuration or a system's own index, never something that a document or a model says. A name that
stands for several things stands for none here: which one is meant, somebody has to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Directory(Protocol):
    """Names and what they stand for."""

    def resolve(self, name: str) -> frozenset[str]:
        """The values that go by this very name; none if nobody knows it.

        For people these are addresses and accounts, for the objects of a tool server the ids that its tools take. The
        name is compared whole; whether case counts is the directory's to say.
        """
        ...


@dataclass(frozen=True)
class Directories:
    """The directories of a site: its people, and for tool servers, by name, the objects that their tools act on.

    Where a server has a directory, its tools' target is trusted only as what a name in the user's words stands for; a
    bare id that happens to stand in them (the 13 of "for 13 people") is not.
    """

    people: Directory | None = None
    objects: Mapping[str, Directory] = field(default_factory=dict)

    def of(self, tool: str) -> Directory | None:
        """The directory of the objects of a tool's server, if it has one."""
        return self.objects.get(tool.partition(".")[0])


NOBODY = Directories()
