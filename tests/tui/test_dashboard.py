"""The dashboard in a terminal of the textual pilot, watching a real gateway."""

import asyncio

import pytest

from runtime.gateway.messages import ModelView
from tui.grid import Grid


async def begin(stage):
    """A run with a model's step, a rule's step and a suspended effect."""
    stage.begin("r1", tokens=1234)
    await stage.tell("run.submitted", run="r1")
    await stage.tell(
        "step.completed", run="r1", step="/1", actor="worker", tool="ops.read_logs", tokens=120, device_ms=45
    )
    await stage.tell("step.completed", run="r1", step="/1", actor="core", tokens=3)
    await stage.tell("staged", run="r1", step="/2", actor="rule", tool="ops.rollback_config")
    await stage.tell("decision", run="r1", step="/2", tool="ops.rollback_config", decision="suspend")


def line(screen, *words):
    """The one line with all these words."""
    (found,) = (each for each in screen.lines if all(word in each for word in words))
    return found


@pytest.mark.parametrize("no_color", [False, True], ids=["colours", "NO_COLOR"])
async def test_every_pane_fits_a_small_terminal_and_says_all_in_words(stage, open_gateway, look, monkeypatch, no_color):
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    await begin(stage)
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("r1", "ops.rollback_co…", "step.completed", "/2", "epoch 3", "suspend", "›      5")
        assert len(screen.lines) == 24
        assert {len(each) for each in screen.lines} == {80}
        assert "epoch 3  " in screen.lines[0]
        assert "open 1  waiting 0  model smollm2" in screen.lines[0]
        assert "› r1" in line(screen, "running", "triage")
        assert line(screen, "running", "triage").split()[-2] == "1234"
        assert line(screen, "/1", "model", "123 ").split()[1:8] == [
            "/1", "model", "step.completed", "ops.read_logs", "123", "45", "│",
        ]  # fmt: skip
        assert "rule" in line(screen, "› /2", "suspend")
        assert line(screen, "›      5").split()[1:5] == ["5", "10:00:00", "core", "decision"]
        for key in ("q Quit", "a Approvals", "/ Filter"):
            assert key in screen.lines[-1]


async def test_what_the_engine_does_is_shown_live(stage, open_gateway, look):
    await begin(stage)
    stage.counters = {"requests": 3, "steps": 1, "prompt_tokens": 500, "cells": 8192, "computed_tokens": 100}
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("0 tok/s", "0 written/s", "batch 0", "KV 0%", "reused -", "queue -", "first token -")
        stage.counters |= {"requests": 5, "answers": 2, "queue_ms": 24, "first_token_ms": 700, "prompt_tokens": 1500}
        stage.counters |= {"reused_tokens": 750, "batch": 4, "waiting": 2, "cells_used": 2048, "computed_tokens": 400}
        await screen.until("batch 4 +2 waiting", "KV 25%", "reused 75%", "queue 12ms", "first token 350ms")
        assert {len(each) for each in screen.lines} == {80}
        assert "…" not in screen.lines[1] + screen.lines[2]


async def test_a_model_on_the_gpu_is_told_from_one_that_fell_back(stage, open_gateway, look):
    view = ModelView(
        name="smollm2", kind="chat", sha256="00", context=8192, layers=30, layers_on_device=31,
        device_bytes=3 * 2**29, host_bytes=0, fell_back=False, load_ms=5,
    )  # fmt: skip
    stage.models, stage.counters = (view,), {"requests": 1}
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("30/30 layers on the GPU, 1.5 GiB")
        stage.models = (view.model_copy(update={"layers_on_device": 0, "device_bytes": 0, "fell_back": True}),)
        await screen.until("FELL BACK: 0/30 layers on the GPU")


async def test_events_appear_as_they_happen(stage, open_gateway, look):
    await begin(stage)
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("suspend")
        await stage.tell("effect.outcome", run="r1", step="/3", tool="ops.open_ticket")
        await screen.until("/3", "ops.open_ticket")
        stage.begin("r2", status="completed-by-fallback", ended="2026-11-01T10:00:12.5Z")
        await stage.tell("run.ended", run="r2")
        await screen.until("r2", "completed-by-fallback", "12.5")


async def test_the_newest_run_is_shown_until_a_person_chooses_one(stage, open_gateway, look):
    await begin(stage)
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("› r1")
        stage.begin("r2")
        await stage.tell("step.completed", run="r2", step="/9")
        await screen.until("› r2", "/9")
        await screen.press("down")
        await screen.until("› r1", "› /2")
        stage.begin("r3")
        await stage.tell("run.submitted", run="r3")
        await screen.until("r3 ", "› r1")
        assert [each.split()[1] for each in screen.lines if "triage" in each and "›" not in each] == ["r3", "r2"]


async def test_only_lines_that_changed_are_painted_again(stage, open_gateway, look, monkeypatch):
    await begin(stage)
    stage.all_runs[0] = stage.all_runs[0].model_copy(update={"ended": "2026-11-01T10:00:05Z", "status": "completed"})
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("suspend", "completed")
        painted = []
        monkeypatch.setattr(Grid, "refresh_line", lambda grid, y: painted.append((grid.id, y)))
        stage.begin("r1", status="denied", ended="2026-11-01T10:00:05Z")
        del stage.all_runs[1]
        await stage.tell("note")
        while ("runs", 1) not in painted:
            await asyncio.sleep(0.02)
        assert {each for each in painted if each[0] != "audit"} == {("runs", 1)}


async def test_a_restart_is_shown_and_nothing_is_missed_or_seen_twice(stage, open_gateway, look):
    await begin(stage)
    gateway = await open_gateway(stage)
    async with look() as screen:
        await screen.until("suspend")
        await gateway.close()
        await screen.until("runtime unreachable, retrying", "ops.rollback_co…")
        assert "Traceback" not in screen.text
        await stage.tell("run.resumed", run="r1")
        await open_gateway(stage)
        await screen.until("run.resumed", "epoch 3", gone="unreachable")
        assert [view.event["seq"] for view in screen.app.board.tail] == [1, 2, 3, 4, 5, 6]
        assert stage.followed_from == [0, 5]
        assert line(screen, "/1", "model", "123 ")


async def test_another_ledger_at_the_same_socket_starts_a_new_board(stage, open_gateway, look, another):
    await begin(stage)
    gateway = await open_gateway(stage)
    async with look() as screen:
        await screen.until("suspend")
        await gateway.close()
        other = another("two")
        other.begin("x1")
        for _ in range(9):
            await other.tell("model.loaded")
        await open_gateway(other)
        await screen.until("x1", "model.loaded", gone="suspend")
        assert len(screen.app.board.tail) == 9


async def test_before_any_runtime_runs_it_waits_for_one(stage, open_gateway, look):
    await begin(stage)
    async with look() as screen:
        await screen.until("runtime unreachable, retrying: no runtime is listening")
        await open_gateway(stage)
        await screen.until("suspend", gone="unreachable")


async def test_a_long_history_is_joined_at_its_end(stage, open_gateway, look):
    for _ in range(1_000):
        await stage.tell("note")
    await begin(stage)
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("›   1005")
        assert stage.followed_from == [805]
        await screen.press("tab", "tab", "up")
        await screen.until("›   1004")
        await stage.tell("note")
        await screen.until("›   1004")
        await screen.press("end")
        await screen.until("›   1006")


async def test_runs_can_be_filtered(stage, open_gateway, look):
    for number in range(5):
        stage.begin(f"r{number}", workflow="triage" if number % 2 else "report")
    await begin(stage)
    del stage.all_runs[0]
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("r4")
        await screen.press("slash", *"triage", "space", "q")
        await screen.until("triage q", gone="running")
        await screen.press("backspace", "backspace", "enter")
        await screen.until("r1", "r3", gone="report")
        await screen.press("escape")
        await screen.until("report", "triage")


HOSTILE = "[bold red]x[/] \x1b[2J\x1b]0;title\x07 \u202egnp.exe \u200b\r\nend"


async def test_text_from_elsewhere_reaches_the_terminal_harmless(stage, open_gateway, look):
    stage.begin("r1", workflow=HOSTILE, principal="[link=file:///]me[/link]")
    await stage.tell("step.completed", run="r1", step="/[reverse]", tool=HOSTILE, decision="\x1b[31mallow")
    await open_gateway(stage)
    async with look(size=(200, 24)) as screen:
        await screen.until("[bold red]x[/]", "/[reverse]", "\\x1b[2J\\x1b]0;title\\x07", "\\u202egnp.exe", "\\u200b")
        await screen.until("\\x0d\\x0aend", "[link=file:///]me[/link]", "\\x1b[31mallow")
        for character in "\x1b\x07\u202e\u200b\r":
            assert character not in screen.text


async def test_a_model_that_is_down_is_named(stage, open_gateway, look):
    await open_gateway(stage)

    async def status():
        view = await type(stage).status(stage)
        return view.model_copy(update={"parts": {"core": 1, "model": 0}})

    stage.status = status
    async with look() as screen:
        await screen.until("down: model")


async def test_q_and_ctrl_c_leave(stage, open_gateway, look):
    await open_gateway(stage)
    for key in ("q", "ctrl+c"):
        async with look() as screen:
            await screen.until("epoch 3")
            await screen.press(key)
            assert screen.app.return_code == 0
            assert not screen.app.is_running


async def test_a_wide_terminal_gives_its_width_to_long_names(stage, open_gateway, look):
    stage.begin("r1", workflow="a-workflow-with-quite-a-long-name")
    await stage.tell("note", run="r1")
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("a-workflow-wi…")
        await screen._pilot.resize_terminal(160, 40)
        await screen.until("a-workflow-with-quite-a-long-name")
