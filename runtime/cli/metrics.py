"""The counters of a runtime as Prometheus reads them: text exposition format 0.0.4, for a node's textfile collector.

Nothing is served on a port: a timer writes `bailiwick status --metrics` into a file, and the site's own exporter takes
it from there.
"""

from typing import TYPE_CHECKING

from models.engine.counters import GAUGES

if TYPE_CHECKING:
    from runtime.gateway.messages import StatusView

PREFIX = "bailiwick"


def exposition(status: "StatusView") -> str:
    """The state of a runtime as metrics, seconds and bytes as units."""
    lines = _metric("events", "gauge", status.events) + _metric("open_runs", "gauge", status.open_runs)
    for name, value in status.counters.items():
        if name in GAUGES:
            lines += _metric(f"model_{name}", "gauge", value)
        elif name.endswith("_ms"):
            lines += _metric(f"model_{name.removesuffix('_ms')}_seconds_total", "counter", value / 1000)
        else:
            lines += _metric(f"model_{name}_total", "counter", value)
    for name in ("device_bytes", "host_bytes", "layers_on_device", "layers"):
        # One that was unloaded and loaded again is there twice; the last one counts.
        models = {model.name: getattr(model, name) for model in status.models}
        lines += [f"# TYPE {PREFIX}_loaded_model_{name} gauge"]
        lines += [f'{PREFIX}_loaded_model_{name}{{model="{model}"}} {value}' for model, value in models.items()]
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, value: float) -> list[str]:
    return [f"# TYPE {PREFIX}_{name} {kind}", f"{PREFIX}_{name} {value:g}"]
