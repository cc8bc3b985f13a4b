"""A frozen plan: letters that anybody may have written are read, put in a few words, and handed to the clerk.

The model says which tools are called, and with what, before it has seen a letter; so no letter can have it pay anybody.
A reader without tools says what a letter asks for: whatever the letter makes it say is a text to be handed on and no
more. It goes to the clerk with the labels of the letter, so the policy set `strict` has a person look at it first.

    bailiwick run "Tell the clerk what each of the letters asks for." --workflow forward-letters \\
        --workflows examples/forward_letters.py --tools examples/tools.toml
"""

from pydantic import BaseModel, Field

from bailiwick import Run, workflow

TOOLS = ("site.read_letters", "site.tell_clerk")


class Wish(BaseModel):
    """What a letter asks for, in a few words."""

    wish: str = Field(max_length=120)


async def by_hand(run: Run) -> str:
    """The fallback: the clerk reads the letters."""
    run.stage("site.tell_clerk", message=run.task)
    await run.review()
    await run.commit()
    return "the clerk does it"


@workflow("forward-letters", fallback=by_hand, tools=TOOLS)
async def forward_letters(run: Run) -> str:
    """Tell the clerk what the letters that came in ask for."""
    goal = run.const("Plan the task: read the letters, read the wish out of each, tell the clerk each wish.")
    planned = await run.plan(goal, tools=TOOLS, readers=(Wish,))
    return f"the clerk was told of {len(planned.receipts)} letters"
