"""`bailiwick policy explain`: why a call was decided as it was, or would be."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runtime.cli.page import plain, row, show
from runtime.cli.site import AsJson, Site, verb, wait_for
from store.records.errors import INTEGRITY, OK, SettingsError
from store.records.identity import ROLES

if TYPE_CHECKING:
    from runtime.explaining import Past
    from runtime.gate.policy_explanation import Explanation
    from runtime.gate.policy_sheet import Sheet
    from runtime.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb `explain`."""
    verb(app, "explain")(explain)


def explain(
    site: Site,
    what: Annotated[str, typer.Argument(metavar="[EVENT|RUN]", help="An event's number, or a run's id.")] = "",
    step: Annotated[str, typer.Argument(help="A step of the run; its newest denial or wait if not given.")] = "",
    call: Annotated[
        Path | None, typer.Option("--call", metavar="FILE", help="Calls as the tests of policies write them.")
    ] = None,
    tool: Annotated[str, typer.Option(metavar="NAME", help="A tool, for a call that nobody made.")] = "",
    arguments: Annotated[
        list[str] | None, typer.Option("--argument", metavar="NAME=VALUE", help="An argument of the call.")
    ] = None,
    user: Annotated[str, typer.Option(metavar="NAME", help="On whose behalf.")] = "somebody",
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="A role of theirs; requester if not given.")
    ] = None,
    agent: Annotated[str, typer.Option(metavar="NAME", help="The agent that acts.")] = "worker",
    workflow: Annotated[str, typer.Option(metavar="NAME", help="The workflow it acts in.")] = "",
    reviewed: Annotated[bool, typer.Option("--reviewed", help="The reviewer has agreed.")] = False,
    integrity: Annotated[
        Literal["trusted", "untrusted"], typer.Option(help="Of everything that led to the call.")
    ] = "trusted",
    classification: Annotated[
        Literal["public", "internal", "confidential", "restricted"], typer.Option(help="Likewise.")
    ] = "internal",
    untrusted: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An argument that nothing vouches for.")
    ] = None,
    policy: Annotated[str, typer.Option(metavar="SET", help="Policies for a call that nobody made.")] = "",
    tools: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A tools file with its tool.")] = None,
    json: AsJson = False,
) -> int:
    """Why a call was decided as it was, by the policies of then; or how one would be: --tool NAME, or --call FILE."""
    if [bool(what), call is not None, bool(tool)].count(True) != 1:
        what = "one call can be explained at a time"
        raise SettingsError(what, do="name an event, or a run and a step, or --tool NAME, or --call FILE")
    if what:
        return _past(site.settings(), what, step, json)
    if unknown := [each for each in role or () if each not in ROLES]:
        raise SettingsError(f"no role is called {unknown[0][:40]!r}", "--role", f"there are {', '.join(ROLES)}")
    settings = site.on("nothing").settings(tools=tools or None, policy=policy or None)
    if call is not None:
        _hypothetical(settings, _sheet(call), bool(tools), json)
        return OK
    case = {
        "tool": tool,
        "arguments": _arguments(arguments or []),
        "user": user,
        "roles": role or ["requester"],
        "agent": agent,
        "workflow": workflow,
        "reviewed": reviewed,
        "integrity": integrity,
        "classification": classification,
        "untrusted": untrusted or [],
    }
    _hypothetical(settings, _single(case), bool(settings.tools), json)
    return OK


def _past(settings: "Settings", what: str, step: str, json: bool) -> int:
    """Explain what is on record; exit code 7 if the policies of then do not say what they are recorded to have said."""
    from runtime.cli.backend import queries, trail
    from runtime.diagnostics import say
    from runtime.explaining import explain_event, ruling_in

    async def ask() -> "Past":
        if what.isascii() and what.isdecimal() and not step:
            number = int(what)
        else:
            _, events = await trail(settings, what, payloads=True)
            number = ruling_in(events, step)
        async with queries(settings) as q:
            return await explain_event(q, number)

    past = wait_for(ask())
    if json:
        show(past.json())
    else:
        print(plain(f"event {past.event}: {past.decision} by {', '.join(past.policies) or 'no policy'}"))
        _print(past.explanation)
    if not past.exact:
        say("this version of the runtime reads the policies of then otherwise, so it may decide otherwise")
    if not past.same:
        say(f"the policies do not say what is on record of them (event {past.event})")
    return OK if past.same else INTEGRITY


def _hypothetical(settings: "Settings", sheet: "Sheet", ask_servers: bool, json: bool) -> None:
    from runtime.cli.policy import offered
    from runtime.embedded import inventory
    from runtime.gate.policy import Policy
    from runtime.gate.policy_explanation import explain
    from runtime.gate.policy_files import policy_files

    records = {record.name: record for record in (offered(settings) if ask_servers else ())} | dict(sheet.tools)
    objects = sheet.inventory or inventory(settings.inventory)
    policy = Policy.of(policy_files(settings.policy), records.values(), objects, more_tools=True)
    if not sheet.cases:
        raise SettingsError("there is no call in it", sheet.path, "write one as a [[test]]")
    found = [(case.name or case.tool, explain(policy, case.call(records))) for case in sheet.cases]
    if json:
        show([{"name": name, **each.json()} for name, each in found])
        return
    for number, (name, each) in enumerate(found):
        print(("\n" if number else "") + plain(name))
        _print(each)


def _print(found: "Explanation") -> None:
    """What would be, by whom; then each policy that had a say, in its own words."""
    decision = found.decision
    alone = decision.terms.approvers == 1
    people = "a person" if alone else f"{decision.terms.approvers} people"
    other = " other than who asked" if decision.terms.distinct else ""
    held = f", until {people}{other} {'agrees' if alone else 'agree'}"
    by = ", ".join(decision.policies) or "no policy"
    print(plain(f"{decision.effect} by {by}{held if decision.effect == 'suspend' else ''}"))
    for error in decision.errors:
        row("  cannot be judged: ", plain(error))
    for part in found.parts:
        said = f"{part.decision.effect} by {', '.join(part.decision.policies) or 'no policy'}"
        silent = f"; these permits do not hold: {', '.join(part.silent)}" if part.silent else ""
        row("  ", plain(f"{part.principal}: {said}{silent}"))
    if found.seen is not None:
        row("  policies see: ", plain(found.seen))
    row("  policies: ", decision.policy_digest)
    for rule in found.rules:
        print(plain(f"  {rule.name} ({rule.where}){': ' if rule.reason else ''}{rule.reason}"))
        for line in rule.text.splitlines():
            print(f"    {plain(line)}")


def _sheet(path: Path) -> "Sheet":
    from runtime.gate.policy_files import PolicyFile
    from runtime.gate.policy_sheet import Sheet

    try:
        return Sheet.parse(PolicyFile(str(path), path.read_bytes().decode()))
    except OSError as error:
        raise SettingsError(f"the file cannot be read: {error.strerror}", str(path), "check the path") from None
    except UnicodeDecodeError:
        raise SettingsError("the file is not UTF-8 text", str(path)) from None


def _single(case: dict[str, Any]) -> "Sheet":
    import json as text_of

    from runtime.gate.policy_files import PolicyFile
    from runtime.gate.policy_sheet import Sheet

    return Sheet.parse(PolicyFile("the flags.json", text_of.dumps({"test": [case]})))


def _arguments(given: Sequence[str]) -> dict[str, Any]:
    """Arguments by name. A value is JSON if it can be read as such, else text."""
    from runtime.cli.grants import values

    found = values(given)
    if twice := sorted(name for name, several in found.items() if len(several) > 1):
        raise SettingsError(f"the argument {twice[0]!r} is given twice")
    return {name: several[0] for name, several in found.items()}
