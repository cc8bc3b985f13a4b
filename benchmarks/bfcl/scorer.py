"""BFCL's own checker of calls, found where its wheel was installed.

The checker imports its table of hosted models, which imports every provider's client, and converters for Java and
JavaScript. None of that is used for calls given as JSON: three modules of those names stand in for them.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from benchmarks.bfcl.data import Row
from store.records.errors import SettingsError

VERSION = "2026.3.23"
INSTALL = f"pip install --no-deps bfcl-eval=={VERSION} (with --target FOLDER, put FOLDER on PYTHONPATH)"
_CONVERTERS = "bfcl_eval.eval_checker.ast_eval.type_convertor"


class Scorer:
    """Says whether calls are right. `data` is the folder of BFCL's rows."""

    def __init__(self) -> None:
        """Raises SettingsError if bfcl-eval is not installed."""
        found = importlib.util.find_spec("bfcl_eval")
        if found is None or not found.submodule_search_locations:
            raise SettingsError("BFCL's data and checker are not installed", "bfcl_eval", INSTALL)
        self.data = Path(found.submodule_search_locations[0]) / "data"
        _stand_in("bfcl_eval.constants.model_config", MODEL_CONFIG_MAPPING=_AnyModel())
        _stand_in(f"{_CONVERTERS}.java_type_converter", java_type_converter=None)
        _stand_in(f"{_CONVERTERS}.js_type_converter", js_type_converter=None)
        self._check = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
        self._python = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON

    def misfit(self, row: Row, calls: list[dict[str, Any]]) -> str:
        """What is wrong with the calls, each `{name: arguments}`, in BFCL's words; empty if they are right."""
        if row.category == "irrelevance":
            return "irrelevance: a function was called" if calls else ""
        if not calls:
            return "no function was called"
        verdict = self._check(list(row.functions), calls, list(row.answer), self._python, row.category, "bailiwick")
        return "" if verdict["valid"] else f"{verdict['error_type']}: {verdict['error'][0]}"


class _AnyModel(dict[str, Any]):
    """The table of models for one that is in none: function names keep their dots."""

    def __missing__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(underscore_to_dot=False)


def _stand_in(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules.setdefault(name, module)
