"""BFCL's rows, and their functions as the tools that a worker is given.

The rows come with bfcl-eval's wheel and are read as JSON. Only the rows that are asked
for are parsed, so that the other half of the answers stays unseen while a prompt is being worked on.
"""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from runtime.agents.proposal import ToolView

CATEGORIES = ("simple_python", "multiple", "parallel", "irrelevance", "live_simple")
Rows = Literal["even", "odd", "all"]
_STRIDE: dict[str, tuple[int, int]] = {"even": (0, 2), "odd": (1, 2), "all": (0, 1)}
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
"""BFCL's names of types that JSON Schema has other names for; its checker takes a text where `any` stands."""
_KEPT = ("description", "enum", "default", "minItems", "maxItems")


@dataclass(frozen=True, slots=True)
class Row:
    """One question. `answer` is BFCL's ground truth, one object a call; empty where no function fits."""

    id: str
    category: str
    system: str
    question: str
    functions: tuple[dict[str, Any], ...]
    answer: tuple[dict[str, Any], ...]

    @property
    def tools(self) -> tuple[ToolView, ...]:
        """The functions as a worker sees tools. They are writes: what a call would do is not known here."""
        return tuple(
            ToolView(each["name"], each["description"], schema(each["parameters"]), write=True)
            for each in self.functions
        )


def load(folder: Path, category: str, rows: Rows = "all", limit: int = 0) -> tuple[Row, ...]:
    """The rows of a category with an even or odd number (from 0), the first `limit` of them (0: all).

    `folder` is bfcl_eval's data folder. Raises OSError, ValueError or KeyError if it does not hold the data.
    """
    first, step = _STRIDE[rows]
    name = f"BFCL_v4_{category}.json"
    answers = folder / "possible_answer" / name
    found = []
    asked = islice(_lines(folder / name), first, None, step)
    told = islice(_lines(answers), first, None, step) if answers.exists() else None
    for line in islice(asked, limit or None):
        row = json.loads(line)
        truth = {"id": row["id"], "ground_truth": []} if told is None else json.loads(next(told))
        if truth["id"] != row["id"]:
            raise ValueError(f"{truth['id']} is not the answer of {row['id']}")
        found.append(_row(row, category, truth["ground_truth"]))
    return tuple(found)


def schema(kind: dict[str, Any]) -> dict[str, Any]:
    """BFCL's description of a type as JSON Schema."""
    made: dict[str, Any] = {"type": _TYPES.get(kind["type"], kind["type"])}
    made |= {word: kind[word] for word in _KEPT if word in kind}
    if kind.get("properties"):
        made["properties"] = {name: schema(each) for name, each in kind["properties"].items()}
        made["required"] = kind.get("required", [])
    elif made["type"] == "object":
        made["additionalProperties"] = True
    if "items" in kind:
        made["items"] = schema(kind["items"])
    return made


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _row(row: dict[str, Any], category: str, answer: list[dict[str, Any]]) -> Row:
    """A row of one turn, whose last message is the question and whose first may be the system's."""
    messages = row["question"][0]
    return Row(
        id=row["id"],
        category=category,
        system="\n\n".join(each["content"] for each in messages[:-1]),
        question=messages[-1]["content"],
        functions=tuple(row["function"]),
        answer=tuple(answer),
    )
