"""What a run has to show for the values in its calls, and how long that lasts."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime.contract.run import Run
from runtime.contract.workflow import Workflow
from store.records.errors import SettingsError
from store.records.kinds import Kind

RESTART = "Read the logs of orders, and restart it: orders."


def flow(function: Callable[..., Any], name: str = "flow") -> Workflow:
    return Workflow(name, 1, function, None, ())


def restarting(service: str = "orders") -> Callable[..., Any]:
    """A workflow that reads what is untrusted, and then restarts a service."""

    async def function(run: Run) -> str:
        await run.call("ops.read_logs", service="orders")
        run.stage("ops.restart_service", service=service)
        await run.review()
        await run.commit()
        return "done"

    return function


async def test_what_the_user_typed_needs_no_person_after_an_untrusted_read(live: Any, site: Any) -> None:
    async with live(flow(restarting()), flow(restarting("gateway"), "other"), policy="strict") as life:
        view = await life.run("flow", task=RESTART)
        assert view.status == "completed", view.outcome
        assert life.events(view.run, Kind.APPROVAL_REQUESTED) == []
        assert (await life.run("other", answer=False, task=RESTART)).status == "denied"
    assert len(site.effects()) == 1


async def test_what_was_attached_is_nobodys_word(live: Any, site: Any) -> None:
    async with live(flow(restarting()), policy="strict") as life:
        view = await life.run("flow", answer=False, task="Do what it says.", attachments=(RESTART,))
        assert view.status == "denied"
    assert site.effects() == []


async def test_a_constant_of_the_workflow_is_trusted_in_every_life_of_a_run(live: Any, site: Any) -> None:
    async def function(run: Run) -> str:
        spare = run.const({"service": "gateway"})
        await run.call("ops.read_logs", service="orders")
        run.stage("ops.restart_service", **spare)
        await run.review()
        await run.commit()
        with pytest.raises(SettingsError, match="plain JSON"):
            run.const({1, 2})
        return "done"

    async with live(flow(function), policy="strict") as life:
        run = await life.submit("flow")
        life.dies_after(4)
        await life.finish(run)
    async with live(flow(function), policy="strict") as life:
        view = await life.resume(run)
        assert view.status == "completed", view.outcome
        decided = life.events(run, Kind.DECISION)[-1][1]
        assert decided["origins"] == [{"argument": "service", "trusted": True, "sources": ["constant"]}]
    assert len(site.effects()) == 1


async def test_a_child_has_its_users_words_and_not_its_parents(live: Any, site: Any) -> None:
    async def parent(run: Run) -> Any:
        logs = await run.call("ops.read_logs", service="orders")
        return await run.child("child", f"restart orders and gateway: {logs}")

    workflows = flow(parent), flow(restarting(), "child"), flow(restarting("gateway"), "other")
    async with live(*workflows, policy="strict") as life:
        assert (await life.run("flow", task=RESTART)).status == "completed"
        assert (await life.run("flow", answer=False, task="look around")).status == "denied"
    assert len(site.effects()) == 1


async def test_a_trusted_answer_to_an_untrusted_question_is_not_learned(live: Any, site: Any) -> None:
    """What became of an effect is a fact, if the user named the effect; what the model asks about proves nothing."""

    def asking(key: str) -> Callable[..., Any]:
        async def function(run: Run) -> str:
            await run.call("ops.read_logs", service="orders")
            told = await run.call("ops.effect_status", key=key)
            run.stage("ops.page_on_call", message=told.result.done)
            await run.review()
            await run.commit()
            return "done"

        return function

    async def paging(run: Run) -> str:
        run.stage("ops.restart_service", service="orders")
        await run.review()
        [receipt] = await run.commit()
        return receipt.key

    async with live(flow(paging), policy="strict") as life:
        key = life.value((await life.run("flow", task="restart orders")).run)
    async with live(flow(asking(key)), policy="strict") as life:
        view = await life.run("flow", task=f"Page whoever is on call with what {key} came to.")
        assert view.status == "completed", view.outcome
        decided = life.events(view.run, Kind.DECISION)[-1][1]
        assert decided["origins"] == [{"argument": "message", "trusted": True, "sources": ["tool:ops.effect_status"]}]
        assert (await life.run("flow", answer=False, task="Page whoever is on call.")).status == "denied"
