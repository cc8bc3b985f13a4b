"""What can go wrong in this room beyond the common errors. Messages name numbers, files and features, never text."""

from store.records.errors import ModelFailed, SettingsError


class ContextOverflow(ModelFailed):
    """A prompt is longer than the model's context. Nothing was cut and nothing was computed."""

    def __init__(self, tokens: int, context: int, model: str) -> None:
        super().__init__(
            f"the prompt has {tokens} tokens and the context holds {context}, one of them for the answer",
            model,
            "shorten the prompt, or load the model with a larger context",
        )
        self.tokens, self.context = tokens, context


class SchemaUnsupported(SettingsError):
    """A JSON Schema is malformed, cannot be satisfied, or asks for what decoding cannot enforce."""


class NotAModel(SettingsError):
    """A file is not a GGUF, not a whole one, or not of a kind that Bailiwick runs."""


class TrialTooLong(NotAModel):
    """A file did not load and answer in time. It is not tried again with fewer layers on the GPU."""
