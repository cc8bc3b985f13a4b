"""What tool records may say of each other: one check, for whoever opens tools and whoever puts a gate before them."""

from collections.abc import Mapping

from store.records.errors import SettingsError
from tools.record import ToolRecord


def check_references(records: Mapping[str, ToolRecord]) -> None:
    """Raise SettingsError for a record, by name, whose `reconcile` or `compensate` cannot be what it says.

    Asking what became of an effect passes no policy of its own, so it must not be able to do anything.
    """
    for record in records.values():
        for field in ("reconcile", "compensate"):
            other = getattr(record, field)
            if other and other not in records:
                raise SettingsError(f"nobody offers the tool {other}", f"{field} of {record.name}", "correct the name")
        if record.reconcile:
            _check_reconcile(record, records[record.reconcile])


def _check_reconcile(record: ToolRecord, asked: ToolRecord) -> None:
    where = f"reconcile of {record.name}"
    if not asked.local_read:
        what = f"{asked.name} is no local read, and only such a tool may be asked without a decision"
        raise SettingsError(what, where, "classify it as one, or name another")
    if not record.key_argument:
        what = f"{record.name} takes no idempotency key, so nobody can be asked what became of it"
        raise SettingsError(what, where, "name its key_argument")
