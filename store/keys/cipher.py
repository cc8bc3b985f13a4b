"""The ciphers, all from `cryptography` and the standard library: AES-256-GCM, HKDF (RFC 5869), scrypt (RFC 7914)."""

import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from store.records.canonical import Json

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class Unopened(ValueError):
    """What was sealed is not opened by this key, or not what was sealed, or not for this place."""


def seal(key: bytes, data: bytes, place: bytes) -> bytes:
    """Nonce, ciphertext and tag of data, bound to the bytes of its place, under AES-256-GCM.

    The nonce is 96 random bits. Under one key 2**32 messages collide with a probability of 2**-33 (NIST SP 800-38D,
    8.3 allows no more); no key in here comes near: see `DataKey.seal` and `Keystore`.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, place)


def unseal(key: bytes, sealed: bytes, place: bytes) -> bytes:
    """The data. Raises Unopened."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
    except (InvalidTag, ValueError):
        raise Unopened("it is not opened by this key") from None


def expand(key: bytes, what: bytes) -> bytes:
    """A key of 32 bytes for one purpose out of a random one (HKDF-Expand, RFC 5869, 2.3, one block of SHA-256)."""
    return hmac.digest(key, what + b"\x01", "sha256")


@dataclass(frozen=True, slots=True)
class Stretch:
    """How a passphrase becomes a key: salt and cost of scrypt. The default takes 128 MiB and half a second."""

    salt: str
    n: int = 2**17
    r: int = 8
    p: int = 1

    @classmethod
    def fresh(cls) -> "Stretch":
        """With a salt of its own, 32 bytes: destroying it destroys the key, even for who knows the passphrase."""
        return cls(secrets.token_hex(32))

    @classmethod
    def parse(cls, value: Json) -> "Stretch":
        """As `json` wrote it. Raises ValueError if scrypt takes no such numbers, or would take more than a GiB."""
        found = cls(str(value["salt"]), *(int(value[name]) for name in ("n", "r", "p")))
        if len(bytes.fromhex(found.salt)) < 16 or not (found.n >= 2**14 and 1 <= found.p <= 16 and found.r >= 8):
            raise ValueError("weaker than any that is written here")
        if 128 * found.n * found.r > 2**30 or found.n & (found.n - 1):
            raise ValueError("more than any that is written here, or no power of two")
        return found

    def json(self) -> Json:
        """As plain JSON: none of it is secret."""
        return asdict(self)

    def key(self, passphrase: bytes) -> bytes:
        """The key, 32 bytes."""
        salt, most = bytes.fromhex(self.salt), 128 * self.n * self.r + 2**25
        return hashlib.scrypt(passphrase, salt=salt, n=self.n, r=self.r, p=self.p, maxmem=most, dklen=KEY_BYTES)
