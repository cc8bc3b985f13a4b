"""The form of a token: one way to write it, one algorithm, and not a bit that can be changed."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from runtime.tokens.token import Claims, opened, signed
from store.records.errors import Denied

KEY, OTHER = bytes(range(32)), bytes(32)
CLAIMS = Claims("0123456789abcdef", "site", "ann", 7, "acme", 1_800_000_000, 1_800_003_600, ("requester",))
TOKEN = signed(CLAIMS, KEY)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_token_says_what_was_signed() -> None:
    assert opened(TOKEN, KEY, "site") == CLAIMS
    everything = replace(CLAIMS, roles=None)
    assert opened(signed(everything, KEY), KEY, "site") == everything
    assert len(TOKEN) < 400


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("ABab01-_.= \u0430"))
def test_no_character_can_be_another(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    if changed != TOKEN:
        with pytest.raises(Denied, match="none of this site's"):
            opened(changed, KEY, "site")


_, BODY, SIGNATURE = TOKEN.split(".")
ALTERED = b64(json.dumps({**json.loads(base64.urlsafe_b64decode(BODY + "==")), "user": "boss"}).encode())
NONE = b'{"alg":"none"}'
FOREIGN = {
    "nothing": "",
    "no token": "hello",
    "two parts": f"bailiwick1.{BODY}",
    "four parts": f"{TOKEN}.x",
    "another version": f"bailiwick2.{BODY}.{SIGNATURE}",
    "no signature": f"bailiwick1.{BODY}.",
    "another's body": f"bailiwick1.{ALTERED}.{SIGNATURE}",
    "padding": f"{TOKEN}==",
    "a line break": f"{TOKEN}\n",
    "a JWT without a signature": f"{b64(NONE)}.{BODY}.",
    "another key's": signed(CLAIMS, OTHER),
    "another site's": signed(replace(CLAIMS, site="elsewhere"), KEY),
    "signed without our words": f"bailiwick1.{BODY}."
    + b64(Ed25519PrivateKey.from_private_bytes(KEY).sign(base64.urlsafe_b64decode(BODY + "=="))),
    "too long": "bailiwick1." + "A" * 5000 + "." + SIGNATURE,
    "not ASCII": "bailiwick1.ä.ö",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_none_of_ours_is_refused_in_the_same_words(name: str) -> None:
    with pytest.raises(Denied) as caught:
        opened(FOREIGN[name], KEY, "site")
    assert str(caught.value).startswith("the token is none of this site's; ask its admin")
