"""Bailiwick's public face: what authors of workflows and tools import. Nothing else is public."""

from runtime.contract.decision import ByModel
from runtime.contract.fake import FakeRun
from runtime.contract.run import Run
from runtime.contract.values import Backoff, Example, Planned, Receipt, Ref, Staged, Verdict, Work
from runtime.contract.workflow import Workflow, workflow
from store.records.errors import (
    BudgetExceeded,
    ChildFailed,
    DeadLetter,
    Denied,
    InDoubt,
    ModelFailed,
    Timeout,
    ToolFailed,
)

__all__ = [
    "Backoff",
    "BudgetExceeded",
    "ByModel",
    "ChildFailed",
    "DeadLetter",
    "Denied",
    "Example",
    "FakeRun",
    "InDoubt",
    "ModelFailed",
    "Planned",
    "Receipt",
    "Ref",
    "Run",
    "Staged",
    "Timeout",
    "ToolFailed",
    "Verdict",
    "Work",
    "Workflow",
    "workflow",
]
