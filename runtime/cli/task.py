"""`bailiwick run` and `bailiwick resume`: a task of the user's own, and what was left open of one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from runtime.cli.flags import Model, Policy, RequireGpu, Tools, Workflows, given
from runtime.cli.site import AsJson, Site, verb

Approve = Annotated[Literal["ask", "yes", "no"], typer.Option(help="How to answer approvals: `ask` asks here.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the top group."""
    verb(app, "run")(run)
    verb(app, "resume")(resume)


def run(
    site: Site,
    task: Annotated[str, typer.Argument(help="What is to be done, in your own words.")],
    tools: Tools = None,
    attach: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A text from elsewhere: read, but not trusted.")
    ] = None,
    workflow: Annotated[str, typer.Option(metavar="NAME", help="The workflow; the router chooses if not given.")] = "",
    workflows: Workflows = None,
    policy: Policy = None,
    model: Model = None,
    require_gpu: RequireGpu = False,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seeds the model.")] = 0,
    queue: Annotated[str, typer.Option(metavar="NAME", help="The queue it waits in; see `bailiwick queues`.")] = "",
    approve: Approve = "ask",
    json: AsJson = False,
) -> int:
    """Give the agents a task, and see it through."""
    from runtime import embedded

    typed = given(tools=tools, workflows=workflows, policy=policy, model=model, require_gpu=require_gpu)
    return embedded.run(
        site.settings(**typed),
        task,
        workflow=workflow,
        attach=tuple(attach or ()),
        seed=seed,
        queue=queue,
        approve=approve,
        json=json,
        flags=tuple(typed),
    )


def resume(
    site: Site,
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins; all open runs if not given.")] = "",
    tools: Tools = None,
    workflows: Workflows = None,
    policy: Policy = None,
    model: Model = None,
    require_gpu: RequireGpu = False,
    approve: Approve = "ask",
    json: AsJson = False,
) -> int:
    """Go on with what was interrupted, with the tools and the policy it was started with.

    Nothing that has happened happens again.
    """
    from runtime import embedded

    typed = given(tools=tools, workflows=workflows, policy=policy, model=model, require_gpu=require_gpu)
    return embedded.resume(site.settings(**typed), run, approve=approve, json=json, flags=tuple(typed))
