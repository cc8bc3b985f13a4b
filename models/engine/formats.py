"""The texts that JSON Schema's `format` can ask for: how they are enforced, and how they are checked afterwards.

A format that is not here is refused by name. What llguidance enforces too loosely (a 29th of February in any year) has
a pattern here; the check is made by other means than the pattern.
"""

import datetime
import ipaddress
import re
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = f"{_CLOCK}:[0-5][0-9](?:\\.[0-9]{{1,6}})?(?:Z|[+-]{_CLOCK})"
_DAYS = r"(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)"
_HOURS = r"(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
_DURATION = re.compile(rf"P(?:{_DAYS}(?:T{_HOURS})?|T{_HOURS}|\d+W)", re.ASCII)
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL = rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"


@dataclass(frozen=True, slots=True)
class Format:
    """`check` says whether a text has the format, or raises ValueError. `pattern`, if not empty, is enforced in place
    of llguidance's own, and `longest`, if not 0, is how many characters a text may have."""

    check: Callable[[str], object]
    pattern: str = ""
    longest: int = 0

    def fits(self, text: str) -> bool:
        """Whether a text has the format."""
        try:
            return bool(self.check(text))
        except ValueError:
            return False


def _date(text: str) -> object:
    return len(text) == 10 and text[4] + text[7] == "--" and datetime.date.fromisoformat(text)


def _time(text: str) -> object:
    # Midnight is true, unlike some other objects that stand for nothing.
    return text[8:9] != "" and datetime.time.fromisoformat(text).tzinfo is not None


def _date_time(text: str) -> object:
    return _date(text[:10]) and text[10:11] == "T" and _time(text[11:])


def _host(text: str) -> object:
    return len(text) <= 253 and all(re.fullmatch(_LABEL, label) for label in text.split("."))


def _email(text: str) -> object:
    local, _, domain = text.rpartition("@")
    return local != "" and len(text) <= 254 and _host(domain)


def _uri(text: str) -> object:
    return urllib.parse.urlsplit(text).scheme and not re.search(r"[\s<>\"{}|\\^`]", text)


def _uuid(text: str) -> object:
    return str(uuid.UUID(text)) == text.lower()


FORMATS: Mapping[str, Format] = {
    "date": Format(_date, f"^{_DATE}$"),
    "time": Format(_time, f"^{_TIME}$"),
    "date-time": Format(_date_time, f"^{_DATE}T{_TIME}$"),
    "duration": Format(_DURATION.fullmatch),
    "email": Format(_email, f"^{_EMAIL}$", 254),
    "hostname": Format(_host, longest=253),
    "ipv4": Format(ipaddress.IPv4Address),
    "ipv6": Format(ipaddress.IPv6Address),
    "uri": Format(_uri),
    "uuid": Format(_uuid),
}
"""Formats of texts, of RFC 3339 (date, time, duration), 5321, 1123, 2673, 4291, 3986 and 4122. A time is in capitals,
has no leap second, and parts of a second down to microseconds."""

NUMBERS: Mapping[str, tuple[int, int] | None] = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": None,
    "float": None,
    "double": None,
}
"""Formats of numbers, of OpenAPI: their bounds, if they are narrower than what JSON carries safely."""
