"""A reference that is staged, a payment that is refused, and what the receipt says."""

from typing import Any

import pytest

from bailiwick import FakeRun, ToolFailed
from examples.payment import by_clerk, payment


def a_run(state: str) -> FakeRun:
    def pay(payee: str, hold: str) -> Any:
        if not state:
            raise ToolFailed("there is no such payee")
        return {"id": "P1", "state": state, "hold": hold}

    world = {
        "site.hold": lambda account, cents: {"id": f"{account}/{cents}"},
        "site.pay": pay,
        "site.tell_clerk": lambda message: {"told": message},
    }
    return FakeRun(world=world, answers=[{"account": "acct-1", "payee": "Acme", "cents": 1250}])


@pytest.mark.parametrize(
    ("state", "tools"),
    [("booked", ["site.hold", "site.pay"]), ("pending", ["site.hold", "site.pay", "site.tell_clerk"])],
)
async def test_the_payment_uses_its_hold_and_what_hangs_is_told(state: str, tools: list[str]) -> None:
    run = a_run(state)
    assert await payment(run) == f"paid to Acme, {state}"
    assert [receipt.tool for receipt in run.committed] == tools
    assert run.committed[1].result.hold == "acct-1/1250"


async def test_a_payment_that_is_refused() -> None:
    run = a_run("")
    assert await payment(run) == "nothing was paid: there is no such payee"
    assert [receipt.tool for receipt in run.committed] == ["site.hold"]  # the runtime would release it


async def test_a_clerk_does_it_when_the_model_fails() -> None:
    run = a_run("booked")
    assert await by_clerk(run) == "a clerk does it"
    assert payment.fallback is by_clerk
