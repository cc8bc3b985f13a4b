"""The README says only what is so: its tools file loads, its policies check, its commands exist, its tables fit."""

import asyncio
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import create_model

from bailiwick import FakeRun
from runtime.costing import NEWEST
from runtime.gate.check import check
from runtime.settings import Settings
from store.records import errors
from tools.catalog import load
from tools.mcp.toolset import McpToolset
from tools.opslab.faults import fault_names
from tools.record import ToolRecord

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text under a heading."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str) -> list[str]:
    """The indented blocks of a text, each without its indent."""
    found = re.findall(r"(?:^    .*\n(?:\n+(?=    ))?)+", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def commands() -> list[str]:
    """Every command line of bailiwick that the README shows."""
    lines = [line for block in blocks(README) for line in block.splitlines()]
    return [
        line.split("#")[0].removeprefix(".venv/bin/").strip()
        for line in lines
        if re.match(r"(\.venv/bin/)?bailiwick ", line)
    ]


async def test_the_tool_server_starts_and_fits_its_tools_file(tmp_path: Path) -> None:
    program, text = blocks(section("Bring an MCP server"))
    (tmp_path / "server.py").write_text(program)
    file = tmp_path / "tools.toml"
    file.write_text(text.split("\nbailiwick ")[0].replace("/srv/notes", str(tmp_path)))
    toolset = McpToolset("notes", load(file).server["notes"])
    await toolset.open()
    try:
        records = {record.name: record for record in await toolset.records()}
        await toolset.call("notes.append", {"text": "the pump leaks", "key": "run/1"}, 5.0)
        done = await toolset.call("notes.status", {"key": "run/1"}, 5.0)
        found = await toolset.call("notes.search", {"query": "Pump"}, 5.0)
    finally:
        await toolset.close()
    assert records["notes.append"].reconcile == "notes.status"
    assert records["notes.status"].local_read
    assert done.value == {"happened": True}
    assert found.value == {"notes": ["the pump leaks"]}


def test_the_policies_check(tmp_path: Path) -> None:
    text = blocks(section("Bring a policy"))[0].split("\nbailiwick ")[0]
    (tmp_path / "notes.cedar").write_text(text)
    record = ToolRecord(
        name="notes.append", input_schema={"type": "object", "properties": {"text": {"type": "string"}}}
    )
    findings = check(tmp_path, [record])
    assert [finding.name for finding in findings] == ["notes:append", "approval:notes"]
    assert not [finding.problem for finding in findings if finding.problem]


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_and_option_exists(line: str) -> None:
    words = shlex.split(line)[1:]
    verbs = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
    for count in (2, 1):
        shown = subprocess.run(
            [Path(sys.executable).with_name("bailiwick"), *verbs[:count], "--help"], capture_output=True, text=True
        )
        if shown.returncode == 0:
            break
    assert shown.returncode == 0, shown.stderr
    for option in [word for word in words if word.startswith("--")]:
        assert option in shown.stdout


def test_the_workflow_passes_its_test() -> None:
    workflow, test = blocks(section("Bring a workflow"))
    known = {"asyncio": asyncio, "FakeRun": FakeRun, "Facts": create_model("Facts", service=str), "page_someone": None}
    for block in (workflow.split("\nbailiwick ")[0], test):
        exec(compile(block, "README.md", "exec"), known)
    assert [receipt.tool for receipt in known["run"].committed] == ["ops.restart_service"]


def test_every_method_in_the_table_is_used_by_its_example() -> None:
    rows = re.findall(r"^\| `(?:staged\.)?(\w+)\(.*\| `(\w+)` \|$", section("Bring a workflow"), re.MULTILINE)
    assert len(rows) == 10
    for method, example in rows:
        assert f".{method}(" in (ROOT / "examples" / f"{example}.py").read_text()


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section("After the fact"), re.MULTILINE)}
    assert codes == {*range(9), errors.INTERRUPTED}


def test_the_rates_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [text] = [block for block in blocks(section("Budgets and costs")) if "[rates]" in block]
    folder = tmp_path / "bailiwick"
    folder.mkdir()
    (folder / "bailiwick.toml").write_text(text)
    (folder / "bailiwick.toml").chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rates = Settings.load().rates
    assert rates.of_model("SmolLM2-135M-Instruct", 1000, 1000, 1000) == 8
    assert (rates.of_model("another", 1000, 1000, 1000), rates.of_tool("web.search")) == (40, 5000)
    named = re.search(r"its last (\d+) successful tasks", section("Budgets and costs").replace("\n", " "))
    assert named
    assert int(named[1]) == NEWEST


def test_every_fault_is_named() -> None:
    assert set(fault_names()) <= set(re.findall(r"`([a-z-]+)`", section("Two commands")))


def test_every_target_of_make_has_a_line() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert {line.split()[1] for line in shown.stdout.splitlines()} == set(phony[1].split())
