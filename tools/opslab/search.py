"""The runbooks and the search over them: which known trouble do these words describe, and what mends it?"""

import math
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from typing_extensions import TypedDict

COMMON = frozenset(
    {"all", "and", "are", "but", "for", "from", "has", "its", "not", "now", "out", "service", "that", "the", "this"}
)


class Match(TypedDict):
    """A runbook as an answer: what it is about, how it shows, what mends it."""

    title: str
    symptom: str
    fix: str
    tool: str


@dataclass(frozen=True, slots=True)
class Runbook:
    """One runbook. `tool` is the tool that its fix names."""

    name: str
    title: str
    symptom: str
    fix: str
    tool: str

    @property
    def words(self) -> frozenset[str]:
        """What a query is compared with."""
        return words(f"{self.title} {self.symptom}")


def words(text: str) -> frozenset[str]:
    """The telling words of a text, in lower case, plurals without their s."""
    found = (word.removesuffix("s") for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2)
    return frozenset(word for word in found if word not in COMMON)


@cache
def runbooks() -> tuple[Runbook, ...]:
    """All runbooks of the lab, by name."""
    folder = resources.files("tools.opslab.runbooks")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return tuple(_parse(file.name.removesuffix(".md"), file.read_text()) for file in files)


def _parse(name: str, text: str) -> Runbook:
    found = re.fullmatch(r"# (.+)\n+## Symptom\n+(.+?)\n+## Fix\n+(.+?)\s*", text, re.DOTALL)
    tool = re.search(r"ops\.[a-z_]+", found[3]) if found else None
    if found is None or tool is None:
        raise ValueError(f"the runbook {name} needs a title, a symptom and a fix that names a tool")
    return Runbook(name, found[1].strip(), " ".join(found[2].split()), " ".join(found[3].split()), tool[0])


def search(query: str, limit: int = 2) -> list[Match]:
    """The runbooks that share most with the query, best first. A word counts more the fewer runbooks have it.

    Scores are inverse document frequencies summed over shared words (Sparck Jones, 1972); ties go by name. A runbook
    that shares no word is not given.
    """
    books = runbooks()
    asked = words(query)
    weight = {word: math.log(1 + len(books) / (1 + sum(word in book.words for book in books))) for word in asked}
    scored = [(sum(weight[word] for word in asked & book.words), book) for book in books]
    best = sorted((item for item in scored if item[0] > 0), key=lambda item: (-item[0], item[1].name))[:limit]
    return [{"title": book.title, "symptom": book.symptom, "fix": book.fix, "tool": book.tool} for _, book in best]
