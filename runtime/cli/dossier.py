"""Prints the page of a workflow for a change board. Knows only the page's JSON, and says all of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.cli.page import plain, row

WORDS = {
    "agent": {"rule": "chosen by rule", "worker": "chosen by a model"},
    "reviewed": {"yes": "reviewed", "no": "not reviewed"},
    "integrity": {"trusted": "after trusted data only", "untrusted": "after something untrusted"},
    "vouched": {"yes": "each consequential argument trusted", "no": "not each consequential argument trusted"},
}
REVIEW = "the reviewer, a model, can only say no; no effect is committed that it has not seen"


def print_dossier(page: Mapping[str, Any]) -> None:
    """The page, for a terminal or a printer."""
    print(plain(f"{page['name']}, version {page['version']}"))
    row("  ", plain(page["description"]))
    _facts(page)
    print("\nDECIDED BY A MODEL")
    if not page["declared"]:
        print("  any step: the workflow does not say")
    for each in page["by_model"]:
        row(f"  {each['step']:6}", plain(each["decides"] + (f" ({', '.join(each['tools'])})" if each["tools"] else "")))
    if page["declared"] and not page["by_model"]:
        print("  nothing")
    print("\nDECIDED BY RULE")
    row("  ", "nothing is declared" if not page["declared"] else "every other step; but its values may be a model's")
    row("  ", plain(f"the whole fallback, {page['fallback']}" if page["fallback"] else "there is no fallback"))
    row("  ", REVIEW)
    user = f"{page['user']['name']} ({', '.join(page['user']['roles'])})"
    print("\n" + plain(f"BLAST RADIUS under the policy set {page['policy']['set']}, for {user}"))
    if page["sole"]:
        row("  ", plain(f"{page['sole']} is the only user here, and may approve what they asked for; reports say so"))
    _tools(page["blast_radius"], "no effect")
    print("\nREADS AT ONCE")
    _tools(page["reads"], "nothing")
    if page["why"]:
        print("\nRULES")
    for name, why in page["why"].items():
        row(f"  {plain(name)}: ", plain(why))


def _facts(page: Mapping[str, Any]) -> None:
    models = [f"{model['name']} ({model['kind']}, sha256 {model['sha256']})" for model in page["models"]]
    agents = [f"{agent['name']} {agent['version']}" for agent in page["agents"]]
    for name, value in {
        "input": page["input"],
        "tools": ", ".join(page["tools"]) or "any that there are",
        "not offered": ", ".join(page["missing"]),
        "scopes": ", ".join(page["scopes"]),
        "models": ", ".join(models) or "none is installed",
        "agents": ", ".join(agents),
        "source": f"sha256 {page['source_digest']}",
        "policy": f"sha256 {page['policy']['digest']}",
    }.items():
        if value:
            row(f"  {name}: ", plain(value))


def _tools(tools: Sequence[Mapping[str, Any]], none: str) -> None:
    if not tools:
        print(f"  {none}")
    for tool in tools:
        kinds = [tool["effect"], "leaves the machine" * tool["egress"], "cannot be undone" * tool["irreversible"]]
        undone = f"undone by {tool['compensate']}" if tool["compensate"] else ""
        scopes = f"scopes {' '.join(tool['scopes'])}" if tool["scopes"] else ""
        said = [*kinds, undone, scopes, "needs a review" * tool["needs_review"], f"reaches: {tool['reach']}"]
        row(f"  {plain(tool['tool'])}: ", plain(", ".join(filter(None, said))))
        for case in tool["cases"]:
            row("    - ", plain(f"{_when(case['when'])}: {_outcomes(case['outcomes'])}"))


def _when(when: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for name, values in when.items():
        if name == "object":
            parts.append(f"acts on {' or '.join(values)}")
        elif name == "classification":
            parts.append(f"after {' or '.join(values)} data")
        else:
            parts.append(" or ".join(WORDS[name][value] for value in values))
    return ", ".join(parts) or "always"


def _outcomes(outcomes: Sequence[Mapping[str, Any]]) -> str:
    said = [_outcome(each) for each in outcomes]
    return said[0] if len(said) == 1 else f"depends on the arguments: {'; or '.join(said)}"


def _outcome(outcome: Mapping[str, Any]) -> str:
    by = ", ".join(outcome["by"])
    match outcome["ruling"]:
        case "allow":
            return "goes through"
        case "suspend":
            count = outcome["approvers"]
            people = "a person with the role approver" if count == 1 else f"{count} people with the role approver"
            return f"waits for {people}{'' if outcome['requester_may'] else ', none of them who asked'} ({by})"
        case _:
            return f"denied ({by})" if by else "denied (no policy permits it)"
