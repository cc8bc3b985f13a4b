"""The site's rates: what models and tools cost, in millionths of the site's currency unit. Whole numbers only.

They say what something costs from now on; what it has cost is on its event. They never decide what may be done.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from store.records.canonical import digest

Micros = Annotated[int, Field(ge=0, le=10**12)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRates(_Table):
    """What one model costs: for 1,000 tokens of a prompt, for 1,000 generated, and for a second of the device."""

    per_1000_prompt: Micros = 0
    per_1000_generated: Micros = 0
    per_device_second: Micros = 0

    def cost(self, prompt: int, generated: int, device_ms: int) -> int:
        """Of so many tokens and milliseconds, rounded up."""
        thousandths = (
            prompt * self.per_1000_prompt + generated * self.per_1000_generated + device_ms * self.per_device_second
        )
        return -(-thousandths // 1000)


class Rates(_Table):
    """The table of the site. A model that is not in it costs by its time on the device; a tool that is not, nothing."""

    currency: str = Field("", max_length=8)
    per_device_second: Micros = 0
    models: dict[str, ModelRates] = {}
    tools: dict[str, Micros] = {}

    def of_model(self, model: str, prompt: int, generated: int, device_ms: int) -> int:
        """What a call of a model cost."""
        return self.models.get(model, self._others).cost(prompt, generated, device_ms)

    def most(self, prompt: int, generated: int, device_ms: int) -> int:
        """The most that a call may cost, whichever model answers it."""
        return max(each.cost(prompt, generated, device_ms) for each in (self._others, *self.models.values()))

    def of_tool(self, tool: str) -> int:
        """What a call of a tool costs."""
        return self.tools.get(tool, 0)

    @property
    def charges(self) -> bool:
        """Whether anything costs anything."""
        return any([self.most(1000, 1000, 1000), *self.tools.values()])

    @property
    def digest(self) -> str:
        """The hex SHA-256 of the table."""
        return digest(self.model_dump(mode="json"))

    @property
    def _others(self) -> ModelRates:
        return ModelRates(per_device_second=self.per_device_second)


FREE = Rates()
"""The table of a site that has none."""
