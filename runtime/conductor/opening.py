"""How a life of a run is begun: from what is on record of it, to the point where the workflow can be driven.

A run whose record cannot be read is parked: nobody knows what it has done, so nothing is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.conductor.clock import Clock
from runtime.conductor.journal import Journal
from runtime.conductor.life import UNROUTED, Life
from runtime.conductor.past import carried, whole
from runtime.conductor.queues import Queues
from runtime.conductor.scope import CORE_VERSION, Children, Scope
from runtime.conductor.services import Services
from runtime.conductor.turns import Turns
from runtime.conductor.waits import Waits
from runtime.contract.workflow import Workflow
from runtime.gate.provenance.grounds import Grounds
from store.ledger.gap import RESTORED
from store.ledger.ledger import Ledger
from store.records.canonical import Json
from store.records.errors import BailiwickError, IntegrityError, Missing, describe
from store.records.event import Draft, Event
from store.records.identity import User
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels


@dataclass(frozen=True)
class Opening:
    """What every life of one core begins with. `children` makes the runs that a run begins."""

    ledger: Ledger
    services: Services
    workflows: Mapping[str, Workflow]
    queues: Queues
    children: Children

    async def life(self, run: str, *, asked_for: bool) -> Life | None:
        """A life of a run on record as begun; None if it has ended, or cannot be begun and is parked.

        That a parked run goes on is not said before it has something to tell, unless somebody has `asked_for` it.
        """
        events = self.services.recorder.pasts.take(run)
        known = [event for event, _ in events] if events else self.ledger.run_events(run)
        first, last = known[0], known[-1]
        try:
            events = events or whole(self.ledger, known)
            if events[-1][0].kind == Kind.RUN_ENDED:
                return None
            if not self.queues.knows(first.decision):
                what = f"the run's queue {first.decision!r} is not declared here"
                raise Missing(what, run, "declare it in the settings, then `bailiwick resume`")
            submission = events[0][1]
            scope = self._scope(first, submission, Journal.read([*carried(self.ledger, events), *events]))
        except BailiwickError as error:
            await self._unreadable(first, last, error)
            return None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            damage = IntegrityError(f"its record cannot be read: {type(error).__name__}", run)
            await self._unreadable(first, last, damage)
            return None
        if self._parent_is_over(run):
            scope.stopping = Kind.RUN_CANCELLING
        self._say(scope, first, asked_for=asked_for, begun=any(each.kind == Kind.RUN_STARTED for each, _ in events))
        return Life(self.workflows, Waits(scope), submission["workflow"])

    def _say(self, scope: Scope, first: Event, *, asked_for: bool, begun: bool) -> None:
        """Put on record that the run starts or goes on; or have that said later."""
        recorder, journal = self.services.recorder, scope.journal
        if not begun:
            recorder.append(scope.draft(Kind.RUN_STARTED, labels=scope.labels, decision=first.decision))
            return
        resumed = scope.draft(Kind.RUN_RESUMED, labels=scope.labels)
        if journal.parked is None or journal.stopping or asked_for or journal.parked.decision == RESTORED:
            recorder.append(resumed)
        else:
            recorder.begin(resumed)

    def _scope(self, first: Event, submission: Json, journal: Journal) -> Scope:
        user = User.parse(submission["user"])
        labels = first.labels or Labels(user.tenant)
        if submission["attachments"]:
            labels = labels.join(Labels(user.tenant, Classification.INTERNAL, Integrity.UNTRUSTED, ("attachment",)))
        return Scope(
            run=first.run,
            user=user,
            task=submission["task"],
            attachments=tuple(submission["attachments"]),
            seed=submission["seed"],
            input=submission["input"],
            workflow=self.workflows.get(submission["workflow"], UNROUTED),
            journal=journal,
            labels=labels,
            grounds=Grounds(words=_words(submission)),
            services=self.services,
            clock=Clock(self.services.settings.run_timeout_s),
            turns=Turns(journal.steps),
            children=self.children,
            rights=None if submission.get("rights") is None else frozenset(submission["rights"]),
            stopping=journal.stopping if journal.stopping == Kind.RUN_CANCELLING else None,
        )

    def _parent_is_over(self, run: str) -> bool:
        """Whether the run that began this one has ended, or is being cancelled."""
        parent = run.rpartition("-")[0]
        stops = [Kind.RUN_ENDED, Kind.RUN_CANCELLING]
        return bool(parent and self.ledger.events(run=parent, limit=1, kinds=stops))

    async def _unreadable(self, first: Event, last: Event, error: BailiwickError) -> None:
        """Park a run that cannot even be begun, unless it is: its record cannot be read, say."""
        decision = type(error).__name__.lower()
        if (last.kind, last.decision) == (Kind.RUN_PARKED, decision):
            return
        draft = Draft(
            kind=Kind.RUN_PARKED,
            tenant=first.tenant,
            unit=first.unit,
            run=first.run,
            actor="core",
            actor_version=CORE_VERSION,
            principal=first.principal,
            decision=decision,
        )
        await self.ledger.append(draft, {"error": describe(error), "text": str(error)}).durable()


def _words(submission: Json) -> tuple[str, ...]:
    """What the user typed. The task of a run that another began is that run's text, and may be made of anything."""
    if "words" in submission:
        return tuple(submission["words"])
    return () if "rights" in submission else (submission["task"],)
