"""Workflow files: found, refused with a line, and written to start from."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.workflows.catalog import load, module_of, workflows_in
from runtime.workflows.new import write
from store.records.errors import SettingsError

ROOT = Path(__file__).parents[2]
ONE = '''
from bailiwick import Run, workflow

@workflow("{name}")
async def flow(run: Run) -> str:
    """Does it."""
    return "done"
'''


def test_the_shipped_workflows_are_known() -> None:
    known = load()
    assert sorted(known) == ["task", "triage"]
    assert all(each.description and each.version >= 1 for each in known.values())


def test_a_file_adds_its_workflows(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "flow.py").write_text(ONE.format(name=folder))
    assert sorted(load([tmp_path / "a/flow.py", tmp_path / "b/flow.py"])) == ["a", "b", "task", "triage"]


def test_a_file_may_postpone_its_annotations(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from pydantic import BaseModel\n"
        "from bailiwick import Run, workflow\n"
        "@dataclass\nclass Kept:\n    number: ClassVar[int] = 3\n"
        "class Asked(BaseModel):\n    inner: Inner\n"
        "class Inner(BaseModel):\n    number: int\n"
        "@workflow('late')\nasync def late(run: Run, asked: Asked) -> None:\n    'Does it.'\n"
    )
    (found,) = workflows_in(module_of(path))
    assert found.input is not None
    assert found.input.model_validate({"inner": {"number": 3}})


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("x = 1\ny = (\n", "SyntaxError", 2),
        ("\n\nraise ValueError('a secret')\n", "ValueError", 3),
        ("import nowhere_at_all\n", "ModuleNotFoundError", 1),
        ("import json\njson.loads('{{')\n", "JSONDecodeError", 2),
        ("import sys\n\nsys.exit(0)\n", "SystemExit", 3),
    ],
)
def test_a_file_that_fails_says_where(tmp_path: Path, text: str, what: str, line: int) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(SettingsError) as found:
        module_of(path)
    assert str(found.value) == f"the workflow file fails with {what} ({path}:{line})"
    assert not [name for name in sys.modules if name.startswith("workflow_broken")]


def test_what_is_no_workflow_file(tmp_path: Path) -> None:
    empty, other = tmp_path / "empty.py", tmp_path / "flow.txt"
    empty.write_text("x = 1\n")
    other.write_text(ONE.format(name="x"))
    for path, what in (
        (tmp_path / "none.py", "no such workflow file"),
        (tmp_path, "no such workflow file"),
        (empty, "declares no workflow"),
        (other, "ends in .py"),
    ):
        with pytest.raises(SettingsError, match=what):
            module_of(path)


@pytest.mark.parametrize("names", [("triage",), ("mine", "mine")])
def test_a_name_is_given_once(tmp_path: Path, names: tuple[str, ...]) -> None:
    paths = [tmp_path / f"flow{index}.py" for index in range(len(names))]
    for path, name in zip(paths, names, strict=True):
        path.write_text(ONE.format(name=name))
    with pytest.raises(SettingsError, match=f"two workflows are called '{names[0]}'"):
        load(paths)


def test_a_new_workflow_passes_its_own_test(tmp_path: Path) -> None:
    file, test = write(tmp_path / "close_ticket.py")
    assert list(load([file])) == ["triage", "task", "close-ticket"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_new_workflow_replaces_nothing(tmp_path: Path) -> None:
    write(tmp_path / "mine.py")
    before = (tmp_path / "mine.py").read_text()
    with pytest.raises(SettingsError, match="there already"):
        write(tmp_path / "mine.py")
    assert (tmp_path / "mine.py").read_text() == before
    for name in ("mine.txt", "not-a-module.py"):
        with pytest.raises(SettingsError, match="named like a Python module"):
            write(tmp_path / name)
    with pytest.raises(SettingsError, match="cannot write"):
        write(tmp_path / "nowhere" / "mine.py")
