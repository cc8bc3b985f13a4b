"""The kinds of event. A kind, once written to a ledger, keeps its meaning for ever."""

from enum import StrEnum


class Kind(StrEnum):
    """What an event says happened."""

    CORE_STARTED = "core.started"
    CORE_STOPPED = "core.stopped"
    MODEL_LOADED = "model.loaded"

    RUN_SUBMITTED = "run.submitted"
    RUN_STARTED = "run.started"
    RUN_RESUMED = "run.resumed"
    RUN_PARKED = "run.parked"
    RUN_ENDED = "run.ended"

    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    STAGED = "staged"
    DISCARDED = "change-set.discarded"
    REVIEWED = "review.completed"

    DECISION = "decision"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_ANSWERED = "approval.answered"
    EFFECT_INTENT = "effect.intent"
    EFFECT_OUTCOME = "effect.outcome"
    EFFECT_IN_DOUBT = "effect.in-doubt"

    NOTE = "note"
