"""The README's table of every default is the code's: each setting is in it, and each value is what is really there."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from runtime.cli.tokens import issue
from runtime.conductor.children import DEEPEST
from runtime.conductor.granting import LONGEST
from runtime.conductor.retries import LONGEST_S
from runtime.conductor.thinking import LEAST_CONFIDENCE
from runtime.contract.run import USUAL, Run
from runtime.contract.workflow import workflow
from runtime.gate.amount import NO_LIMIT, WORDS
from runtime.gate.limits import HOLDERS, PERIODS, USER_DAY, Limits
from runtime.gate.rates import FREE
from runtime.gate.terms import ONE
from runtime.gateway.session import Limits as Taken
from runtime.notices import NotifyBy
from runtime.settings import QueueLimits, Settings
from runtime.tokens.book import MOST_S
from store.ledger.notary import INTERVAL_S
from tools.catalog import Classification, Server
from tools.record import ToolRecord

README = (Path(__file__).parents[2] / "README.md").read_text()


def told(value: object) -> str:
    """A default as the table writes it."""
    if value is None or value == FREE or value in ("", (), {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return "no limit" if value == NO_LIMIT else f"{value:,}"
    return f"{value:,g}" if isinstance(value, float) else str(value)


def limits(model: Any) -> dict[str, str]:
    """A model's fields, in which nothing is no limit."""
    return {name: "no limit" if field.default is None else told(field.default) for name, field in model.items()}


def of_settings(home: Path) -> dict[str, str]:
    """Every setting, and what those that have parts are made of."""
    found = {
        f"`{name}`": told(field.get_default(call_default_factory=True)) for name, field in Settings.model_fields.items()
    }
    found = {name: value.replace(str(home), "~") for name, value in found.items()}
    one_way = {"command", "webhook"}
    found |= {
        f"`notify.{name}`": told(field.default) for name, field in NotifyBy.model_fields.items() if name not in one_way
    }
    return found | {f"`queues.*.{name}`": value for name, value in limits(QueueLimits.model_fields).items()}


def of_tools() -> dict[str, str]:
    """How a tool is taken that nobody classified."""
    names = ("effect", "egress", "irreversible", "consequential", "timeout_s")
    for name in names:
        assert Classification.model_fields[name].default == ToolRecord.model_fields[name].default
    found = {f"tools file: `{name}`": told(Classification.model_fields[name].default) for name in names}
    output = Classification.model_fields["output"].default
    found |= {f"tools file: `output.{name}`": value for name, value in output.model_dump().items()}
    return found | {"tools file: `start_timeout_s`": told(Server.model_fields["start_timeout_s"].default)}


def of_workflows() -> dict[str, str]:
    """What an author need not say."""

    def default(function: Any, parameter: str) -> str:
        return told(inspect.signature(function).parameters[parameter].default)

    found = {f"workflow: `{name}`": default(workflow, name) for name in ("by_model", "tools")}
    found |= {"workflow: `work(turns=)`": default(Run.work, "turns")}
    found |= {"workflow: `input(expires_s=)`": default(Run.input, "expires_s")}
    pauses = ("attempts", "first_s", "factor", "most_s")
    return found | {f"workflow: `Backoff({name}=)`": told(getattr(USUAL, name)) for name in pauses}


def of_budgets() -> dict[str, str]:
    """What each user may use on a day; everybody and everything else has no limit until somebody sets one."""
    day = dict(zip(WORDS.values(), USER_DAY.units, strict=True))
    day["device seconds"] //= 1000
    for holder in HOLDERS:
        for every in PERIODS:
            if (holder, every) != ("user", "day"):
                assert set(Limits().of("local", holder, "x", every)) == {NO_LIMIT}
    return {f"{word} a day": told(value) for word, value in day.items()} | {"all other budgets": "no limit"}


def fixed() -> dict[str, str]:
    """What no setting changes."""
    taken = Taken()
    expires = inspect.signature(issue).parameters["expires"]
    assert expires.default is inspect.Parameter.empty
    return {
        "policy: `@approvers`": told(ONE.approvers),
        "`tokens issue --expires`": "required",
        "longest token": told(MOST_S),
        "longest grant": told(LONGEST.total_seconds().__int__()),
        "deepest run": told(DEEPEST),
        "least confidence": told(LEAST_CONFIDENCE),
        "longest pause": told(LONGEST_S),
        "checkpoints": told(INTERVAL_S),
        "connections": told(taken.connections),
        "requests": told(taken.requests),
        "request bytes": told(taken.request_bytes),
        "unread answer": told(taken.stall_s),
    }


def test_the_table_gives_every_default_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: "UID")
    real = of_settings(tmp_path) | of_tools() | of_workflows() | of_budgets() | fixed()
    text = README.split("\n### Every default\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (\S[^|]*?) \| ([^|]*?) \| [^|]+ \|$", text, re.MULTILINE)[2:]
    assert len({name for name, _ in rows}) == len(rows), "each stands in it once"
    assert dict(rows) == real


def test_no_other_table_of_the_readme_gives_defaults() -> None:
    assert README.count("| default |") == 1
