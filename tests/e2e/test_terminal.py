"""A person at a terminal is asked for an approval: what they may type, and what happens if somebody else answers."""

from collections.abc import Callable
from typing import Any

PROMPT = "Approve? Type yes or no: "
REPAIR = {"ops.rollback_config": 1}
DEMO = ("demo", "--fault", "config-rollout", "--seed", "7")


def answers(site: Any, done: Any) -> list[tuple[str, str]]:
    """The answers of the demo's only run, as the ledger has them: the person's word and what they declared by it."""
    [view] = site.run("runs", "list", "--json", "--data-dir", str(site.data / "demo")).json
    trail = site.trail(view["run"], site.data / "demo")
    assert trail.effects() == REPAIR, done.out
    return [(each.event["decision"], each.payload["meaning"]) for each in trail.of("approval.answered")]


def the_door_answers(done: Any) -> None:
    """The demo ended well, and policy's question was told once although policy was asked again after the answer."""
    assert done.code == 0, done.out
    assert "the front door answers\n" in done.out.split("audit trail")[1]
    assert done.out.count("suspend ops.rollback_config by approval:rollback") == 1, done.out
    assert "Traceback" not in done.out


async def test_a_typo_is_asked_about_again_and_a_yes_lets_the_repair_through(sites: Callable[[], Any]) -> None:
    site = sites()
    demo = site.start(*DEMO, terminal=True)
    demo.type("yes")  # before anything is asked: an answer to nothing
    await demo.shows(PROMPT)
    asked = demo.said().split("needs your word")[1]
    for part in ('"service": ', "requester: ", "digest: ", '"integrity": '):
        assert part in asked, "a person must see all that would be executed"
    for typo, times in (("yess", 2), ("", 3)):
        demo.type(typo)
        await demo.shows(PROMPT, times)
    demo.type(" YES ")
    done = demo.wait()
    the_door_answers(done)
    assert answers(site, done) == [("yes", "typed at the terminal")]


async def test_an_answer_from_elsewhere_ends_the_question_and_needs_no_key(sites: Callable[[], Any]) -> None:
    site = sites()
    demo = site.start(*DEMO, terminal=True)
    await demo.shows(PROMPT)
    elsewhere = ("--data-dir", str(site.data / "demo"))
    [waiting] = site.run("approvals", "list", "--json", *elsewhere).json
    done = site.run(
        "approvals", "approve", waiting["approval"], waiting["digest"][:8], "--meaning", "I looked", *elsewhere
    )
    assert done.code == 0, done.err
    await demo.shows("\nanswered elsewhere\n")
    ended = demo.wait()
    the_door_answers(ended)
    assert ended.out.count(PROMPT) == 1
    assert answers(site, ended) == [("yes", "I looked")]
