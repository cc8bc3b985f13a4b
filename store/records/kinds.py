"""The kinds of events: the vocabulary of the ledger. Values are stored, so a kind is never renamed or reused."""

from enum import StrEnum


class Kind(StrEnum):
    """What an event says happened. A run is open from `run.submitted` until `run.ended`."""

    CORE_STARTED = "core.started"
    CORE_STOPPED = "core.stopped"
    RUN_SUBMITTED = "run.submitted"
    RUN_STARTED = "run.started"
    RUN_RESUMED = "run.resumed"
    RUN_PARKED = "run.parked"
    RUN_ENDED = "run.ended"
    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    DECISION = "decision"
    STAGED = "staged"
    CHANGE_SET_DISCARDED = "change-set.discarded"
    REVIEW_COMPLETED = "review.completed"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_ANSWERED = "approval.answered"
    EFFECT_INTENT = "effect.intent"
    EFFECT_OUTCOME = "effect.outcome"
    EFFECT_IN_DOUBT = "effect.in-doubt"
    MODEL_LOADED = "model.loaded"
    NOTE = "note"


class Ended(StrEnum):
    """How a run ended: the `decision` of its `run.ended`."""

    COMPLETED = "completed"
    COMPLETED_BY_FALLBACK = "completed-by-fallback"
    DENIED = "denied"
    FAILED = "failed"
    CANCELLED = "cancelled"
