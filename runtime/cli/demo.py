"""`bailiwick demo`: a real fault in real services, found and repaired under policy."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from runtime.cli.flags import RequireGpu, given
from runtime.cli.site import AsJson, Site, verb


def register(app: typer.Typer) -> None:
    """Add the verb to the top group."""
    verb(app, "demo", on="folder")(demo)


def demo(
    site: Site,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Chooses the fault, and seeds the model.")] = 0,
    fault: Annotated[str, typer.Option(help="Inject this fault instead, as in config-rollout.")] = "",
    approve: Annotated[
        Literal["ask", "yes", "no"], typer.Option(help="How to answer approvals; `ask` asks on the terminal.")
    ] = "ask",
    inject: Annotated[bool, typer.Option("--inject", help="Plant an instruction in the logs the agent reads.")] = False,
    crash: Annotated[bool, typer.Option("--crash", help="Kill the core between intent and outcome.")] = False,
    model: Annotated[Path | None, typer.Option(metavar="FILE", help="Think with this GGUF.")] = None,
    require_gpu: RequireGpu = False,
    json: AsJson = False,
) -> int:
    """Watch a real fault be found and repaired.

    Starts three small services, breaks one, and lets the agents find out why and repair it, under policy.
    """
    from runtime.demo import main
    from runtime.demo.main import Options

    options = Options(seed=seed, fault=fault, approve=approve, inject=inject, crash=crash, model=model, json=json)
    return main.run(site.settings(**given(require_gpu=require_gpu)), options)
