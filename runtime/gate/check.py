"""`bailiwick policy check`: read a policy set as the gate would, and say everything that is wrong with it at once."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime.gate.inventory import Inventory
from runtime.gate.policy import examine
from runtime.gate.policy_files import policy_files
from runtime.gate.rules import Finding
from tools.record import ToolRecord


def check(
    source: str | Path | Sequence[Path],
    records: Iterable[ToolRecord] | None = None,
    inventory: Inventory | None = None,
) -> list[Finding]:
    """A finding for each policy and each problem; the set can be loaded if no finding has a `problem`.

    Without `records` names of tools and arguments cannot be checked; everything else is. Raises SettingsError if the
    files themselves cannot be read.
    """
    known = None if records is None else list(records)
    return examine(policy_files(source), known, inventory or Inventory())[1]
