"""What the gateway offers, as two interfaces: queries that need only the ledger, and verbs that need the runtime.

Implemented by the core's proxy (all), by the client (all, over the socket) and by a ledger opened read-only when no
runtime is up (queries). Whoever calls has been identified before.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from runtime.gateway.messages import (
    Answer,
    ApprovalView,
    BackupView,
    ContentScope,
    EventView,
    ForkView,
    GoneView,
    ProofView,
    QuestionView,
    QueueView,
    RunView,
    ScheduleChange,
    ScheduleSpec,
    ScheduleView,
    StatusView,
    StorageView,
    Submission,
    TableView,
    VerifyView,
)


class Queries(Protocol):
    """Read-only. None of these starts Ray or a model."""

    async def runs(self, limit: int = 50) -> list[RunView]:
        """The newest runs first."""
        ...

    async def run(self, run: str) -> RunView:
        """One run, by its id or an unambiguous beginning of it. Raises SettingsError if there is none."""
        ...

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        """Up to `limit` events with a sequence number above `after`, in order. Does not wait."""
        ...

    async def sql(self, query: str) -> TableView:
        """The rows of one SELECT. Raises SettingsError for anything else."""
        ...

    async def verify(self) -> VerifyView:
        """Recompute everything and compare."""
        ...

    async def prove(self, event: int) -> ProofView:
        """The proof that an event is in the ledger. Raises SettingsError if there is none of this number."""
        ...

    async def checkpoint(self, since: str | None = None) -> ProofView:
        """The newest checkpoint; with `since`, an older one, and the proof that the ledger continues it.

        Raises SettingsError if `since` is no checkpoint of this ledger, IntegrityError if the ledger does not continue
        it.
        """
        ...

    async def storage(self) -> StorageView:
        """What takes space, and how fast it grows."""
        ...


class Verbs(Queries, Protocol):
    """What needs a running core."""

    async def submit(self, submission: Submission) -> str:
        """Start a run; returns its id once the submission is on disk."""
        ...

    def follow(self, after: int = 0, run: str = "", payloads: bool = False) -> AsyncIterator[EventView]:
        """Every event above `after`, those to come included. Ends with the run if one is named."""
        ...

    async def approvals(self) -> list[ApprovalView]:
        """What waits for a person."""
        ...

    async def resume(self, run: str = "") -> list[str]:
        """Drive every open run, or the one whose id begins so; returns their ids. Raises SettingsError."""
        ...

    async def answer(self, answer: Answer) -> None:
        """Answer an approval. Raises SettingsError if it is not waiting, Denied if the caller may not answer."""
        ...

    async def cancel(self, run: str, reason: str = "") -> None:
        """End a run, and those that it began. Returns when it has stopped. Raises SettingsError, Denied."""
        ...

    async def pause(self, run: str, reason: str = "") -> None:
        """Stop a run until it is resumed by its name. Returns when it has stopped. Raises SettingsError, Denied."""
        ...

    async def signal(self, run: str, name: str, value: Any = None) -> None:
        """Send a run a signal, which it takes when it waits for one. Raises SettingsError, Denied."""
        ...

    async def questions(self) -> list[QuestionView]:
        """What runs ask people."""
        ...

    async def reply(self, run: str, value: Any, step: str = "") -> None:
        """Answer a run's question. Raises SettingsError if none waits or the value does not fit, Denied."""
        ...

    async def retry(self, run: str) -> str:
        """Try a step that failed too often again; the run's id. Raises SettingsError if it waits for none."""
        ...

    async def fork(self, run: str, step: str) -> ForkView:
        """Begin a run that has done what another had before `step`. Raises SettingsError, Denied."""
        ...

    async def settle(self, run: str, happened: bool, value: Any = None, step: str = "", reason: str = "") -> str:
        """Say what became of an effect that is in doubt; the run's id, which goes on. Raises SettingsError, Denied."""
        ...

    async def halt(self, reason: str = "") -> None:
        """Let no effect begin any more, in any run. Returns once that is on disk. Raises SettingsError if it is so."""
        ...

    async def release(self, reason: str = "") -> list[str]:
        """Let effects begin again; the runs that go on. Raises SettingsError if there is no halt, Denied."""
        ...

    async def hold(self, scope: ContentScope, reason: str) -> int:
        """Keep all content in a scope; the number of the event. Raises Denied unless the caller is an admin."""
        ...

    async def end_hold(self, scope: ContentScope) -> int:
        """End a hold of exactly this scope; the number of the event. Raises SettingsError, Denied."""
        ...

    async def shred(self, scope: ContentScope) -> GoneView:
        """Destroy all content in a scope and the keys it is under. Raises Denied, also if any of it is held."""
        ...

    async def sweep(self, dry_run: bool = False) -> list[GoneView]:
        """Take away what is older than its class is kept; what went, or would. Raises Denied."""
        ...

    async def backup(self, folder: str) -> BackupView:
        """Copy the ledger to a folder that is not there yet, and verify it. Raises SettingsError, Denied."""
        ...

    async def status(self) -> StatusView:
        """The state of the runtime."""
        ...

    async def queues(self) -> list[QueueView]:
        """Every queue, by name."""
        ...

    async def schedules(self) -> list[ScheduleView]:
        """Every schedule of the caller's tenant, by name."""
        ...

    async def add_schedule(self, schedule: ScheduleSpec) -> ScheduleView:
        """Set up a schedule, whose runs are the caller's. Raises SettingsError if it cannot be."""
        ...

    async def change_schedule(self, name: str, change: ScheduleChange) -> None:
        """Pause, resume or remove a schedule. Raises SettingsError, Denied if the caller may not."""
        ...

    async def stop(self) -> None:
        """End the runtime in order; open runs resume at the next start."""
        ...
