"""A token: who may come in, where and until when, in canonical JSON, and the site's Ed25519 signature over it.

    bailiwick1.<JSON in base64url>.<signature in base64url>

There is one form and one algorithm, and nothing in a token chooses either. What is signed begins with words of its own,
so that no signature of the same key over anything else is one of a token. Nothing here knows the time, or who was
turned away since: a token that opens says only that the site once made it.
"""

import base64
import binascii
import hmac
import json
from dataclasses import asdict, dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from store.records.canonical import canonical
from store.records.errors import Denied

MARK = "bailiwick1"
MOST_CHARS = 2048
_SIGNED = b"bailiwick token, version 1\n"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. `site` is whom it is for; `issued` and `expires` are seconds since 1970 (UTC); `roles` are the
    most that it lets its user be, None: whatever they are."""

    id: str
    site: str
    user: str
    uid: int
    tenant: str
    issued: int
    expires: int
    roles: tuple[str, ...] | None = None


def signed(claims: Claims, key: bytes) -> str:
    """The token that says this, signed with a private key of 32 bytes."""
    body = canonical({**asdict(claims), "roles": None if claims.roles is None else list(claims.roles)})
    signature = Ed25519PrivateKey.from_private_bytes(key).sign(_SIGNED + body)
    return f"{MARK}.{_text(body)}.{_text(signature)}"


def opened(token: str, key: bytes, site: str) -> Claims:
    """What a token says that this key has signed for this site.

    Raises Denied, with the same words whatever is wrong: who has no token of ours learns nothing by trying.
    """
    try:
        if len(token) > MOST_CHARS:
            raise ValueError
        mark, body, signature = token.split(".")
        data = _bytes(body)
        public: Ed25519PublicKey = Ed25519PrivateKey.from_private_bytes(key).public_key()
        public.verify(_bytes(signature), _SIGNED + data)
        found = json.loads(data)
        roles = found.pop("roles")
        claims = Claims(**found, roles=None if roles is None else tuple(roles))
    except (ValueError, TypeError, KeyError, InvalidSignature):
        raise refused() from None
    if mark != MARK or not hmac.compare_digest(claims.site.encode(), site.encode()):
        raise refused()
    return claims


def refused() -> Denied:
    """The error for what is no token of this site's."""
    return Denied("the token is none of this site's", do="ask its admin for one: `bailiwick tokens issue`")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """What `_text` wrote, and nothing else: each value is written in one way. Raises ValueError."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError from error
    if _text(data) != text:
        raise ValueError
    return data
