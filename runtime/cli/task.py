"""`bailiwick run` and `bailiwick resume`: a task of the user's own, and what was left open of one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from runtime.cli.site import AsJson, Site, verb

Approve = Annotated[Literal["ask", "yes", "no"], typer.Option(help="How to answer approvals: `ask` asks here.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the top group."""
    verb(app, "run")(run)
    verb(app, "resume")(resume)


def run(
    site: Site,
    task: Annotated[str, typer.Argument(help="What is to be done, in your own words.")],
    tools: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A tools file; may be repeated.")] = None,
    attach: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A text from elsewhere: read, but not trusted.")
    ] = None,
    workflow: Annotated[str, typer.Option(help="The workflow; the router chooses if not given.")] = "",
    policy: Annotated[str | None, typer.Option(help="A policy set, or a folder of policies.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name; see `bailiwick models list`.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seeds the model.")] = 0,
    approve: Approve = "ask",
    json: AsJson = False,
) -> int:
    """Give the agents a task, and see it through."""
    from runtime import embedded

    settings = site.settings(tools=tools or None, policy=policy, model=model)
    return embedded.run(
        settings, task, workflow=workflow, attach=tuple(attach or ()), seed=seed, approve=approve, json=json
    )


def resume(
    site: Site,
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins; all open runs if not given.")] = "",
    approve: Approve = "ask",
    json: AsJson = False,
) -> int:
    """Go on with what was interrupted. Nothing that has happened happens again."""
    from runtime import embedded

    return embedded.resume(site.settings(), run, approve=approve, json=json)
