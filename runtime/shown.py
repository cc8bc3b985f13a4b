"""An approval and a grant, written out for a person: whole, as names and values that a screen then makes visible.

Command line, dashboard and the question at the terminal show the same. What binds and what follows from it is all here;
nothing is cut and nothing put in other words but durations.
"""

from collections.abc import Mapping

from runtime.gateway.messages import ApprovalView, GrantView
from store.records.canonical import Json


def written(view: ApprovalView) -> list[tuple[str, Json]]:
    """All there is to know of an approval, what decides first: a text is a line, everything else is JSON of its own."""
    user = view.user or {"name": view.requester}
    return [
        ("tool", f"{view.tool} (version {view.tool_version}, {view.tool_digest})"),
        ("needs", needs(view)),
        ("why", "; ".join(f"{name}: {' '.join(view.why.get(name, '-').split())}" for name in view.policies)),
        ("does", " and ".join(_does(view)) or "a change that stays on this machine and is not marked as irreversible"),
        ("digest", view.digest),
        ("arguments", view.arguments),
        ("they come from", "; ".join(map(_origin, view.origins)) or "-"),
        ("labels", view.labels),
        ("undone by", view.compensation.model_dump(mode="json") if view.compensation else "nothing"),
        ("requester", _person(user)),
        ("agent", f"{view.agent[0]} (version {view.agent[1]}), {'' if view.reviewed else 'not '}reviewed"),
        ("workflow", f"{view.workflow} (version {view.workflow_version})"),
        ("run", f"{view.run}, step {view.step}, key {view.key}"),
        ("plan", f"step {view.plan['step']} of the frozen plan {view.plan['digest']}" if view.plan else "none"),
        ("policy", view.policy),
        ("tool says", view.description or "-"),
        ("since", view.since),
        ("expires", f"{view.expires} (in {duration(view.left_s)})"),
    ]


def needs(view: ApprovalView) -> str:
    """How many people a request takes, who may not be one, and who has said yes."""
    people = "1 person" if view.approvers == 1 else f"{view.approvers} people"
    apart = f", and not {view.requester}" if view.distinct else ""
    return f"{people}{apart}; yes from {', '.join(view.yes) or 'nobody yet'}"


def written_grant(view: GrantView) -> list[tuple[str, Json]]:
    """All that a grant says, as `written` has it."""
    grant = view.grant
    return [
        ("says yes", f"{grant['author']}, of the tenant {grant['tenant']}"),
        ("to", f"{grant['tool']} ({grant['tool_digest']})"),
        ("arguments, each with one of these values", grant["arguments"]),
        ("asked for by", grant["user"] or "anybody"),
        ("agent", grant["agent"] or "any"),
        ("workflow", grant["workflow"] or "any"),
        ("until", grant["until"]),
        ("times", "any number of times" if grant["times"] is None else f"{grant['times']}"),
        ("what cannot be undone", "covered" if grant["irreversible"] else "not covered"),
        ("policy", grant["policy_digest"]),
        ("digest", view.digest),
    ]


def duration(seconds: float) -> str:
    """A time in the two largest of its units: 23 h 59 min, 4 min 10 s."""
    whole = int(seconds)
    for unit, name, part, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // part} {smaller}"
    return f"{whole} s"


def _does(view: ApprovalView) -> list[str]:
    return ["data leaves the machine"] * view.egress + ["it cannot be undone"] * view.irreversible


def _origin(origin: Mapping[str, Json]) -> str:
    trusted = "" if origin["trusted"] else ", not trusted"
    return f"{origin['argument']}: {', '.join(origin['sources']) or 'nowhere known'}{trusted}"


def _person(user: Mapping[str, Json]) -> str:
    more = [f"{name} {user[name]}" for name in ("uid", "tenant", "unit") if name in user]
    roles = ", ".join(user.get("roles", ()))
    return f"{user['name']} ({', '.join([*more, f'roles {roles}'] if roles else more)})" if more else str(user["name"])
