"""AgentDojo's own tasks, environments and checks, found where its wheel was installed.

Its pipelines import the clients of every hosted model. None of that is used here, so the package of pipelines is given
to Python without its own first lines, and the one name that is needed of a client stands in for it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from store.records.errors import SettingsError

VERSION = "0.1.35"
INSTALL = (
    f"pip install --target FOLDER --no-deps agentdojo=={VERSION}; "
    "pip install --target FOLDER docstring-parser email-validator deepdiff; and put FOLDER on PYTHONPATH"
)
_PIPELINES = "agentdojo.agent_pipeline"

Suite = Any
"""An agentdojo.task_suite.TaskSuite."""


def load(names: Iterable[str], version: str) -> dict[str, Suite]:
    """The suites of one version of the benchmark, such as v1.2.2.

    Raises SettingsError if AgentDojo is not installed, or has no such version or suite.
    """
    found = importlib.util.find_spec("agentdojo")
    if found is None or not found.submodule_search_locations:
        raise SettingsError("AgentDojo is not installed", "agentdojo", INSTALL)
    _stand_in(_PIPELINES, __path__=[str(Path(found.submodule_search_locations[0]) / "agent_pipeline")])
    _stand_in(f"{_PIPELINES}.llms", __path__=[])
    _stand_in(f"{_PIPELINES}.llms.google_llm", EMPTY_FUNCTION_NAME="")
    try:
        suites = importlib.import_module("agentdojo.task_suite.load_suites").get_suites(version)
    except ImportError as error:
        raise SettingsError("AgentDojo cannot be imported", error.name or "agentdojo", INSTALL) from None
    if not suites:
        raise SettingsError("AgentDojo has no such version", version, "name one such as v1.2.2")
    for name in names:
        if name not in suites:
            raise SettingsError("AgentDojo has no such suite", name, f"name some of {', '.join(sorted(suites))}")
    return {name: suites[name] for name in names}


def functions(suite: Suite) -> Any:
    """What runs the functions of a suite: an agentdojo.functions_runtime.FunctionsRuntime."""
    return importlib.import_module("agentdojo.functions_runtime").FunctionsRuntime(suite.tools)


def environment(suite: Suite, injected: str) -> Any:
    """A suite's environment in which every place that an attacker can write to says `injected`; its own if empty.

    The text is put in once the file is read, so that it may hold what would end a string in YAML.
    """
    if not injected:
        return suite.load_and_inject_default_environment({})
    marks = {vector: f"@@{vector}@@" for vector in suite.get_injection_vector_defaults()}
    marked = suite.load_and_inject_default_environment(marks)
    return suite.environment_type.model_validate(_replaced(marked.model_dump(), list(marks.values()), injected))


def _replaced(value: Any, marks: list[str], text: str) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, marks, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, marks, text) for item in value]
    if isinstance(value, str):
        for mark in marks:
            value = value.replace(mark, text)
    return value


def _stand_in(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules.setdefault(name, module)
