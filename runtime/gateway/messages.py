"""What goes over the gateway's socket: one JSON object a line, each of a type in this file.

A request is `{"id": 1, "verb": "submit", "args": {...}}`. The answer is `{"id": 1, "result": ...}`, or
`{"id": 1, "error": {...}}`; a stream answers with any number of `{"id": 1, "item": ...}` before its result.

The gateway speaks first: `{"id": 0, "result": {...}}` with a Greeting, or `{"id": 0, "error": {...}}` and the end for a
caller it refuses. The id 0 is the connection's own; it also answers a line from which no id could be read.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from store.records.kinds import Status


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


class RunView(Wire):
    """One run, as far as the ledger knows it."""

    run: str
    status: Status
    queue: str = ""
    workflow: str
    principal: str
    task: str = ""
    resolved_by: Literal["", "model", "rule"] = ""
    outcome: str = ""
    error: str = Field("", description="the class of the error that ended or parked it, if one did")
    started: str
    ended: str = ""
    events: int
    model_calls: int = 0
    tokens: int = 0
    device_ms: int = 0


class EventView(Wire):
    """One event with its hash and, where asked for, the value of its payload; or why that is `gone`."""

    event: dict[str, Any]
    hash: str
    payload: Any = None
    gone: str = ""


class ApprovalView(Wire):
    """A call that waits for a person. `arguments` are whole, never cut."""

    approval: str
    run: str
    step: str
    tool: str
    arguments: dict[str, Any]
    requester: str
    policies: tuple[str, ...]
    binding: str
    labels: dict[str, Any]
    since: str


class Answer(Wire):
    """A person's answer to an approval. `meaning` is what they declare by it, in their own words."""

    approval: str
    yes: bool
    meaning: str = ""


class ForkView(Wire):
    """A run that was forked: its id, and step and tool of the effects done before, which it does not repeat."""

    run: str
    effects: tuple[tuple[str, str], ...] = ()


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
    payloads are gone, as events say; `locked` says why no content could be opened.
    """

    ok: bool
    events: int
    problems: tuple[str, ...] = ()
    unsigned: int = 0
    fingerprint: str = ""
    destroyed: int = 0
    locked: str = ""


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


class GoneView(Wire):
    """Content that was destroyed: how many payloads and data keys, and the events that say so."""

    scope: str
    payloads: int
    keys: int = 0
    events: tuple[int, ...] = ()


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


class StorageView(Wire):
    """What takes space, in bytes, by table, content and kind of file; as store/ledger/storage.py has it."""

    folder: str
    tables: tuple[TableUse, ...]
    content: tuple[ContentUse, ...]
    files: dict[str, int]
    free: int
    events_per_day: float
    bytes_per_day: float
    full_in_days: float | None = None


class BackupView(Wire):
    """A backup that was made and verified: its events, and the signed checkpoint over them."""

    events: int
    checkpoint: str


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


class Failure(Wire):
    """A BailiwickError on the wire."""

    kind: str
    what: str
    where: str = ""
    do: str = ""
