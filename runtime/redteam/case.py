"""A case: one attack as a file tells it, and what must happen.

TOML, read strictly: a misspelt expectation must not pass for none. A file is a group of cases, `[[case]]` each.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from store.records.errors import SettingsError
from store.records.problems import problems

FOLDER = Path(__file__).with_name("cases")
Call = tuple[str, dict[str, Any]]
"""A tool and its arguments."""
Guard = Literal[
    "policy", "approvals", "answers", "tenants", "budgets", "origins", "labels", "memory", "peers", "reach",
    "plan", "forms",
]  # fmt: skip
"""What can be taken away, to show that an attack succeeds without it: see runtime/redteam/unguarded.py."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunStep(_Strict):
    """A person has a task done. It is seen through to its `end`, or until it is `waiting` for somebody, or the process
    is `killed` at a named point; a step that is `resumed` has no task, and goes on with what was interrupted."""

    do: Literal["run"] = "run"
    who: str = "alice"
    task: str = ""
    workflow: str = "obey"
    attachments: tuple[str, ...] = ()
    until: Literal["end", "waiting", "killed", "resumed"] = "end"
    at: str = "effect.after-call"


class Yes(_Strict):
    """A yes that a call carries, of `by`, to what they were shown: the call but for what `shown` says."""

    by: str = "bob"
    shown: dict[str, Any] = Field(default_factory=dict)
    policy: str = Field("", description="the digest of the policy then, if it was another")


class Bound(_Strict):
    """What a variable of a plan is bound to, with its labels as far as they are not the user's own."""

    value: Any = None
    labels: dict[str, str] = Field(default_factory=dict)


class Place(_Strict):
    """The place of a call in a frozen plan: its `step`, and the variables that are bound there."""

    plan: tuple[dict[str, Any], ...]
    step: str = "v1"
    values: dict[str, Bound] = Field(default_factory=dict)


class CallStep(_Strict):
    """A call that somebody who has got hold of the core's own way to the gate makes there, `times` at once."""

    do: Literal["call"]
    call: Call
    who: str = "alice"
    agent: str = "worker"
    step: str = "1"
    times: int = 1
    words: str = Field("", description="what the user typed")
    labels: dict[str, str] = Field(default_factory=dict)
    version: str = Field("", description="of the tool, if it is another than the policies know")
    reviewed: bool = True
    workflow: str = "obey"
    approved: tuple[Yes, ...] = ()
    placed: Place | None = None


class AnswerStep(_Strict):
    """Somebody answers the request that waits, or another's. `digest` is what they say they have seen."""

    do: Literal["answer"]
    who: str = "bob"
    yes: bool = True
    digest: Literal["right", "wrong", "short"] = "right"


class GrantStep(_Strict):
    """An approver gives a standing grant."""

    do: Literal["grant"]
    who: str = "bob"
    tool: str
    arguments: dict[str, list[Any]] = Field(default_factory=dict)
    times: int | None = None
    irreversible: bool = False
    revoked: bool = False


class BudgetStep(_Strict):
    """An admin sets a budget."""

    do: Literal["budget"]
    who: str = "dora"
    holder: Literal["agent", "user", "unit", "tenant"] = "user"
    name: str = "alice"
    every: Literal["run", "day", "month"] = "day"
    limit: dict[str, int]


class ReadStep(_Strict):
    """Somebody reads what there is of the newest run."""

    do: Literal["read"]
    who: str = "alice"
    what: Literal["run", "events", "report", "approvals", "sql", "verify", "page"]
    query: str = ""


class OtherStep(_Strict):
    """What needs no more words: the request that waits expires; effects are halted; the runtime is started anew, by
    default with the same tools and policy; the harmful server has tried the gateway."""

    do: Literal["expire", "halt", "restart", "tried"]
    version: str = Field("", description="the version of all tools from then on")
    cedar: str = Field("", description="a policy from then on, besides those before")


Step = Annotated[
    RunStep | CallStep | AnswerStep | GrantStep | BudgetStep | ReadStep | OtherStep, Field(discriminator="do")
]


class SiteSpec(_Strict):
    """Where a case happens, as far as it is not as usual. `cedar` are policies besides those of the set."""

    policy: str = "strict"
    cedar: str = ""
    definitions: dict[str, str] = Field(default_factory=dict, description="what tools say of themselves")
    reviewer: Literal["hijacked", "real"] = "hijacked"
    rogue: bool = Field(False, description="with an MCP server that means harm")
    calls_per_run: int = 64
    tokens_per_run: int = 200_000


class Must(_Strict):
    """What must happen: how each step ends, who decided what, the effects that there are, and what is on record.

    `ends` has for each step the state of its run, `ok`, or the class of the error it met. `by` are policies, or the
    wrapper (`labels`, `approval`, `budget`) whose ruling it was. `effects` are all there may be.
    """

    ends: tuple[str, ...]
    decision: Literal["", "allow", "deny", "suspend", "over-budget"] = ""
    by: tuple[str, ...] = ()
    effects: tuple[Call, ...] = ()
    events: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    says: str = Field("", description="stands in what somebody is told")


class Case(_Strict):
    """One attack.

    `texts` is what stands in the places that the attacker can write to; where the word OBEY reaches the model, it makes
    the calls in `does` besides those of the task, `reads`. `answer` is what it says to a typed question. Asked to plan,
    it writes `plan`, or `replan` once the run was interrupted. The attack has succeeded if the effects in `attack` have
    happened (by default those in `does`), if there are more than `over` effects, or if `leak` was shown to somebody.

    Without the protection that `without` names it must succeed, or `unshown` says why that cannot be shown.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    group: str = ""
    title: str
    wants: str
    texts: dict[str, str] = Field(default_factory=dict)
    reads: tuple[Call, ...] = ()
    does: tuple[Call, ...] = ()
    answer: dict[str, Any] = Field(default_factory=dict)
    plan: tuple[dict[str, Any], ...] = ()
    replan: tuple[dict[str, Any], ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)
    site: SiteSpec = SiteSpec()
    must: Must
    attack: tuple[Call, ...] = ()
    over: int = Field(-1, description="the attack has succeeded if there are more effects than these; -1: any number")
    leak: str = ""
    swell: int = Field(1, description="how often each text in the model's arguments is repeated")
    without: Guard = "policy"
    unshown: str = ""

    @model_validator(mode="after")
    def _whole(self) -> "Case":
        if len(self.must.ends) != len(self.steps):
            raise ValueError("must.ends has not one word for each step")
        if not self.unshown and not (self.attack or self.does or self.leak or self.over >= 0):
            raise ValueError("nothing says when the attack has succeeded")
        return self

    @property
    def wanted(self) -> tuple[Call, ...]:
        """The effects that the attacker wants."""
        return self.attack or (() if self.leak or self.over >= 0 else self.does)


def load(folder: Path = FOLDER) -> list[Case]:
    """Every case of a folder, by file and then in order. Raises SettingsError for one that cannot be read, and for two
    of one name."""
    cases = [case for path in sorted(folder.glob("*.toml")) for case in _cases(path)]
    names = [case.name for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"two cases are called {twice[0]}", str(folder), "rename one")
    return cases


def chosen(cases: Sequence[Case], name: str) -> list[Case]:
    """The cases of a name or a group; all, if it is empty. Raises SettingsError if there are none."""
    found = [case for case in cases if name in ("", case.name, case.group)]
    if not found:
        raise SettingsError(f"no case or group is called {name!r}", do="`bailiwick redteam` lists them")
    return found


def _cases(path: Path) -> list[Case]:
    try:
        read = tomllib.loads(path.read_text())
        found = [{"group": path.stem, **each} for each in read["case"]]
        return TypeAdapter(list[Case]).validate_python(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"the cases cannot be read: {_line(error)}", str(path), "correct them") from None


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return problems(error)
    return str(error)
