"""What of memory goes with content, for the keeper: found by whose it is and how old, never by what it says.

It decides nothing: which owners, and from when on, is the keeper's. Without a memory there is nothing to find.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from store.keys.memos import Memo, Memos
from store.keys.scope import Owner, Scope

Found = Mapping[Owner, list[str]]
"""The ids of rows by their owner."""
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def owners(memos: Memos | None, scope: Scope) -> set[Owner]:
    """Who in a scope has something remembered."""
    return set() if memos is None else {each.owner for each in memos.memos(scope.tenant) if scope.covers(each.owner)}


def of(memos: Memos | None, owners: Collection[Owner]) -> Found:
    """Everything that these owners have remembered so far."""
    return _found(memos, {owner.tenant for owner in owners}, lambda memo: memo.owner in owners)


def old(
    memos: Memos | None, tenants: Iterable[str], before: Mapping[str, datetime], stays: Callable[[Memo], bool]
) -> Found:
    """What was remembered before the moment (UTC) of its retention class, if it has one, and does not stay."""
    limits = {retention: moment.strftime(TIME) for retention, moment in before.items()}
    if not limits:
        return {}
    return _found(memos, tenants, lambda memo: memo.time < limits.get(memo.owner.retention, "") and not stays(memo))


def erase(memos: Memos | None, found: Found) -> None:
    """Have no file say any more what was found."""
    tenants: dict[str, list[str]] = defaultdict(list)
    for owner, ids in found.items():
        tenants[owner.tenant] += ids
    if memos is not None:
        for tenant, ids in tenants.items():
            memos.erase(tenant, ids)


def by_class(found: Found) -> dict[Scope, int]:
    """How many of what was found there are of each tenant and class."""
    counts: dict[Scope, int] = defaultdict(int)
    for owner, ids in found.items():
        counts[Scope(owner.tenant, None, owner.retention)] += len(ids)
    return counts


def _found(memos: Memos | None, tenants: Iterable[str], wanted: Callable[[Memo], bool]) -> Found:
    found: dict[Owner, list[str]] = defaultdict(list)
    if memos is not None:
        for memo in (each for tenant in tenants for each in memos.memos(tenant) if wanted(each)):
            found[memo.owner].append(memo.id)
    return found
