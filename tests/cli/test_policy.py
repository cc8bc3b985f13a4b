"""`bailiwick policy` in a process of its own: tests, differences, explanations, and a change of what is in force."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.gate.call import ToolCall
from runtime.gate.governed import Governed
from runtime.gate.inventory import Inventory
from runtime.policing import Policing
from store.ledger.ledger import Ledger
from store.records.errors import Denied
from store.records.event import Draft
from store.records.identity import Agent, Principal, User
from store.records.kinds import Kind
from store.records.labels import trusted
from tools.record import ToolRecord

HOLDER = Path(__file__).with_name("holder.py")
OPEN = '@id("all") permit (principal, action, resource);\n'
SHUT = '@id("no") @reason("Not here.") forbid (principal, action, resource) when { context.egress };\n'
TEST = """
[tools."a.act"]
arguments = { to = "string" }
[[test]]
name = "acts"
tool = "a.act"
arguments = { to = "x" }
decide = "allow"
by = ["all"]
"""
READ = ToolRecord(name="a.read", effect="read", egress=False, irreversible=False)  # type: ignore[arg-type]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A set with a test of its own."""
    folder = tmp_path / "rules"
    folder.mkdir(mode=0o700)
    (folder / "site.cedar").write_text(OPEN)
    (folder / "site.test.toml").write_text(TEST)
    return folder


def test_the_tests_of_a_set(command: Any, rules: Path) -> None:
    done = command("policy", "test", str(rules))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "1 of 1 tests pass"
    (rules / "site.cedar").write_text(SHUT + OPEN)
    done = command("policy", "test", str(rules))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "acts: must be allow by all, is deny by no" in done.out
    found = command("policy", "test", str(rules), "--json").json
    assert (found["ok"], len(found["tests"])) == (False, 1)
    (rules / "site.test.toml").write_text("[[test")
    done = command("policy", "test", str(rules))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "site.test.toml" in done.err


@pytest.mark.parametrize("name", ["strict", "lab"])
def test_the_shipped_sets_pass_theirs(command: Any, name: str) -> None:
    assert command("policy", "test", name, "--json").json["ok"]


def test_a_set_without_tests_says_so(command: Any, rules: Path) -> None:
    (rules / "site.test.toml").unlink()
    done = command("policy", "test", str(rules))
    assert (done.code, done.out) == (0, "the set has no tests\n")
    (rules / "site.cedar").write_text("permit (principal")
    done = command("policy", "test", str(rules))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "site.cedar:1" in done.err


def test_what_a_change_would_do(command: Any, rules: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.cedar"
    other.write_text(OPEN + SHUT)
    done = command("policy", "diff", str(rules), str(other))
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("allow -> deny: ")
    assert done.out.splitlines()[-1].strip() == "leaves yes"
    found = command("policy", "diff", str(rules), str(rules), "--json").json
    assert (found["changes"], found["kinds"] > 0) == ([], True)
    assert "no decision changes" in command("policy", "diff", str(rules), str(rules)).out
    done = command("policy", "diff", str(rules), str(other), "--tool", "a.b")
    assert (done.code, "no such tool" in done.err) == (2, True)


def test_what_would_be_decided(command: Any, rules: Path) -> None:
    (rules / "site.cedar").write_text(OPEN + SHUT)
    sheet = str(rules / "site.test.toml")
    done = command("policy", "explain", "--call", sheet, "--policy", str(rules))
    assert done.code == 0
    assert done.out.splitlines()[:3] == ["acts", "deny by no", "  User somebody: deny by no"]
    assert "Not here." in done.out
    assert '    @id("no")' in done.out.splitlines()[-1]
    (found,) = command("policy", "explain", "--call", sheet, "--policy", str(rules), "--json").json
    assert (found["decision"], found["seen"]["context"]["args"]) == ("deny", {"to": "x"})
    (rules / "site.cedar").write_text(OPEN + '@id("approval:x") forbid (principal, action, resource);\n')
    done = command("policy", "explain", "--call", sheet, "--policy", str(rules))
    assert done.out.splitlines()[1] == "suspend by approval:x, until a person agrees"
    for flags, said in (
        ([], "one call"),
        (["12", "--tool", "a.act"], "one call"),
        (["--tool", "a.act"], "no tool is called a.act"),
        (["--tool", "a.act", "--role", "boss"], "no role is called 'boss' (--role); there are requester"),
        (["--call", "/nowhere"], "(/nowhere); check the path"),
    ):
        done = command("policy", "explain", *flags, "--policy", str(rules))
        assert (done.code, done.err.count("\n"), said in done.err) == (2, 1, True), done.err


def test_a_past_decision(command: Any, rules: Path, tmp_path: Path) -> None:
    user = User("ada", os.geteuid(), "local", "ops", ("requester",))
    (rules / "site.cedar").write_text('@id("few") permit (principal is User, action, resource);\n')
    (rules / "site.test.toml").unlink()
    with Ledger.open(tmp_path / "data") as ledger:
        policing = Policing(ledger, str(rules), {READ.name: READ}, Inventory(), again=False, expiry_s=1.0)
        policing.start(user, "local")
        unused: Any = None
        common = {"tenant": "local", "actor": "core", "actor_version": "1", "principal": "ada", "run": "r1aaaa"}
        ledger.append(Draft(kind=Kind.RUN_SUBMITTED, **common), {"task": "t", "user": user.json()})  # type: ignore[arg-type]
        call = ToolCall("r1aaaa", "7", READ, {}, Principal(user, Agent("worker", "1")), trusted("local", "user"))
        with pytest.raises(Denied):
            Governed(unused, policing.judge, ledger).judge(call)
        ledger.flush()
        number = ledger.last_seq()
    (rules / "site.cedar").write_text(OPEN)  # of no account: what decided is kept
    for what in ([str(number)], ["r1aa"], ["r1aaaa", "7"]):
        done = command("policy", "explain", *what)
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines()[0] == f"event {number}: deny by no policy"
        assert "Agent worker: deny by no policy" in done.out
    found = command("policy", "explain", str(number), "--json").json
    assert (found["same"], found["exact"], found["event"]) == (True, True, number)
    for what in (["1"], ["999"], ["r9"], ["r1aaaa", "8"]):
        done = command("policy", "explain", *what)
        assert (done.code, done.err.count("\n")) == (2, 1)


@pytest.fixture
def policed(ledger: Path, rules: Path, tmp_path: Path) -> Iterator[None]:
    """A process that has the policies of `rules` in force."""
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    pipe = subprocess.PIPE
    words = [sys.executable, str(HOLDER), str(ledger), str(rules)]
    with subprocess.Popen(words, env=environ, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        yield
        child.communicate()
    assert child.returncode == 0


def test_other_policies_are_put_in_force(command: Callable[..., Any], policed: None, rules: Path) -> None:
    assert command("policy", "proposed").out == "no policies are proposed\n"
    done = command("policy", "reload")
    assert (done.code, "these policies are in force" in done.err) == (2, True)
    (rules / "site.cedar").write_text(OPEN + SHUT)
    done = command("policy", "reload")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the policies in force stay: a test of the policies fails, 'acts'" in done.err
    (rules / "site.cedar").write_text(OPEN + SHUT.replace("egress", "irreversible && context.reviewed"))
    found = command("policy", "reload", "--json").json
    (change,) = found["difference"]["changes"]
    assert (change["before"], change["after"], change["where"]) == (
        "allow",
        "deny",
        [{"final": ["yes"], "reviewed": ["yes"]}],
    )
    done = command("policy", "proposed")
    assert done.out.splitlines()[-1] == f"to have them in force: bailiwick policy approve {found['digest'][:8]}"
    assert command("policy", "approve", "00000000").code == 2
    done = command("policy", "approve", found["digest"][:8], "--meaning", "seen")
    assert (done.code, done.out) == (0, f"in force: {found['digest']}\n")
    assert command("policy", "approve", found["digest"][:8]).code == 2


def test_without_a_runtime_nothing_is_put_in_force(command: Any) -> None:
    for verb in (["reload"], ["proposed"], ["approve", "00000000"]):
        assert command("policy", *verb).code == 3
