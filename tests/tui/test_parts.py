"""The dashboard's plain parts: text, columns, board."""

from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from runtime.gateway.messages import EventView, StatusView
from tui.board import TAIL, Board
from tui.engine import WINDOW_S, Engine
from tui.grid import Column, fit, spread
from tui.rows import APPROVALS, AUDIT, RUNS, STEPS, engine_lines, head
from tui.text import pretty, safe, seconds, short


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢字 …", "plain ü 漢字 …"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\tc\x00\x7f\x9b", "a\\x0d\\x0ab\\x09c\\x00\\x7f\\x9b"),
        ("\u202e\u2066\u200b\ufeff", "\\u202e\\u2066\\u200b\\ufeff"),
        ("\u00a0\u3000\u2028", "\\xa0\\u3000\\u2028"),
        ("\u3164\u115f\u2800\ufe0f", "\\u3164\\u115f\\u2800\\ufe0f"),
        ("\U000e0041\U000e0100\ud800", "\\U000e0041\\U000e0100\\ud800"),
    ],
)
def test_every_character_can_be_seen(text, shown):
    assert safe(text) == shown


def test_pretty_json_is_whole_and_keeps_its_lines():
    assert pretty({"a": ["b\n\u202e"]}) == '{\n  "a": [\n    "b\\n\\u202e"\n  ]\n}'


@pytest.mark.parametrize("columns", [RUNS, STEPS, AUDIT, APPROVALS])
@pytest.mark.parametrize("width", [75, 118, 200])
def test_columns_fill_the_width_and_no_more(columns, width):
    widths = spread(columns, width)
    assert width - len(columns) <= sum(widths) + len(columns) - 1 <= width
    assert all(got >= column.width for got, column in zip(widths, columns, strict=True))


def test_columns_keep_their_least_width_in_a_narrow_terminal():
    assert spread([Column("a", 10, grow=1), Column("b", 5)], 8) == [10, 5]


@pytest.mark.parametrize("width", range(8))
@pytest.mark.parametrize("text", ["", "ab", "abcdefghij", "漢字漢字漢字"])
@pytest.mark.parametrize("right", [False, True])
def test_text_fits_its_cells_exactly_and_says_when_it_is_cut(text, width, right):
    got = fit(text, width, right)
    assert cell_len(got) == width
    assert ("…" in got) == (cell_len(text) > width > 0)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (9_999, "9999"), (10_000, "10.0k"), (999_949, "999.9k"), (999_950, "1.0M")]
)
def test_numbers_stay_short(number, text):
    assert short(number) == text


def test_seconds_run_on_while_nothing_has_ended():
    now = datetime(2026, 11, 1, 10, 0, 30, tzinfo=UTC)
    assert seconds("2026-11-01T10:00:00Z", "", now) == "30.0"
    assert seconds("2026-11-01T10:00:00Z", "2026-11-01T10:00:01.250000Z", now) == "1.2"
    assert seconds("2026-11-01T10:00:40Z", "", now) == "0.0"
    assert seconds("2026-11-01T00:00:00Z", "", now) == "10.0h"
    assert seconds("soon", "", now) == seconds("2026-11-01T10:00:00", "", now) == "?"


def view(seq, **fields):
    """An event."""
    return EventView(event={"seq": seq, **fields}, hash=str(seq))


def test_a_workflow_that_costs_more_than_it_expects_stands_at_the_top_until_it_does_not():
    board = Board()
    board.trouble = ""
    board.measure(StatusView(pid=1, epoch=1, events=1, open_runs=0, parts={}), 1.0)
    for seq, (decision, shown) in enumerate([("raised", True), ("cleared", False)], 1):
        board.add(view(seq, kind="cost.alert", workflow="triage\x1b", decision=decision))
        assert ("COST ALERT: triage\\x1b" in head(board)) == shown


def test_a_board_holds_a_bounded_tail():
    board = Board()
    for seq in range(1, 3 * TAIL):
        board.add(view(seq))
    assert len(board.tail) == TAIL
    assert board.seen == 3 * TAIL - 1


def test_learning_the_same_events_twice_counts_them_once():
    board = Board()
    board.select("r1")
    page = [view(1, step="/1", tokens=5), view(2, step="/1", tokens=7, actor="rule"), view(3)]
    board.learn(page)
    board.learn(page)
    assert list(board.steps) == ["/1"]
    assert (board.steps["/1"].tokens, board.steps["/1"].by) == (12, "rule")
    board.select("r2")
    assert board.steps == {}


def test_the_rate_is_over_the_last_seconds_and_never_negative():
    def status(events):
        return StatusView(pid=1, epoch=1, events=events, open_runs=0, parts={})

    board = Board()
    board.measure(status(1_000), 0.0)
    assert board.rate == 0
    board.measure(status(1_010), 1.0)
    assert board.rate == 10
    for second in range(2, 20):
        board.measure(status(1_010), float(second))
    assert board.rate == 0
    board.measure(status(5), 21.0)
    assert board.rate == 0


def test_speeds_are_over_the_last_few_seconds():
    engine = Engine()
    assert not engine.known
    assert "nothing is known of it" in engine_lines(Board())
    engine.take({"computed_tokens": 1000, "requests": 1}, 10)
    assert (engine.known, engine.tokens_per_s, engine.queue_ms, engine.used) == (True, 0, None, None)
    engine.take({"computed_tokens": 1400, "requests": 3, "queue_ms": 10, "sampled_tokens": 8, "forced_tokens": 4}, 14)
    assert (engine.tokens_per_s, engine.written_per_s, engine.queue_ms) == (100, 3, 5)
    for second in range(15, 30):
        engine.take({"computed_tokens": 1400, "requests": 3, "queue_ms": 10}, second)
    assert engine.tokens_per_s == 0
    assert engine.queue_ms == 5, "as long as no other answer has ended, the last ones count"


def test_counters_that_begin_again_are_not_a_negative_speed():
    engine = Engine()
    engine.take({"computed_tokens": 1000, "requests": 9, "cells": 64, "cells_used": 16}, 0)
    engine.take({"computed_tokens": 10, "requests": 1, "cells": 64, "cells_used": 32}, 1)
    assert (engine.tokens_per_s, engine.queue_ms, engine.used) == (0, None, 0.5)
    engine.take({"computed_tokens": 30, "requests": 1}, 1 + WINDOW_S)
    assert engine.tokens_per_s == 20 / WINDOW_S
