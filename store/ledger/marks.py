"""Marks on tombstones: that an event which says that content was destroyed was written by who has the keys.

The chains can be continued by anybody, and the end of a log that no checkpoint covers yet would be signed at the next
start. So a tombstone's fingerprint is the digest of its list and, after a dot, a MAC over it and over what the event is
about, under a key that follows from the one that signs checkpoints: it outlives site keys, which shredding destroys.
An auditor has no such key: what they can tell is that a checkpoint signs the event.
"""

import hmac
from collections.abc import Iterable

from store.keys.cipher import expand
from store.records.canonical import Json, canonical
from store.verify import listed, tombstone


class Marks:
    """Makes and checks them with the key that signs checkpoints, 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._key = expand(secret, b"bailiwick tombstones")

    def fingerprint(self, kind: str, tenant: str, step: str, ids: Iterable[str]) -> str:
        """Of a tombstone over a list of payloads."""
        return self._marked(kind, tenant, step, tombstone(ids))

    def hold(self, body: Json) -> bool:
        """Whether this event, as plain JSON, was marked here."""
        kind, tenant, step, told = (str(body[name]) for name in ("kind", "tenant", "step", "fingerprint"))
        return hmac.compare_digest(self._marked(kind, tenant, step, listed(told)).encode(), told.encode())

    def _marked(self, kind: str, tenant: str, step: str, digest: str) -> str:
        mark = hmac.digest(self._key, canonical([str(kind), tenant, step, digest]), "sha256")
        return f"{digest}.{mark.hex()}"
