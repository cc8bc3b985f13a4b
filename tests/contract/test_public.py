"""The public face, and who may import what: read from the source, so that no import has to happen."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bailiwick

ROOT = Path(bailiwick.__file__).parent
ROOMS = ("store", "models", "tools", "runtime", "tui")
DOORS = {
    "duckdb": ("store/ledger/",),
    "lancedb": ("store/memory/",),
    "llama_cpp": ("models/engine/runner.py",),
    "cedarpy": ("runtime/gate/policy.py",),
    "ray": ("runtime/actors/", "runtime/cluster/"),
    "textual": ("tui/",),
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the rooms: its path from the root, and its tree."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    """The top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_public_face_is_what_it_says() -> None:
    tree = ast.parse((ROOT / "bailiwick.py").read_text())
    names = [
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(names) == sorted(bailiwick.__all__) == list(bailiwick.__all__)
    assert all(hasattr(bailiwick, name) for name in bailiwick.__all__)


def test_the_public_face_is_light() -> None:
    heavy = ", ".join(map(repr, DOORS))
    code = f"import sys, bailiwick; sys.exit(', '.join({{{heavy}}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_room_imports_the_public_face() -> None:
    modules = dict(sources())
    assert len(modules) > 100
    assert [path for path, tree in modules.items() if "bailiwick" in imported(tree)] == []


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_has_one_door(library: str) -> None:
    users = [path for path, tree in sources() if library in imported(tree)]
    assert users, "the door is where the design says"
    assert [path for path in users if not path.startswith(DOORS[library])] == []
