"""The router: which workflow a task is for, decided by likelihood instead of free text.

Each choice is scored as the reply to the task and, to take out the model's own liking for a word, as the reply to an
empty task (contextual calibration; Zhao et al., Calibrate Before Use, ICML 2021).
"""

import math

from models.request import Message, Request
from runtime.agents.proposal import Model, Proposal, RouteContext


class Router:
    """Holds a model; scores choices."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def route(self, context: RouteContext) -> Proposal:
        """`{"choice": name}` with the softmax of the calibrated scores as its confidence (0 to 1)."""
        names = tuple(context.choices)
        messages = _messages(context, context.task)
        given = await self._scores(messages, names, context)
        empty = await self._scores(_messages(context, "N/A"), names, context)
        gains = [one - other for one, other in zip(given, empty, strict=True)]
        weights = [math.exp(gain - max(gains)) for gain in gains]
        best = max(range(len(names)), key=gains.__getitem__)
        return Proposal({"choice": names[best]}, messages, None, weights[best] / sum(weights))

    async def _scores(
        self, messages: tuple[Message, ...], names: tuple[str, ...], context: RouteContext
    ) -> list[float]:
        allowance = context.allowance
        request = Request(messages, seed=allowance.seed, max_tokens=1, deadline_s=allowance.seconds)
        return await self._model.score(request, names)


def _messages(context: RouteContext, task: str) -> tuple[Message, ...]:
    kinds = "\n".join(f"{name}: {description}" for name, description in context.choices.items())
    return (
        Message("system", f"You sort tasks into kinds.\n{kinds}"),
        Message("user", f"Task: {task}\nKind:"),
    )
