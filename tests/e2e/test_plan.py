"""A frozen plan from the command line, written by the real default model. How good the plan is depends on the model;
that it is valid, that it is frozen first, and that nothing is done but what is in it, does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples import forward_letters

EXAMPLES = Path(forward_letters.__file__).parent
TASK = "Tell the clerk what each of the letters asks for."


def test_letters_are_handed_on_by_a_plan_of_the_models_own(sites: Callable[[], Any]) -> None:
    site = sites()
    tools = site.folder / "tools.toml"
    text = (EXAMPLES / "tools.toml").read_text()
    text = text.replace("/srv/examples/world.py", str(EXAMPLES / "world.py"))
    tools.write_text(text.replace("/srv/examples/world", str(site.folder / "world")))
    flags = ("--workflow", "forward-letters", "--workflows", str(EXAMPLES / "forward_letters.py"))
    done = site.run("run", TASK, *flags, "--tools", str(tools), "--approve", "yes", "--json")
    assert (done.code, done.json["status"]) in [(0, "completed"), (0, "completed-by-fallback")], done.err

    trail = site.trail(done.json["run"])
    [frozen] = trail.of("plan.frozen")
    steps = frozen.payload["value"]["steps"]
    assert 1 <= len(steps) <= 6
    assert len(frozen.event["decision"]) == 64
    assert frozen.event["labels"]["integrity"] == "trusted"
    planned = {step["call"] for step in steps if "call" in step}
    calls = [each for each in trail.of("decision") if each.event["actor"] == "worker"]
    assert {each.event["tool"] for each in calls} <= planned
    assert all(each.event["seq"] > frozen.event["seq"] for each in calls)
    assert not [each for each in calls if each.event["decision"] == "deny"]
