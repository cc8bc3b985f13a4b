"""`bailiwick agents`: who thinks for a run, and what each of them may and may not do."""

from typing import Annotated

import typer

from runtime.cli.page import plain, row, show, table
from runtime.cli.site import AsJson, Site, noun, verb
from store.records.errors import SettingsError

app = noun("Agents: who they are and what they may do.")


@verb(app, "list", on="nothing")
def list_agents(site: Site, json: AsJson = False) -> None:
    """All agents."""
    del site
    from runtime.agents.catalog import agents

    found = agents()
    if json:
        show([agent.json() for agent in found])
        return
    table(("AGENT", "VERSION", "DOES"), [(agent.name, agent.version, agent.description) for agent in found])


@verb(app, "show", on="nothing")
def show_agent(site: Site, name: Annotated[str, typer.Argument(help="An agent's name.")], json: AsJson = False) -> None:
    """One agent: its prompt template's digest, its schema, its rights."""
    del site
    from runtime.agents.catalog import agents

    found = [agent for agent in agents() if agent.name == name]
    if not found:
        raise SettingsError("there is no such agent", name, f"there are: {', '.join(a.name for a in agents())}")
    if json:
        show(found[0].json())
        return
    for key, value in found[0].json().items():
        row(f"{key}: ", plain(value) or "-")
