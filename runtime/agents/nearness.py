"""How near texts are in meaning, by the embeddings of the model server."""

import math
from collections.abc import Sequence

from runtime.agents.proposal import Allowance, Model, ModelCall


async def nearness(
    model: Model, text: str, others: Sequence[str], allowance: Allowance
) -> tuple[list[float], ModelCall]:
    """The cosine (-1 to 1) of a text with each of the others, and the embedding that it took.

    Raises as `Model.embed` does.
    """
    texts = [text, *others]
    embedding = await model.embed(texts, allowance.texts, allowance.seconds)
    first, *rest = embedding.vectors
    cosines = [math.fsum(a * b for a, b in zip(first, vector, strict=True)) for vector in rest]
    return cosines, ModelCall(tuple(texts), embedding)
