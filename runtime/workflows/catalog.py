"""Finds workflows: the shipped ones, and those in the files that the settings name.

A file is imported by its path because its owner named it in their settings; nothing that was stored or received ever
names code.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from runtime.contract.workflow import Workflow
from runtime.folders import only_ours
from store.records.canonical import sha256
from store.records.errors import SettingsError


def load(files: Sequence[Path] = ()) -> dict[str, Workflow]:
    """All workflows by name. Raises SettingsError for a file that cannot be imported, and for a name used twice."""
    from runtime.workflows import task, triage

    known: dict[str, Workflow] = {}
    for module in (triage, task, *(module_of(path) for path in files)):
        for found in workflows_in(module):
            if found.name in known:
                raise SettingsError(f"two workflows are called {found.name!r}", module.__file__ or "", "rename one")
            known[found.name] = found
    return known


def workflows_in(module: ModuleType) -> list[Workflow]:
    """The workflows that a module declares."""
    return [value for value in vars(module).values() if isinstance(value, Workflow)]


def module_of(path: Path) -> ModuleType:
    """The module in a file. Raises SettingsError with the error's kind and line if it cannot be imported."""
    if not path.is_file():
        raise SettingsError("no such workflow file", str(path), "name a Python file")
    only_ours(path)
    name = f"workflow_{path.stem}_{sha256(bytes(path.absolute()))[:8]}"  # two folders may each have such a file
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError("a workflow file ends in .py", str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pydantic look annotations up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = _line_in(error, path)
        if isinstance(error, SyntaxError) and error.filename == str(path):
            line = error.lineno or 0
        raise SettingsError(f"the workflow file fails with {type(error).__name__}", f"{path}:{line}") from error
    if not workflows_in(module):
        raise SettingsError("the file declares no workflow", str(path), "decorate an async def with @workflow")
    return module


def _line_in(error: BaseException, path: Path) -> int:
    """The deepest line of the file in the error's traceback, 0 if it is not there."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
