"""The task workflow: whatever the user asks, with whatever tools there are."""

from pydantic import BaseModel, Field

from runtime.contract.decision import ByModel
from runtime.contract.run import Run
from runtime.contract.workflow import workflow

TURNS = 6
BY_MODEL = (ByModel("work", "which tools are called, and with what"), ByModel("ask", "what the user is told"))


class Answer(BaseModel):
    """What the user is told."""

    text: str = Field(max_length=600)


@workflow("task", version=1, by_model=BY_MODEL)
async def task(run: Run) -> Answer:
    """A question, or a piece of work with the tools at hand.

    The model reads through the tools and stages what is to be changed; the change set is reviewed and committed as
    one, then the model sums up. There is no rule that could finish any task, so there is no fallback.
    """
    seen: list[object] = [*run.attachments]
    if run.tools:
        looked = await run.work("Do the task with the tools.", tools=run.tools, notes=run.attachments, turns=TURNS)
        seen += [[tool, result] for tool, _, result in looked.reads]
        if looked.staged:
            await run.review()
            seen += [[receipt.tool, receipt.result] for receipt in await run.commit()]
    return await run.ask(Answer, "Answer the task in a few sentences.", data=seen or None)
