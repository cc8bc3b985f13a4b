"""What became of the letters, by a plan and by hand."""

from bailiwick import FakeRun, Planned, Receipt
from examples.forward_letters import by_hand, forward_letters

WORLD = {
    "site.read_letters": lambda: {"letters": ["a", "b"]},
    "site.tell_clerk": lambda message: {"told": message},
}


async def test_each_letter_that_the_plan_has_handed_on_is_counted() -> None:
    receipts = tuple(Receipt(str(each), "site.tell_clerk", f"fake/{each}", {"told": "x"}) for each in (1, 2))
    run = FakeRun(world=WORLD, answers=[Planned("0" * 64, {"v1": {"letters": ["a", "b"]}}, receipts)])
    assert await forward_letters(run) == "the clerk was told of 2 letters"
    assert [receipt.tool for receipt in run.committed] == ["site.tell_clerk", "site.tell_clerk"]


async def test_the_clerk_reads_them_when_there_is_no_plan() -> None:
    run = FakeRun(world=WORLD, task="Read the letters.")
    assert forward_letters.fallback is by_hand
    assert await by_hand(run) == "the clerk does it"
    assert [receipt.result.told for receipt in run.committed] == ["Read the letters."]
