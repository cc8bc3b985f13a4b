"""The arguments of staged effects, and the references in them, which are filled in at commit."""

from typing import Any

from runtime.contract.values import Receipt, Ref
from store.records.canonical import Json
from store.records.errors import SettingsError, ToolFailed
from tools.schema import Checker


def check(schema: dict[str, Any], arguments: Json, tool: str) -> None:
    """Raise SettingsError if arguments do not fit a tool's schema."""
    problem = Checker(schema).problem(arguments)
    if problem:
        raise SettingsError(f"the arguments do not fit: {problem}", tool)


def references(arguments: dict[str, Any]) -> list[Ref]:
    """The references among arguments. One stands for a whole argument, never for a part of it."""
    return [value for value in arguments.values() if isinstance(value, Ref)]


def written_out(arguments: dict[str, Any]) -> dict[str, Json]:
    """Arguments as they are recorded and shown, with references written out."""
    return {
        name: {"$ref": [value.step, value.field]} if isinstance(value, Ref) else value
        for name, value in arguments.items()
    }


def filled_in(arguments: dict[str, Any], receipts: list[Receipt]) -> dict[str, Any]:
    """Arguments with the results that they refer to. Raises ToolFailed if an effect did not give what is asked for."""
    results = {receipt.step: receipt.result for receipt in receipts}
    filled = {}
    for name, value in arguments.items():
        if isinstance(value, Ref):
            result = results.get(value.step)
            if not isinstance(result, dict) or value.field not in result:
                raise ToolFailed(f"the effect at step {value.step} gave no {value.field!r}", f"argument {name}")
            filled[name] = result[value.field]
        else:
            filled[name] = value
    return filled
