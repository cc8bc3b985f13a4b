"""A run told line by line: whole on a narrow terminal, each part in its own column."""

import io

import pytest
from rich.console import Console

from runtime.narration import Line
from runtime.watching import rendered

TEXT = 'stages ops.rollback_config {"service":"orders","to":"the last version that was healthy"} [bold]as written[/]'


@pytest.mark.parametrize("width", [200, 80, 40])
def test_a_long_line_goes_on_below_where_it_began(width: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width).print(rendered(Line("model", "worker", TEXT)))
    first, *rest = stream.getvalue().splitlines()
    assert first.startswith("model  worker    stages")
    assert all(line.startswith(" " * 17) for line in rest)
    assert "".join("".join(line[17:] for line in (first, *rest)).split()) == "".join(TEXT.split())
    assert bool(rest) == (width < 17 + len(TEXT))
