"""What a person is told, once, whose models compute on the CPU although their machine has a GPU."""

from runtime.diagnostics import say
from runtime.gateway.messages import StatusView


def warn(status: StatusView) -> None:
    """A line on stderr for each model in memory that is not on the GPU as it was to be."""
    for model in status.models:
        if model.fell_back:
            say(
                f"warning: {model.name} computes on the CPU: {model.layers_on_device} of its {model.layers} layers are "
                "on the GPU; free its memory or see `bailiwick doctor`, and --require-gpu makes this an error"
            )
