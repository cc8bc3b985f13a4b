"""The kinds of events: the vocabulary of the ledger. Values are stored, so a kind is never renamed or reused."""

from enum import StrEnum
from typing import Literal


class Kind(StrEnum):
    """What an event says happened. A run is open from `run.submitted` until `run.ended`."""

    CORE_STARTED = "core.started"
    CORE_STOPPED = "core.stopped"
    RUN_SUBMITTED = "run.submitted"
    RUN_STARTED = "run.started"
    RUN_RESUMED = "run.resumed"
    RUN_PARKED = "run.parked"
    RUN_PAUSED = "run.paused"
    RUN_CANCELLING = "run.cancelling"
    RUN_RETRIED = "run.retried"
    RUN_PATCHED = "run.patched"
    RUN_ENDED = "run.ended"
    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    DECISION = "decision"
    STAGED = "staged"
    CHANGE_SET_DISCARDED = "change-set.discarded"
    REVIEW_COMPLETED = "review.completed"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_ANSWERED = "approval.answered"
    WAIT_BEGUN = "wait.begun"
    SIGNAL_RECEIVED = "signal.received"
    INPUT_REQUESTED = "input.requested"
    INPUT_ANSWERED = "input.answered"
    EFFECT_INTENT = "effect.intent"
    EFFECT_OUTCOME = "effect.outcome"
    EFFECT_IN_DOUBT = "effect.in-doubt"
    EFFECT_SETTLED = "effect.settled"
    COMMIT_FAILED = "commit.failed"
    HALT_BEGUN = "halt.begun"
    HALT_RELEASED = "halt.released"
    WORKFLOW_INSTALLED = "workflow.installed"
    MIRROR_CHANGED = "mirror.changed"
    TRACES_CHANGED = "traces.changed"
    LEDGER_BACKED_UP = "ledger.backed-up"
    LEDGER_RESTORED = "ledger.restored"
    MODEL_LOADED = "model.loaded"
    MODEL_CALLED = "model.called"
    KEYS_ROTATED = "keys.rotated"
    KEYS_SHREDDED = "keys.shredded"
    KEYS_HELD = "keys.held"
    KEYS_RELEASED = "keys.released"
    PAYLOADS_SWEPT = "payloads.swept"
    NOTE = "note"
    SCHEDULE_SET = "schedule.set"
    SCHEDULE_PAUSED = "schedule.paused"
    SCHEDULE_RESUMED = "schedule.resumed"
    SCHEDULE_REMOVED = "schedule.removed"


Ended = Literal["completed", "completed-by-fallback", "denied", "failed", "cancelled"]
"""How a run ended: the `decision` of its `run.ended`."""

Status = Ended | Literal["queued", "running", "interrupted", "waiting", "paused", "parked"]
"""How a run stands. An open one waits for a place in its queue (`queued`), is driven (`running`) or not (`interrupted`:
the runtime that kept it is gone), waits (for a person, a signal or a time), is paused until somebody resumes it, or is
parked until whatever its last event names is put right."""
