"""`bailiwick workflows show`: the page for a change board, with real tool servers, policies and files."""

from pathlib import Path
from typing import Any

AWKWARD = Path(__file__).parents[1] / "tools" / "awkward_server.py"
FLOW = '''
from bailiwick import ByModel, Run, workflow


@workflow("echo", tools=("odd.echo",), by_model=(ByModel("ask", "what is said"),))
async def echo(run: Run) -> None:
    """Say it again."""
'''


def servers(folder: Path) -> None:
    """A tools file with one server, of whose tools nobody has classified any."""
    entry = f'[server.odd]\ncommand = ["{{python}}", "-I", "-S", "{AWKWARD}", "", "{folder}"]\n'
    (folder / "typed-in" / "t.toml").write_text(entry)
    (folder / "typed-in" / "flow.py").write_text(FLOW)


def test_a_page_with_real_tools(command: Any, tmp_path: Path) -> None:
    servers(tmp_path)
    page = command("workflows", "show", "echo", "--file", "flow.py", "--tools", "t.toml", "--json").json
    assert (page["by_model"], page["policy"]["set"]) == (
        [{"step": "ask", "decides": "what is said", "tools": []}],
        "strict",
    )
    [tool] = page["blast_radius"]
    assert (tool["tool"], tool["egress"], tool["irreversible"]) == ("odd.echo", True, True)
    assert (tool["reach"], tool["needs_review"]) == ("with a person", True)
    said = command("workflows", "show", "echo", "--file", "flow.py", "--tools", "t.toml", "--policy", "lab")
    assert "  odd.echo: write, leaves the machine, cannot be undone, reaches: never" in said.out
    assert "denied (lab:no-irreversible-egress)" in said.out


def test_without_tools_the_page_says_what_nobody_offers(command: Any) -> None:
    done = command("workflows", "show", "triage")
    assert done.code == 0
    assert "not offered: ops.check_health, ops.clear_quota" in done.out
    assert "BLAST RADIUS under the policy set strict" in done.out
    assert "is the only user here" in done.out


def test_what_cannot_be_shown_is_one_line(command: Any, tmp_path: Path) -> None:
    for words, what in (
        (("nowhere",), "there is no such workflow"),
        (("triage", "--policy", "nowhere"), "there is no such policy set"),
        (("triage", "--user", "no-such-user-here"), "does not know the user 'no-such-user-here'"),
    ):
        done = command("workflows", "show", *words)
        assert done.code in (2, 5)
        assert what in done.err
        assert done.err.count("\n") == 1
