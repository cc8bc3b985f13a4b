"""What the keystore's file says, as JSON: an entry for each data key, and a seal over all."""

import base64
from collections.abc import Mapping

from store.keys.cipher import seal
from store.keys.data_key import DataKey
from store.keys.site_key import Header
from store.records.canonical import Json, canonical


def entry(each: DataKey, header: Header, key: bytes, before: Mapping[str, tuple[DataKey, Json]]) -> Json:
    """What the file says of a key: as before, if it is the same under the same site key."""
    same, entry = before.get(each.record.id, (None, None))
    if same is each:
        return entry
    return each.record.json() | {"wrapped": text(seal(key, each.secret, each.record.place(header.id)))}


def sealed(book: Json) -> bytes:
    """What the seal is over: all but itself."""
    return canonical({name: value for name, value in book.items() if name != "seal"})


def text(data: bytes) -> str:
    """Bytes as JSON has them: Base64."""
    return base64.b64encode(data).decode()
