"""Staged references, a saga, and a branch on a receipt: hold the money, pay with the hold, tell a clerk what hangs.

Both effects are staged, reviewed and committed as one set, although the second needs the id that the first will have.
If the payment is refused, the hold is released: the tools file names `site.release` as what compensates it. A refusal
is a text from elsewhere, so the policy set `strict` has a person agree to the release.

    bailiwick run "Pay 12.50 from acct-1 to Acme." --workflow payment \
        --workflows examples/payment.py --tools examples/tools.toml
"""

from pydantic import BaseModel, Field

from bailiwick import ByModel, Run, ToolFailed, workflow


class Payment(BaseModel):
    """What the model is asked for."""

    account: str
    payee: str
    cents: int = Field(gt=0)


async def by_clerk(run: Run) -> str:
    """The fallback: a clerk reads the task."""
    await clerk(run, run.task)
    return "a clerk does it"


@workflow(
    "payment",
    fallback=by_clerk,
    tools=("site.hold", "site.pay", "site.release", "site.tell_clerk"),
    by_model=(ByModel("ask", "which account pays how many cents, and to whom"),),
)
async def payment(run: Run) -> str:
    """Pay somebody from an account, once the money is held there."""
    wanted = await run.ask(Payment, "Which account pays how many cents, and to whom?")
    hold = run.stage("site.hold", account=wanted.account, cents=wanted.cents)
    run.stage("site.pay", payee=wanted.payee, hold=hold.ref("id"))
    await run.review()
    try:
        _, paid = await run.commit()
    except ToolFailed as error:
        return f"nothing was paid: {error.what}"
    if paid.result.state == "pending":
        await clerk(run, f"the payment {paid.result.id} to {wanted.payee} is pending")
    return f"paid to {wanted.payee}, {paid.result.state}"


async def clerk(run: Run, message: str) -> None:
    """Tell a clerk, in a change set of its own."""
    run.stage("site.tell_clerk", message=message)
    await run.review()
    await run.commit()
