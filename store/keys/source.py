"""Where a site key can come from. Apart from what fetches it, so that the command line can name it at no cost."""

from enum import StrEnum


class Source(StrEnum):
    """Where a site key comes from. Values are stored."""

    FILE = "file"
    PASSPHRASE = "passphrase"
    KEYRING = "keyring"
