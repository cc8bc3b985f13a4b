"""Text as typed tokens: what a person would call one word, one address, one date, one amount.

A token is whole: 10 is none of the tokens of 2010, of 10:30 or of 10%. Punctuation around a token is no part of it;
punctuation within it is, so that a file name, an address and a password are one token each. Two tokens are the same if
kind and value are. The notation is read as English has it: 1,200.50 is an amount, and 1.200, which is one number here
and another there, is none; nor is what says how much only together with the next word (10 000, 10 %, 10 million). Such
a token matches nothing but itself; and so does one with a digit of another script, or with a character that Unicode
takes for others, which are read otherwise where they stand: 10² is not 102, nor 1½ 11⁄2.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from functools import lru_cache

from runtime.gate.provenance.dates import date_in, time_in, written_date

MOST = 20_000
"""Characters of a text that are read; nobody types more, and what is beyond counts as not said."""


class Kind(Enum):
    """What a token is. A word is compared letter by letter, case included, and so is what is a number but does not
    clearly say which; the others by what they stand for."""

    WORD = "word"
    UNCLEAR = "unclear"
    NUMBER = "number"
    PERCENT = "percent"
    DATE = "date"
    TIME = "time"
    EMAIL = "email"
    ACCOUNT = "account"
    URL = "url"


AMOUNTS = (Kind.NUMBER, Kind.UNCLEAR)
"""What a user who names it may mean as an amount."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `ends` is the punctuation after it, `begins` that before it: they part sentences and quotations.
    `currency` is what is written to a number, which is the same number without. `typed` is the token as it was typed,
    without any of its punctuation."""

    kind: Kind
    value: str
    begins: str = ""
    ends: str = ""
    currency: str = ""
    typed: str = ""

    @property
    def same(self) -> tuple[Kind, str]:
        """What makes two tokens the same."""
        return self.kind, self.value

    @property
    def fraction(self) -> str:
        """The digits after a number's point, unless they are those of a whole amount: 10.00 is 10, but as text 1.10 is
        not 1.1, which may be another version."""
        digits = "".join(filter(str.isdigit, self.typed.partition(".")[2])) if self.kind is Kind.NUMBER else ""
        return "" if digits == "00" else digits


_OPENING, _CLOSING = "\"'([{<«“‘„‚`*_", "\"')]}>»”’`*_.,;:!?…"
_SAME = ("<wide>", "<narrow>", "<font>", "<noBreak>")
"""Of what Unicode takes for other characters, that which differs from them in nothing but its looks."""
_READ = re.compile(rf"(?s)(?:.{{0,{MOST}}}(?!\S))?")
"""As much of a text as is read, up to the end of a word."""
_CHUNK = re.compile(
    r"([^\s\w]*(?:[A-Z]{3})?"
    r"(?:[0-9]{1,3}(?: [0-9]{3})+(?![0-9])|[0-9][0-9.,]* (?:%|(?i:dozen|hundred|thousand|(?:m|b|tr)illions?)\b))\S*"
    r"|\S+)(\s*)"
)
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]+\Z")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+\Z")
_ACCOUNT = re.compile(r"[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{8,30}\Z")
_SPACED_ACCOUNT = re.compile(r"(?<!\S)[\"'(]*([A-Z]{2}[0-9]{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)(?![A-Za-z0-9])")
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?\Z", re.ASCII)
_UNCLEAR = re.compile(r"[+-]?\d{1,3}\.\d{3}\Z|[+-]?0\d")
_CURRENCY = re.compile(r"\A(?:[$€£¥]|USD|EUR|GBP|CHF|JPY)|(?:[$€£¥]|USD|EUR|GBP|CHF|JPY)\Z")
_LETTER = re.compile("[A-Za-z]")


def normal(text: str) -> str:
    """The text in Unicode's NFKC form, but for words in which that could say something else: they stay as they are.
    Letters that only look alike stay different."""
    return text if text.isascii() else re.sub(r"\S+|\s+", _normal, text)


def plain(text: str) -> bool:
    """Whether a text is in its normal form, is read to its end, and holds nothing that is not seen, but for spaces,
    tabs and line ends."""
    if len(text) > MOST or text != normal(text):
        return False
    return not any(unicodedata.category(each)[0] == "C" for each in text if each not in "\n\t")


@lru_cache(256)
def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of a text, in order; those of the last few texts are kept."""
    read = _READ.match(normal(text))
    text = _SPACED_ACCOUNT.sub(_joined, read[0] if read else "")
    return tuple(_dated([_token(chunk) for chunk in _chunks(text)]))


def written(run: Sequence[Token]) -> str:
    """Tokens in a row as they were typed, with the punctuation between them and none around them."""
    last = len(run) - 1
    return " ".join(
        (each.begins if at else "") + each.typed + (_after(each) if at < last else "") for at, each in enumerate(run)
    )


def number(value: int | float) -> Token:
    """A JSON number as the token that a text has for it."""
    return Token(Kind.NUMBER, _amount(Decimal(repr(value))))


def _chunks(text: str) -> Iterator[tuple[str, str, str]]:
    """What stands between blanks: the punctuation before, the core, the punctuation after with any line end."""
    for found in _CHUNK.finditer(text):
        whole = found[1]
        core = whole.lstrip(_OPENING).rstrip(_CLOSING)
        if not any(each.isalnum() for each in core):
            core, begins, ends = whole, "", whole
        else:
            begins = whole[: len(whole) - len(whole.lstrip(_OPENING))]
            ends = whole[len(begins) + len(core) :]
        yield begins, core, ends + ("\n" if "\n" in found[2] else "")


def _token(chunk: tuple[str, str, str]) -> Token:
    begins, core, ends = chunk
    kind, value = _typed(core)
    return Token(kind, value, begins, ends, "".join(_CURRENCY.findall(core)) if kind is Kind.NUMBER else "", core)


def _typed(core: str) -> tuple[Kind, str]:
    """The kind of a token, and its value in the form in which it is compared."""
    if _EMAIL.match(core):
        return Kind.EMAIL, core.lower()  # not casefold, to which ß is ss: those are two domains
    if _URL.match(core):
        return Kind.URL, core
    if _ACCOUNT.match(core):
        return Kind.ACCOUNT, core.upper() if _checked(core) else core
    if found := date_in(core):
        return Kind.DATE, found
    if found := time_in(core):
        return Kind.TIME, found
    if core.endswith("%") and _NUMBER.match(core[:-1]):
        return Kind.PERCENT, _amount(Decimal(core[:-1].replace(",", "")))
    bare = _CURRENCY.sub("", core)
    if _NUMBER.match(bare) and not _UNCLEAR.match(bare):
        return Kind.NUMBER, _amount(Decimal(bare.replace(",", "")))
    unclear = any(map(str.isnumeric, core)) and (" " in core or not _LETTER.search(bare))
    return Kind.UNCLEAR if unclear else Kind.WORD, core


def _dated(found: list[Token]) -> Iterator[Token]:
    """The tokens, with a date that is written in words (15 May 2024; May 15th, 2024) as one."""
    at = 0
    while at < len(found):
        three = found[at : at + 3]
        day = written_date(*(each.typed for each in three)) if len(three) == 3 else ""
        if day:
            yield replace(three[0], kind=Kind.DATE, value=day, ends=three[2].ends, typed=written(three))
            at += 3
        else:
            yield found[at]
            at += 1


def _amount(value: Decimal) -> str:
    """A number in one form: no exponent, no zeros that say nothing."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _joined(found: re.Match[str]) -> str:
    """An account number written in groups, as one, if its check digits are right."""
    bare = found[1].replace(" ", "")
    return found[0].replace(found[1], bare) if _checked(bare) else found[0]


def _checked(account: str) -> bool:
    """Whether the check digits of an account number are right (ISO 7064 mod 97-10)."""
    return int("".join(str(int(each, 36)) for each in account[4:] + account[:4])) % 97 == 1


def _after(token: Token) -> str:
    """The punctuation after a token on the same line; of one that is nothing else, none."""
    ends = token.ends.replace("\n", "")
    return "" if ends == token.typed else ends


def _normal(found: re.Match[str]) -> str:
    if not found[0].isspace() and any(map(_read_otherwise, found[0])):
        return found[0]
    return unicodedata.normalize("NFKC", found[0])


@lru_cache(1024)
def _read_otherwise(character: str) -> bool:
    """Whether a character is no plain one, and may be read otherwise than those that Unicode takes it for: some have a
    blank among these, which parts a word."""
    if character.isascii():
        return False
    taken = unicodedata.decomposition(character)
    framed = taken.startswith("<") and not taken.startswith(_SAME)
    return framed or unicodedata.category(character)[0] == "N" or " " in unicodedata.normalize("NFKC", character)
