"""What goes over the gateway's socket: one JSON object a line, each of a type in this file.

A request is `{"id": 1, "verb": "submit", "args": {...}}`. The answer is `{"id": 1, "result": ...}`, or
`{"id": 1, "error": {...}}`; a stream answers with any number of `{"id": 1, "item": ...}` before its result.

The gateway speaks first: `{"id": 0, "result": {...}}` with a Greeting, or `{"id": 0, "error": {...}}` and the end for a
caller it refuses. The id 0 is the connection's own; it also answers a line from which no id could be read.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from store.records.errors import SettingsError
from store.records.kinds import Status
from store.records.problems import problem


class Wire(BaseModel):
    """Base of all messages: unknown fields are refused. Built at first use, so that importing them is quick."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Request(Wire):
    """One call of a verb. `id` is the caller's to choose, and may be used again once it is answered."""

    id: int = Field(ge=1, le=2**53)
    verb: str
    args: dict[str, Any] = Field(default_factory=dict)


class Greeting(Wire):
    """What the gateway says first: its protocol, the process it runs in, and whom it takes the caller for."""

    protocol: int
    pid: int
    user: str


class Submission(Wire):
    """A task for the runtime. `attachments` are texts from elsewhere, and therefore untrusted."""

    task: str = Field(min_length=1, max_length=20_000)
    workflow: str = Field("", description="empty: the router chooses")
    input: dict[str, Any] = Field(default_factory=dict, description="the workflow's typed input, if it takes one")
    attachments: tuple[str, ...] = ()
    seed: int = 0
    queue: str = Field("", max_length=64, description="empty: the default queue")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """A submission of these. Raises SettingsError if it is none."""
        try:
            return cls(**given)
        except ValidationError as error:
            place, said = problem(error)
            raise SettingsError(f"the {place.partition('.')[0]} of a run is not usable: {said}") from None


class RunView(Wire):
    """One run, as far as the ledger knows it. `withheld`: task and outcome are left out, as it is another user's."""

    run: str
    status: Status
    queue: str = ""
    workflow: str
    principal: str
    task: str = ""
    forked: str = Field("", description="the run, step and event that it was forked from, if it was")
    resolved_by: Literal["", "model", "rule"] = ""
    outcome: str = ""
    error: str = Field("", description="the class of the error that ended or parked it, if one did")
    again_in_s: float | None = Field(None, description="a parked run is tried again by itself in so many seconds")
    started: str
    ended: str = ""
    events: int
    model_calls: int = 0
    tokens: int = 0
    device_ms: int = 0
    cost_micros: int = Field(0, description="in millionths of the site's currency unit")
    withheld: bool = False


class EventView(Wire):
    """One event with its hash and, where asked for, the value of its payload; or why that is `gone`."""

    event: dict[str, Any]
    hash: str
    payload: Any = None
    gone: str = ""


class Compensation(Wire):
    """What would undo an effect: a tool, its arguments as far as they are known, and those that the result gives."""

    tool: str
    arguments: dict[str, Any]
    of_the_result: tuple[str, ...] = ()


class ApprovalView(Wire):
    """A call that waits for people, whole, never cut: first all that their yes binds to, and the `digest` of that,
    by which a yes names it; then what there is to know besides.

    `plan` has digest and step of the frozen plan that the call is placed in, and is empty if there is none. `why` has
    the words of each policy that asks for a person, `approvers` of whom are needed, with `distinct` not who asked;
    `origins` says of each consequential argument where it comes from, and whether that counts as trusted; `yes` are
    those who have said yes. `may_answer` tells whether the caller's yes would count. Times are UTC ISO 8601.
    `withheld`: arguments, compensation and digest are left out, as the run is another user's.
    """

    tool: str
    tool_version: str = ""
    tool_digest: str = ""
    arguments: dict[str, Any]
    policy: str = ""
    policies: tuple[str, ...]
    user: dict[str, Any] = {}
    agent: tuple[str, str] = ("", "")
    workflow: str = ""
    workflow_version: int = 0
    labels: dict[str, Any]
    reviewed: bool = False
    key: str = ""
    plan: dict[str, str] = {}
    digest: str
    approval: str
    run: str
    step: str
    requester: str
    origins: tuple[dict[str, Any], ...] = ()
    why: dict[str, str] = {}
    description: str = ""
    egress: bool = False
    irreversible: bool = False
    compensation: Compensation | None = None
    approvers: int = 1
    distinct: bool = False
    yes: tuple[str, ...] = ()
    may_answer: bool = True
    since: str
    expires: str = ""
    left_s: float = 0.0
    withheld: bool = False

    def withhold(self) -> "ApprovalView":
        """The view without what was to be executed, and without the digest of it, which a yes needs."""
        return self.model_copy(update={"arguments": {}, "compensation": None, "digest": "", "withheld": True})

    def whole(self, other: "ApprovalView") -> "ApprovalView":
        """The view with what it withholds, from another one of the same request."""
        left_out = ("arguments", "compensation", "digest", "withheld")
        return self.model_copy(update={name: getattr(other, name) for name in left_out})


class Answer(Wire):
    """A person's answer to an approval. `meaning` is what they declare by it, in their own words; a yes needs the
    `digest` of what they looked at, or its first 8 characters or more."""

    approval: str
    yes: bool
    meaning: str = Field("", max_length=2000)
    digest: str = Field("", max_length=64)


class GrantSpec(Wire):
    """A standing grant as somebody asks for it: a yes to calls of a tool with these arguments, each with one of the
    values listed for it, of a user, an agent and a workflow (empty: any), until a time, so many times (None: any)."""

    tool: str
    arguments: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    user: str = Field("", max_length=200)
    agent: str = Field("", max_length=200)
    workflow: str = Field("", max_length=200)
    until: str = Field(
        max_length=40, description="a date, which it ends at the beginning of, or a time; UTC if not said"
    )
    times: int | None = Field(None, ge=1, le=2**53)
    irreversible: bool = False


class GrantView(Wire):
    """A standing grant: all that it says, of which `digest` is the digest, and how it stands. `id` is empty for one
    that is only shown. `state` is `standing`, or why it does nothing any more."""

    id: str = ""
    digest: str
    grant: dict[str, Any]
    state: str = ""
    used: int = 0


class ForkView(Wire):
    """A run that was forked: its id, and step and tool of the effects done before, which it does not repeat, and of
    those that its source began since, which it may do `again`."""

    run: str
    effects: tuple[tuple[str, str], ...] = ()
    again: tuple[tuple[str, str], ...] = ()


class QuestionView(Wire):
    """A question of a run that waits for a person. `form` is the JSON Schema of an answer; `to` a user or a role."""

    run: str
    step: str
    question: str
    form: dict[str, Any]
    to: str
    since: str
    due: str = ""


class VerifyView(Wire):
    """What verification of the ledger found; `problems` name the event and what is wrong with it.

    `unsigned` events at the end are covered by no checkpoint; `fingerprint` is of the key that signs these. `destroyed`
    payloads are gone, as events say; `locked` says why no content could be opened. `authenticated`: the key is the one
    that whoever asked had pinned; without it, a log that was made anew is found to be in order, too.
    """

    ok: bool
    events: int
    problems: tuple[str, ...] = ()
    unsigned: int = 0
    fingerprint: str = ""
    destroyed: int = 0
    locked: str = ""
    authenticated: bool = False


class ProofView(Wire):
    """Something signed, as text that `store/verify.py` checks, and the public key that signed it.

    `key` is written as C2SP writes a verifier key; `fingerprint`, the hex SHA-256 of the public key, is what to pin.
    """

    text: str
    key: str
    fingerprint: str


class ContentScope(Wire):
    """Whose content an order is about: a tenant's, or one user's (empty: the runtime's own), or of one class."""

    tenant: str
    user: str | None = None
    retention: str | None = None


class HoldView(Wire):
    """A legal hold: what must be kept, by whose order, since when and which event, and why (empty: that cannot be read
    any more)."""

    scope: ContentScope
    by: str
    since: str
    event: int
    reason: str = ""


class GoneView(Wire):
    """Content that was destroyed: how many payloads and data keys, the events that say so, and how many of the things
    that agents remember."""

    scope: str
    payloads: int
    keys: int = 0
    events: tuple[int, ...] = ()
    memories: int = 0


class TableUse(Wire):
    """A table of the log's database: its rows, and the bytes of its blocks."""

    table: str
    rows: int
    bytes: int


class ContentUse(Wire):
    """Content of a tenant in a retention class (`?`: its key is not there), and its encrypted bytes."""

    tenant: str
    retention: str
    payloads: int
    bytes: int


class MemoryUse(Wire):
    """What agents remember for a tenant in a retention class, and the bytes of its texts, tags and vectors."""

    tenant: str
    retention: str
    memories: int
    bytes: int


class StorageView(Wire):
    """What takes space, in bytes, by table, content, memory and kind of file; as store/ledger/storage.py has it.

    Tables, files and growth are the whole site's: there are none for a caller who may not read the whole log.
    """

    folder: str
    tables: tuple[TableUse, ...] = ()
    content: tuple[ContentUse, ...]
    memory: tuple[MemoryUse, ...] = ()
    files: dict[str, int] = {}
    free: int
    events_per_day: float | None = None
    bytes_per_day: float | None = None
    full_in_days: float | None = None


class BackupView(Wire):
    """A backup that was made and verified: its events, the signed checkpoint over them, and how many things that agents
    remember; None: nobody could tell it."""

    events: int
    checkpoint: str
    memories: int | None = None


class CheckpointView(Wire):
    """A checkpoint that was signed: over how many events, when (UTC), and the signed note."""

    size: int
    time: str
    note: str


class DestroyedView(Wire):
    """A payload that is no more, by its id, and the number of the event that says so."""

    event: int
    id: str


class TableView(Wire):
    """The rows of a query. `truncated` says that there are more."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool = False


class ModelView(Wire):
    """A model in memory, and what it took, in bytes. `fell_back`: there is a GPU, and not all of it is on it."""

    name: str
    kind: str
    sha256: str
    context: int
    layers: int
    layers_on_device: int
    device_bytes: int
    host_bytes: int
    fell_back: bool
    load_ms: int


class StatusView(Wire):
    """The state of a running runtime. `parts` maps an actor to its process id (0 while it is down).

    `open_runs` have been submitted and have not ended; nobody drives the `idle_runs` among them, nor
    will once there is a place. `models` are in
    memory, in the order of their loading; `model` is the first that chats; `counters` tell what they have done, as
    models/engine/counters.py names it.
    """

    pid: int
    epoch: int
    events: int
    open_runs: int
    idle_runs: int = 0
    halted: str = Field("", description="since when no effect may begin, if that is so")
    parts: dict[str, int]
    model: str = ""
    models: tuple[ModelView, ...] = ()
    counters: dict[str, float] = {}


class QueueView(Wire):
    """A queue: its limits (None: no limit), how many of its runs have a place and how many wait, and since when."""

    queue: str
    concurrency: int | None = None
    per_minute: int | None = None
    tenant_concurrency: int | None = None
    tenant_per_minute: int | None = None
    running: int
    queued: int
    oldest: str = Field("", description="UTC time at which the one that waits longest was submitted")


ScheduleChange = Literal["pause", "resume", "remove"]


class ScheduleSpec(Wire):
    """What is to be run, and when: a cron expression of five fields, read in a time zone."""

    name: str
    cron: str
    zone: str = "UTC"
    workflow: str
    task: str
    input: dict[str, Any] = Field(default_factory=dict)
    queue: str = ""


class ScheduleView(Wire):
    """A schedule, who set it up, when it fires next, and its last run and the time that was for.

    Times are ISO 8601 in the schedule's zone; `next` is empty for one that is paused, `last` and `run` before the
    first.
    """

    schedule: ScheduleSpec
    by: str
    paused: bool = False
    next: str = ""
    last: str = ""
    run: str = ""


class WhoView(Wire):
    """Whom the site takes the caller for, and where that was learned. `mode`: for one user, or as a service."""

    name: str
    uid: int
    tenant: str
    unit: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    mode: Literal["personal", "service"]
    source: str


class UserView(Wire):
    """A user of the directory."""

    name: str
    uid: int | None
    display: str
    mail: tuple[str, ...]
    tenant: str
    unit: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]


class TokenOrder(Wire):
    """A token that is wanted: for whom, for how many seconds, and for which of their roles (None: all)."""

    user: str = Field(min_length=1, max_length=64)
    expires_s: int
    roles: tuple[str, ...] | None = None


class IssuedView(Wire):
    """A token that was made, which is told this once, its id, and when it expires (UTC)."""

    token: str = Field(repr=False)
    id: str
    expires: str


class TokenView(Wire):
    """A token in the book: never the token itself."""

    id: str
    user: str
    roles: tuple[str, ...] | None
    by: str
    issued: str
    expires: str
    state: Literal["valid", "expired", "revoked"]


class Bearer(Wire):
    """What a caller over TCP says first."""

    token: str = Field(min_length=1, max_length=2048, repr=False)


class BudgetSpec(Wire):
    """A budget to be set: for an agent, a user, a business unit or the tenant (`*`: each of them), for each run, day or
    month. `limit` by unit (calls, tokens, device_ms, cost_micros); a unit that is not named stays as it is."""

    holder: Literal["agent", "user", "unit", "tenant"]
    name: str
    every: Literal["run", "day", "month"]
    limit: dict[str, int]


class BudgetView(Wire):
    """A budget, by unit: its limits, if there are any, and in this day or month what was used and is spoken for.

    One for each (`*`), or for each run, has used nothing itself. The holder `run` is any run, by what the settings
    allow it. `set_by` is who set it last, empty for a default.
    """

    tenant: str
    holder: str
    name: str
    every: str
    limit: dict[str, int]
    used: dict[str, int] = {}
    held: dict[str, int] = {}
    set_by: str = ""


class PolicyView(Wire):
    """One version of the site's policies, as the ledger keeps it: the name and text of each file, and the tools and
    inventory that it was read with. `event` put it there; `in_force` tells whether it decides now, as far as the ledger
    knows."""

    digest: str
    source: str
    files: tuple[tuple[str, str], ...]
    records: tuple[dict[str, Any], ...]
    inventory: dict[str, tuple[str, ...]]
    event: int
    in_force: bool = False


class PolicyChangeView(Wire):
    """Policies that are proposed, or have just come into force: their digest, that of those in force before, who
    proposed them, and by which event; how long they wait for somebody's word."""

    digest: str
    in_force: str
    by: str
    event: int
    left_s: float = 0.0


CostKey = Literal["agent", "user", "unit", "workflow", "model", "tool"]


class CostView(Wire):
    """What was used under one key of a tenant, and for how many runs. `name` is what people call the key.

    Money is in millionths; `micros_per_success`, rounded up, is None where no run was successful.
    """

    tenant: str
    key: str
    name: str = ""
    runs: int
    successful: int
    calls: int
    tokens: int
    device_ms: int
    cost_micros: int
    micros_per_success: int | None = None


class AlertView(Wire):
    """A workflow whose newest `runs` successful tasks cost more than it expects: since when, and both in millionths."""

    tenant: str
    workflow: str
    since: str
    mean_micros: int
    expected_micros: int
    runs: int


class Failure(Wire):
    """A BailiwickError on the wire."""

    kind: str
    what: str
    where: str = ""
    do: str = ""
