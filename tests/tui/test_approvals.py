"""The approval screen: the whole call, two deliberate keys, and the answer at the right address."""

import pytest

from runtime.gateway.messages import Answer, ApprovalView


def approval(name, **fields):
    """An approval that waits."""
    facts = {
        "run": "r1",
        "step": "/4",
        "tool": f"ops.{name}",
        "arguments": {"service": "orders", "note": "line one\nline two"},
        "requester": "ann",
        "policies": ("approval:rollback",),
        "digest": f"digest-of-{name}",
        "labels": {"integrity": "untrusted"},
        "since": "2026-11-01T10:00:00Z",
    }
    return ApprovalView.model_validate({"approval": name, **facts, **fields})


@pytest.fixture
async def waiting(stage, open_gateway):
    """Two approvals wait."""
    stage.waiting = [approval("first"), approval("second")]
    stage.begin("r1", status="waiting")
    await stage.tell("approval.requested", run="r1")
    await open_gateway(stage)
    return stage


async def test_the_header_says_that_something_waits(waiting, look):
    async with look() as screen:
        await screen.until("waiting 2 (press a)")


@pytest.mark.parametrize(("key", "yes"), [("y", True), ("n", False)])
async def test_an_answer_takes_a_second_key_and_carries_its_meaning(waiting, look, key, yes):
    async with look() as screen:
        await screen.until("waiting 2")
        await screen.press("a")
        await screen.until(
            "› ops.first", "digest-of-first", "approval:rollback", '"service": "orders"', "line one\\nline"
        )
        await screen.press(key)
        await screen.until(f"{'APPROVE' if yes else 'DENY'} ops.first of run r1?", "digest digest-of-first")
        assert waiting.answers == []
        await screen.press(*"yes", "enter")
        await screen.until("› ops.second", "digest-of-second")
        assert waiting.answers == [Answer(approval="first", yes=yes, meaning="yes", digest="digest-of-first")]
        await screen.press("escape")
        await screen.until("waiting 1")


async def test_escape_at_the_second_key_answers_nothing(waiting, look):
    async with look() as screen:
        await screen.until("waiting 2")
        await screen.press("a", "y", "y", "escape")
        await screen.until("› ops.first", gone="APPROVE")
        assert waiting.answers == []


async def test_the_answer_goes_to_what_was_shown_though_the_list_changes(waiting, look):
    async with look() as screen:
        await screen.until("waiting 2")
        await screen.press("a", "down")
        await screen.until("› ops.second", "digest-of-second")
        await screen.press("y")
        waiting.waiting.insert(0, approval("newest"))
        await waiting.tell("approval.requested", run="r1")
        while len(screen.app.board.approvals) < 3:
            await screen.press()
        await screen.press("enter")
        await screen.until("› ops.first", gone="APPROVE")
        assert [each.approval for each in waiting.answers] == ["second"]


async def test_an_approval_that_is_gone_is_said_to_be(waiting, look):
    async with look() as screen:
        await screen.until("waiting 2")
        await screen.press("a", "y")
        waiting.waiting = []
        await screen.press("enter")
        await screen.until("not answered: this approval is not waiting")
        assert waiting.answers == []


async def test_with_no_runtime_the_answer_is_not_lost_in_silence(stage, open_gateway, look):
    stage.waiting = [approval("first")]
    await stage.tell("approval.requested")
    gateway = await open_gateway(stage)
    async with look() as screen:
        await screen.until("waiting 1")
        await screen.press("a", "y")
        await gateway.close()
        while not screen.app.board.trouble:
            await screen.press()
        await screen.press("enter")
        await screen.until("not answered: no runtime is connected")


async def test_nothing_waiting_is_said_and_keys_do_nothing(stage, open_gateway, look):
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("waiting 0")
        await screen.press("a")
        await screen.until("Nothing waits for a person.")
        await screen.press("y", "n")
        assert "Enter answers" not in screen.text


async def test_long_arguments_are_whole_to_their_last_word(stage, open_gateway, look):
    word = "x" * 500 + "END-OF-WORD"
    stage.waiting = [approval("first", arguments={"lines": [f"row {n}" for n in range(120)], "word": word})]
    await stage.tell("approval.requested")
    await open_gateway(stage)
    async with look() as screen:
        await screen.until("waiting 1")
        await screen.press("a", "tab")
        seen = ""
        for _ in range(20):
            seen += screen.text
            await screen.press("pagedown")
        assert all(f'"row {n}"' in seen for n in range(120))
        assert "END-OF-WORD" in "".join(each.strip(" │┃") for each in seen.split("\n"))


async def test_arguments_cannot_disguise_themselves(stage, open_gateway, look):
    arguments = {"path": "/srv/\u202etxt.exe", "note": "[bold]safe[/]\x1b[2K\u2066", "same": "\\u202e"}
    stage.waiting = [approval("first", tool="ops.\u200bfirst", arguments=arguments)]
    await stage.tell("approval.requested")
    await open_gateway(stage)
    async with look(size=(120, 50)) as screen:
        await screen.until("waiting 1")
        await screen.press("a")
        await screen.until('"path": "/srv/\\u202etxt.exe"', '"[bold]safe[/]\\u001b[2K\\u2066"', '"same": "\\\\u202e"')
        await screen.press("y")
        await screen.until("APPROVE ops.\\u200bfirst")
        assert not set("\u202e\u200b\x1b\u2066") & set(screen.text)
