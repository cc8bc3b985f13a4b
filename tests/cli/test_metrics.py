"""Counters as Prometheus reads them."""

import re

from models.engine.counters import Counters, Steps
from runtime.cli.metrics import exposition
from runtime.gateway.messages import ModelView, StatusView

MODEL = ModelView(
    name="smollm2",
    kind="chat",
    sha256="00",
    context=8192,
    layers=30,
    layers_on_device=0,
    device_bytes=0,
    host_bytes=123,
    fell_back=False,
    load_ms=5,
)


def test_every_line_is_of_the_format_and_every_counter_is_there() -> None:
    counters = Counters()
    counters.add(prompt_tokens=7, queue_ms=1500)
    all_of_them = counters.all(Steps(cells=64))
    status = StatusView(pid=1, epoch=1, events=3, open_runs=2, parts={}, models=(MODEL, MODEL), counters=all_of_them)
    lines = exposition(status).splitlines()
    for line in lines:
        assert re.fullmatch(r"# TYPE [a-z_]+ (counter|gauge)|[a-z_]+(\{model=\"[a-z0-9._-]+\"\})? [0-9.e+]+", line)
    assert "bailiwick_model_prompt_tokens_total 7" in lines
    assert "bailiwick_model_queue_seconds_total 1.5" in lines
    assert "bailiwick_model_cells 64" in lines
    assert lines.count('bailiwick_loaded_model_host_bytes{model="smollm2"} 123') == 1
    assert sum(line.startswith("# TYPE bailiwick_model_") for line in lines) == len(all_of_them)
