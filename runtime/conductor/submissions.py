"""What is submitted: checked, and put on disk as the first event of a run. Who drives the run is not known here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.conductor.life import lacks
from runtime.conductor.pasts import Pasts
from runtime.conductor.queues import Queues
from runtime.conductor.scope import CORE_VERSION
from runtime.conductor.space import check_space
from runtime.contract.workflow import Workflow
from runtime.gateway.messages import Submission
from runtime.settings import Settings
from store.ledger.ledger import Ledger
from store.records.canonical import canonical, parse
from store.records.errors import SettingsError
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind
from store.records.labels import Labels
from tools.record import ToolRecord


@dataclass(frozen=True)
class Submissions:
    """Where the submissions of one core are checked and put on disk."""

    ledger: Ledger
    settings: Settings
    workflows: Mapping[str, Workflow]
    records: Mapping[str, ToolRecord]
    queues: Queues
    pasts: Pasts

    def check(self, submission: Submission) -> None:
        """Raise SettingsError if the submission names a workflow or a queue that there is not."""
        if submission.workflow:
            self.check_workflow(submission.workflow)
        if not self.queues.knows(submission.queue):
            known = ", ".join(sorted(self.queues.queues))
            raise SettingsError(f"no queue {submission.queue!r}", do=f"name one of: {known}")

    def check_workflow(self, name: str) -> None:
        """Raise SettingsError unless a run of this workflow can begin."""
        if name not in self.workflows:
            known = ", ".join(sorted(self.workflows))
            raise SettingsError(f"no workflow {name!r}", do=f"name one of: {known}")
        if lacking := lacks(self.workflows[name], self.records):
            what = f"the workflow {name} needs tools that nobody offers: {', '.join(lacking)}"
            raise SettingsError(what, do="name their tools file with --tools")

    def check_space(self) -> None:
        """Raise Unreachable if a new run could fill the disk under the open ones."""
        check_space(self.ledger.folder, self.settings.free_space_mb)

    async def put(
        self, run: str, user: User, labels: Labels, submission: dict[str, Any], *, cause: int = 0, source: str = ""
    ) -> Event:
        """Put a submission on disk; its event, whose `decision` is the queue and `fingerprint` the run that it is
        forked from, which it reads."""
        draft = Draft(
            kind=Kind.RUN_SUBMITTED,
            tenant=user.tenant,
            unit=user.unit,
            run=run,
            actor="gateway",
            actor_version=CORE_VERSION,
            principal=user.name,
            workflow=submission["workflow"],
            fingerprint=source,
            labels=labels,
            decision=submission["queue"],
            cause=cause,
        )
        payload = {**submission, "user": user.json()}
        pending = self.ledger.append(draft, payload)
        self.pasts.put(run, [(pending.event, parse(canonical(payload)))])
        return await pending.durable()
