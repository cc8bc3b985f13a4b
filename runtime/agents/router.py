"""The router: which workflow a task is for, decided by nearness of meaning.

The task and the description of each workflow are embedded, and the nearest description wins (semantic routing, as in
the semantic-router project). An embedding model of 23 million weights does this better than a chat model many times
its size, in a few milliseconds, and it cannot be talked into anything: it has no instructions to follow.
"""

import math

from runtime.agents.nearness import nearness
from runtime.agents.proposal import Model, Proposal, RouteContext

SHARPNESS = 12.0
"""How strongly a difference in cosine counts: 0.1 makes the nearer of two choices three times as likely."""


class Router:
    """Holds a model; embeds."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def route(self, context: RouteContext) -> Proposal:
        """`{"choice": name}`, with the softmax over the cosines as its confidence (0 to 1)."""
        names = list(context.choices)
        cosines, call = await nearness(self._model, context.task, list(context.choices.values()), context.allowance)
        weights = [math.exp(SHARPNESS * cosine) for cosine in cosines]
        best = max(range(len(names)), key=weights.__getitem__)
        return Proposal({"choice": names[best]}, (call,), weights[best] / sum(weights))
