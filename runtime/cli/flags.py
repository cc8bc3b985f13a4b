"""The flags that say what a runtime is started with; the same for every verb that may start one.

A runtime that is up already has settings of its own, so it cannot follow them: the verbs say so instead.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

Tools = Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A tools file; may be repeated.")]
Workflows = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="A file with workflows besides the shipped; may be repeated.")
]
Policy = Annotated[
    str | None, typer.Option(metavar="SET", help="A policy set: strict, lab, or a folder (with a slash in it).")
]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="A model's name; see `bailiwick models list`.")]

RequireGpu = Annotated[bool, typer.Option("--require-gpu", help="Fail rather than compute on the CPU.")]


def given(**flags: Any) -> dict[str, Any]:
    """The flags that were typed."""
    return {name: value for name, value in flags.items() if value}
