"""The reviewer in a run: its own code, over a model that says what the test tells it to."""

from dataclasses import dataclass, field
from typing import Any

from models.request import Completion, Embedding, Request
from runtime.agents.reviewer import Reviewer
from runtime.contract.run import Run
from runtime.contract.workflow import Workflow

PROBLEM = '{"shows":"problem"}'


@dataclass
class Model:
    """What a reviewer holds: it reads a problem out of any evidence, and finds any text near to any other."""

    texts: list[str] = field(default_factory=list)

    async def generate(self, request: Request) -> Completion:
        """A problem."""
        return Completion(PROBLEM, "end", "toy", "m" * 64, "p" * 64, "g" * 64, 0, "greedy", 8, 0, 1, 1, 0, 5)

    async def embed(self, texts: list[str], max_tokens: int, deadline_s: float) -> Embedding:
        """The same vector for all."""
        self.texts += texts
        return Embedding([[1.0]] * len(texts), "toy", "e" * 64, "q" * 64, len(texts), 0, 1)


async def tells(run: Run) -> str:
    """Change a target, and tell somebody with the result of another change."""
    await run.call("ops.read_logs", service="orders")
    ticket = run.stage("ops.open_ticket", title="orders has no room")
    run.stage("ops.restart_service", service="orders")
    run.stage("ops.page_on_call", message=ticket.ref("done"))
    await run.review()
    await run.commit()
    return "told"


async def test_a_reference_to_a_result_is_read_written_out_and_filled_in_at_commit(
    live: Any, agents: Any, site: Any
) -> None:
    model = Model()
    agents.review = Reviewer(model).review
    async with live(Workflow("flow", 1, tells, None, ())) as life:
        view = await life.run("flow", answer=True)
    assert (view.status, view.outcome) == ("completed", "told")
    assert model.texts[-1].endswith('{"message":{"$ref":["2","done"]}}')
    assert [tool for tool, *_ in site.effects()] == ["open_ticket", "restart_service", "page_on_call"]
    assert site.effects()[-1][2] == {"message": "open_ticket"}
