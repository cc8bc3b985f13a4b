"""The tools file: strict, safe by default, and clear about what is wrong."""

import sys
from pathlib import Path

import pytest

from store.records.errors import SettingsError
from tools.catalog import MARK, Catalog, load
from tools.opslab.lab import TOOLS_FILE
from tools.record import Effect

GOOD = """
[server.ops]
command = ["{python}", "-m", "x", "{state}"]
env = { MODE = "{state}/mode" }
[server.ops.tools.look]
effect = "read"
egress = false
irreversible = false
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tools.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_placeholders_are_filled_and_the_interpreter_is_ours(tmp_path: Path) -> None:
    server = load(write(tmp_path, GOOD), {"state": "/a b"}).server["ops"]
    assert server.command == (sys.executable, "-m", "x", "/a b")
    assert server.env == {"MODE": "/a b/mode"}


def test_the_shipped_file_gives_every_write_a_key_and_a_way_to_reconcile(tmp_path: Path) -> None:
    tools = load(TOOLS_FILE, {"state": str(tmp_path)}).server["ops"].tools
    writes = {name: said for name, said in tools.items() if said.effect is Effect.WRITE}
    assert len(writes) == 8
    assert len(tools) == 15
    assert all(said.key_argument == "key" and said.reconcile == "ops.effect_status" for said in writes.values())
    assert {name for name, said in tools.items() if said.egress} == {"send_mail"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server", "not TOML"),
        ("", "server: field required"),
        ("[server]", "server"),
        ("[server.ops]\nenv = {}", "server.ops.command: field required"),
        ("[server.ops]\ncommand = []", "server.ops.command"),
        ("[server.ops]\ncommand = ['']", "names no program"),
        ("[server.ops]\ncommand = 'run it'", "server.ops.command"),
        ("[server.ops]\ncommand = ['x']\nshell = true", "server.ops.shell: extra inputs"),
        ("[server.'Bad Name']\ncommand = ['x']", "server.Bad Name"),
        ("[server.ops]\ncommand = ['x', '{nobody}']", "unknown placeholder {nobody}"),
        ("[server.ops]\ncommand = ['x']\nenv = { BAILIWICK_TOKEN = 'x' }", "belongs to the runtime"),
        ("[server.ops]\ncommand = ['x']\ninherit = ['RAY_ADDRESS']", "belongs to the runtime"),
        ("[server.ops]\ncommand = ['x']\ninherit = ['A=B']", "names of variables"),
        ("[server.ops]\ncommand = ['x']\n[server.ops.tools.t]\neffect = 'maybe'", "server.ops.tools.t.effect"),
        (
            "[server.ops]\ncommand = ['x']\n[server.ops.tools.t]\nkey_argument = ''\nreconcile = 'a.b'",
            "needs a key_arg",
        ),
        ("[server.ops]\ncommand = ['x']\n[server.ops.tools.t]\neffect = 'read'\nkey_argument = 'k'", "a read has no"),
        ("[server.ops]\ncommand = ['x']\n[server.ops.tools.t]\ntimeout_s = 0", "timeout_s"),
        ("[server.ops]\ncommand = ['x']\n[server.ops.tools.t]\noutput = { integrity = 'sure' }", "output.integrity"),
        ("\u2028".join("x" * 600_000 for _ in range(2)), "larger than 1 MiB"),
    ],
)
def test_a_bad_file_gets_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text))
    line = str(caught.value)
    assert says in line
    assert "\n" not in line
    assert str(tmp_path) in line


def test_an_error_never_quotes_a_value(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, "[server.ops]\ncommand = ['x']\nenv = { TOKEN = ['hunter2'] }"))
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load(tmp_path / "none.toml")


def test_the_environment_holds_what_is_named_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("WANTED", "w")
    entry = {"command": ["x"], "env": {"MODE": "m"}, "inherit": ["WANTED"]}
    server = Catalog.model_validate({"server": {"ops": entry}}).server["ops"]
    assert set(server.environment()) == {"PATH", "LANG", "MODE", "WANTED", MARK}
    monkeypatch.delenv("WANTED")
    with pytest.raises(SettingsError, match="WANTED"):
        server.environment()
