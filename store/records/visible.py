"""Text from elsewhere, made visible: on a screen every character of it can be seen for what it is, and none is dropped.

Task texts, arguments and tool names are written by others. A control character could move the cursor, an invisible or
direction-changing one could make an approval read as another than it is (Boucher and Anderson, Trojan Source, 2021),
and a letter of another alphabet can stand for a Latin one (Unicode Technical Standard 39). All of them are shown as
escapes.
"""

import re
import unicodedata
from functools import lru_cache

BLANK = frozenset(
    # Characters that count as printable and show nothing, or change the one before them.
    [chr(code) for code in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)]
    + [chr(code) for code in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))]
)
LATIN_LOOKS = frozenset(
    "АВЕЅІЈКМНОРСТУХаеорсухѕіјһԁԛԝӏ"  # Cyrillic
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορυϲ"  # Greek
    "ՕԼՍօոսցհզ"  # Armenian
    "ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᎡᏚᎢᏙᏔᏃ"  # Cherokee
)
"""Letters of other alphabets that look like Latin ones."""
_ALIKE = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
_WORD = re.compile(r"\w+")


def visible(text: str) -> str:
    """One line of text in which every character can be seen for what it is.

    Escaped is what is not printable or shows nothing, what Unicode takes for a variant of something else (as the
    letters of full width), and in a word that could pass for a Latin one the letters that are not.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, _marked(text), text))


def escape(character: str) -> str:
    """A character as Python and JSON would write it: \\x1b, \\u202e, \\U000e0001."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _shown(suspect: bool, character: str) -> str:
    plain = character.isprintable() and character not in BLANK and not _variant(character)
    return character if plain and not suspect else escape(character)


def _marked(text: str) -> list[bool]:
    """For each character, whether it stands in a word as a letter that only looks Latin, or is laid over another."""
    marks = [False] * len(text)
    for word in _WORD.finditer(text):
        letters = [each for each in word.group() if each.isalpha()]
        if any(map(_latin, letters)) or all(each in LATIN_LOOKS for each in letters):
            for at in range(word.start(), word.end()):
                marks[at] = _alike(text[at])
    for at in range(1, len(text)):
        if unicodedata.combining(text[at]) and _latin(text[at - 1]):
            marks[at] = True
    return marks


@lru_cache(4096)
def _latin(character: str) -> bool:
    return character.isascii() or unicodedata.name(character, "").startswith("LATIN")


@lru_cache(4096)
def _alike(character: str) -> bool:
    """Whether a character is a letter of an alphabet that shares shapes with the Latin one."""
    return character.isalpha() and unicodedata.name(character, "").startswith(_ALIKE)


@lru_cache(4096)
def _variant(character: str) -> bool:
    return character != "…" and not character.isascii() and unicodedata.normalize("NFKC", character) != character
