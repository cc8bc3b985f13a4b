"""What the gateway offers, as two interfaces: queries that need only the ledger, and verbs that need the runtime.

A caller sees what is their tenant's, an auditor all; what shows content or runs a query is on record (runtime/reading).
Implemented by the core's proxy (all), by the client (all, over the socket) and by a ledger opened read-only when no
runtime is up (queries). Whoever calls has been identified before.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from runtime.gateway.messages import (
    AlertView,
    Answer,
    ApprovalView,
    BackupView,
    BudgetSpec,
    BudgetView,
    CheckpointView,
    ContentScope,
    CostKey,
    CostView,
    DestroyedView,
    EventView,
    ForkView,
    GoneView,
    GrantSpec,
    GrantView,
    HoldView,
    IssuedView,
    PolicyChangeView,
    PolicyView,
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
    TokenOrder,
    TokenView,
    UserView,
    VerifyView,
    WhoView,
)


class Queries(Protocol):
    """Read-only. None of these starts Ray or a model."""

    async def runs(self, limit: int = 50) -> list[RunView]:
        """The newest runs first; content only of the caller's own."""
        ...

    async def run(self, run: str, payloads: bool = False) -> RunView:
        """One run, by its id or an unambiguous beginning of it. On record with payloads; without, content only of the
        caller's own. Raises SettingsError if there is none."""
        ...

    async def events(self, after: int = 0, run: str = "", limit: int = 500, payloads: bool = False) -> list[EventView]:
        """Up to `limit` events with a number above `after`, in order. Does not wait. With payloads on record."""
        ...

    async def sql(self, query: str) -> TableView:
        """The rows of one SELECT. On record. Raises SettingsError for anything else."""
        ...

    async def verify(self) -> VerifyView:
        """Recompute everything and compare. Raises Denied unless the caller is an auditor."""
        ...

    async def export(self) -> ProofView:
        """Begin a copy of the whole log: the checkpoint that it goes up to. On record. Raises Denied likewise."""
        ...

    async def checkpoints(self, after: int = 0, limit: int = 500) -> list[CheckpointView]:
        """Up to `limit` checkpoints over more than `after` events, in order. Raises Denied likewise."""
        ...

    async def destroyed(self, after: int = 0, id: str = "", limit: int = 500) -> list[DestroyedView]:
        """Up to `limit` payloads that are no more, by event and id, above these two. Raises Denied likewise."""
        ...

    async def holds(self) -> list[HoldView]:
        """The legal holds of today, the oldest first. On record if there are any: their reasons are content."""
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
        """What takes space: the caller's tenant's content and memory; for an auditor all, and how fast it grows."""
        ...

    async def costs(self, by: CostKey, since: str = "", until: str = "") -> list[CostView]:
        """What was used, and what it cost, from one time until before another (ISO 8601; empty: no bound)."""
        ...

    async def alerts(self) -> list[AlertView]:
        """The workflows that cost more than they expect."""
        ...

    async def policy(self, digest: str = "") -> PolicyView:
        """A version of the site's policies, by its digest or how that begins; empty: the one in force. Raises
        SettingsError if the ledger has none or several such."""
        ...


class Verbs(Queries, Protocol):
    """What needs a running core."""

    async def submit(self, submission: Submission) -> str:
        """Start a run; returns its id once the submission is on disk."""
        ...

    def follow(self, after: int = 0, run: str = "", payloads: bool = False) -> AsyncIterator[EventView]:
        """Every event above `after`, those to come included. Ends with the run if one is named. On record with
        payloads."""
        ...

    async def approvals(self, payloads: bool = False) -> list[ApprovalView]:
        """What waits for people in the caller's tenant: for an approver all, for others what they asked for. On record
        with payloads; without, only the caller's own are whole."""
        ...

    async def resume(self, run: str = "") -> list[str]:
        """Drive every open run, or the one whose id begins so; returns their ids. Raises SettingsError."""
        ...

    async def answer(self, answer: Answer) -> None:
        """Answer an approval. Raises SettingsError if it is not waiting or a yes comes without its digest, Denied if
        the caller may not answer."""
        ...

    async def grants(self) -> list[GrantView]:
        """The standing grants of the caller's tenant, the newest last. Raises Denied unless they may see them."""
        ...

    async def propose_grant(self, grant: GrantSpec) -> GrantView:
        """A grant as it would be saved, which it is not. Raises SettingsError if it cannot be, Denied."""
        ...

    async def add_grant(self, grant: GrantSpec, digest: str) -> GrantView:
        """Save a grant of which the caller has seen the digest, or its first 8 characters. Raises SettingsError also if
        it would be another by now, Denied."""
        ...

    async def revoke_grant(self, id: str, reason: str = "") -> None:
        """Let a grant do nothing from now on. Raises SettingsError if none stands under this id, Denied."""
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
        """What runs ask people in the caller's tenant: of the caller, or in their own runs; for an approver all. On
        record."""
        ...

    async def reply(self, run: str, value: Any, step: str = "") -> None:
        """Answer a run's question. Raises SettingsError if none waits or the value does not fit, Denied."""
        ...

    async def retry(self, run: str) -> str:
        """Try a step that failed too often again; the run's id. Raises SettingsError if it waits for none."""
        ...

    async def fork(self, run: str, step: str, again: bool = False) -> ForkView:
        """Begin a run that has done what another had before `step`. Raises Denied, SettingsError; also if the other
        has begun effects since, which are then done a second time, unless `again` permits it."""
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

    async def whoami(self) -> WhoView:
        """Whom the site takes the caller for."""
        ...

    async def users(self) -> list[UserView]:
        """The users in the directory, by name: of the caller's tenant, for an auditor all."""
        ...

    async def issue_token(self, order: TokenOrder) -> IssuedView:
        """Make a token. Raises SettingsError, Denied unless the caller is an admin who came over the socket."""
        ...

    async def tokens(self) -> list[TokenView]:
        """The caller's own tokens; for an admin or auditor, their tenant's."""
        ...

    async def revoke_token(self, id: str) -> str:
        """End a token, by its id or how that begins; its id. Raises SettingsError, Denied."""
        ...

    async def budgets(self) -> list[BudgetView]:
        """The budgets of the caller's tenant (an auditor's: of all), what is used of them, and what is spoken for."""
        ...

    async def set_budget(self, budget: BudgetSpec) -> None:
        """Set a budget of the caller's tenant; in force once it is on disk. Raises SettingsError, Denied unless the
        caller is an admin."""
        ...

    async def propose_policy(self) -> PolicyChangeView:
        """Read the site's policies anew, check and test them, and have them wait for somebody's word. Raises
        SettingsError if they cannot come into force, Denied unless the caller is an admin."""
        ...

    async def proposed_policy(self) -> list[PolicyChangeView]:
        """The policies that wait for somebody's word: one version, or none."""
        ...

    async def approve_policy(self, digest: str, meaning: str = "") -> PolicyChangeView:
        """Let the proposed policies be in force, of which the caller has seen the digest, or its first 8 characters or
        more. Raises SettingsError, Denied unless the caller is an approver or admin; in service mode, not who proposed
        them."""
        ...

    async def stop(self) -> None:
        """End the runtime in order; open runs resume at the next start."""
        ...
