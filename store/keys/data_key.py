"""A data key: what the payloads of one owner are named and encrypted with."""

import hmac
from dataclasses import dataclass, field, replace

from store.keys.cipher import expand, seal, unseal
from store.keys.scope import Owner
from store.records.canonical import Json, canonical


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a data key in clear. `made` is UTC ISO 8601; a retired key opens, and takes nothing new."""

    id: str
    owner: Owner
    made: str
    retired: bool = False

    def json(self) -> Json:
        """As plain JSON."""
        tenant, user, retention = self.owner.tenant, self.owner.user, self.owner.retention
        more = {"made": self.made, "retired": self.retired}
        return {"id": self.id, "tenant": tenant, "user": user, "retention": retention, **more}

    @classmethod
    def parse(cls, value: Json) -> "Record":
        """As `json` wrote it. Raises ValueError, TypeError or KeyError if it is none."""
        owner = Owner(*(str(value[name]) for name in ("tenant", "user", "retention")))
        return cls(bytes.fromhex(value["id"]).hex(), owner, str(value["made"]), bool(value["retired"]))

    def place(self, site: str) -> bytes:
        """What its wrapping is bound to: all that is in clear, and the site key's own name."""
        return canonical({**self.json(), "site": site})


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key at hand. Safe from any thread.

    From its 32 bytes follow (HKDF) the key that names contents and, for each name, a key that encrypts this one content
    and no other. So no key encrypts two different messages, and however many payloads there are, chance does not let
    two of them meet under the same key and nonce. Once these bytes are destroyed, neither content nor name can be
    recomputed: not even a guess at what was said can be tested.
    """

    record: Record
    secret: bytes = field(repr=False)
    _names: bytes = field(repr=False)

    @classmethod
    def of(cls, record: Record, secret: bytes) -> "DataKey":
        """The key in these bytes."""
        return cls(record, secret, expand(secret, b"bailiwick names"))

    def retired(self) -> "DataKey":
        """The same key, for reading only."""
        return DataKey(replace(self.record, retired=True), self.secret, self._names)

    def name(self, data: bytes) -> str:
        """The keyed digest of a content, hex: its HMAC-SHA256."""
        return hmac.digest(self._names, data, "sha256").hex()

    def seal(self, name: str, data: bytes) -> bytes:
        """A content's bytes, encrypted; bound to its name, its tenant and this key."""
        return seal(self._content_key(name), data, self._place(name))

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """The bytes again. Raises Unopened."""
        return unseal(self._content_key(name), sealed, self._place(name))

    def _content_key(self, name: str) -> bytes:
        return expand(self.secret, b"bailiwick content " + name.encode())

    def _place(self, name: str) -> bytes:
        return f"{name}\n{self.record.id}\n{self.record.owner.tenant}".encode()
