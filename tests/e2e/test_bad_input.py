"""What cannot work ends with the right exit code and one line that says what and what to do; nothing is lost."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.engine.runner import accelerated

BROKEN_SERVER = """
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        server = {"name": "broken", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": server}
    elif message["method"] == "tools/list":
        schema = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
        result = {"tools": [{"name": "weather", "description": "The weather in a city.", "inputSchema": schema}]}
    elif message["method"] == "tools/call":
        os._exit(1)
    elif "id" not in message:
        continue
    else:
        error = {"code": -32601, "message": "no such method"}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
FAILED_CALLS = "SELECT step FROM events WHERE kind = 'step.failed' AND decision = 'toolfailed'"
READ = '[server.broken.tools.weather]\neffect = "read"\negress = false\nirreversible = false\n'


@pytest.fixture(scope="module")
def chat_model(site: Any) -> Path:
    """The file of the default model."""
    return next(Path(each["file"]) for each in site.run("models", "list", "--json").json if each["kind"] == "chat")


def one_line(done: Any, code: int, *words: str) -> None:
    """Nothing on stdout, the exit code, and on stderr one line with the words."""
    assert (done.code, done.out) == (code, ""), done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("bailiwick: ")
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("verb", [["demo", "--json"], ["run", "do it"]])
def test_ray_is_not_installed(site: Any, tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    one_line(site.run(*verb, PYTHONPATH=path), 3, "Ray is not installed", "make setup")


def test_there_is_no_such_fault_and_the_lab_is_not_even_started(site: Any) -> None:
    one_line(site.run("demo", "--fault", "nix", "--json"), 2, "'nix'", "config-rollout")


def test_there_is_no_such_workflow(site: Any) -> None:
    one_line(site.run("run", "do it", "--workflow", "nix"), 2, "'nix'", "triage")
    assert site.run("runs", "list", "--json").json == []


def test_there_is_no_model_file(site: Any, tmp_path: Path) -> None:
    one_line(site.run("demo", "--json", "--model", str(tmp_path / "no.gguf")), 2, "no.gguf")


def test_the_model_file_is_truncated(site: Any, chat_model: Path, tmp_path: Path) -> None:
    with chat_model.open("rb") as whole:
        (tmp_path / "part.gguf").write_bytes(whole.read(10**6))
    one_line(site.run("demo", "--json", "--model", str(tmp_path / "part.gguf")), 2, "truncated", "part.gguf")


def test_the_model_file_was_altered_after_it_was_added(site: Any, chat_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(chat_model.read_bytes())
    assert site.run("models", "add", str(copy), "--name", "mine").code == 0
    with copy.open("r+b") as file:
        file.seek(10**6)
        file.write(b"altered")
    one_line(site.run("run", "do it", "--model", "mine"), 7, "mine.gguf")


@pytest.mark.skipif(accelerated(), reason="there is a GPU, so requiring one is no bad input")
@pytest.mark.parametrize("verb", [["run", "do it"], ["up"]])
def test_a_gpu_is_required_and_there_is_none(site: Any, verb: list[str]) -> None:
    one_line(site.run(*verb, "--require-gpu"), 3, "a GPU is required", "ACCEL=cuda")


def test_a_policy_does_not_parse(site: Any) -> None:
    folder = site.typed_in / "policies"
    folder.mkdir()
    (folder / "mine.cedar").write_text(
        '@id("a")\npermit (principal, action, resource);\n\npermit (principal action);\n'
    )
    one_line(site.run("run", "do it", "--policy", "./policies"), 2, f"{folder}/mine.cedar:4")


def test_a_tool_server_does_not_start(site: Any) -> None:
    (site.typed_in / "none.toml").write_text('[server.none]\ncommand = ["/no/such/program"]\n')
    one_line(site.run("run", "do it", "--tools", "none.toml"), 3, "/no/such/program")


def test_a_tool_server_dies_at_every_call(site: Any) -> None:
    script, file = site.folder / "broken.py", site.folder / "broken.toml"
    script.write_text(BROKEN_SERVER)
    command = json.dumps([sys.executable, "-I", str(script)])
    file.write_text(f"[server.broken]\ncommand = {command}\n{READ}")
    done = site.run("run", "What is the weather in Oslo?", "--workflow", "task", "--tools", str(file), "--json")
    # The model is told, as of any tool that does not work, and answers with what it has.
    assert (done.code, done.json["status"], done.err) == (0, "completed", ""), done.err
    failed = json.loads(site.run("audit", "sql", FAILED_CALLS, "--json").out)
    assert failed["rows"], "the ledger has no failed call"
    assert site.run("audit", "verify").code == 0


@pytest.mark.parametrize("data_dir", ["file", "file/below", "/proc/nix"])
@pytest.mark.parametrize("verb", [["demo", "--json"], ["run", "do it"], ["up"]])
def test_the_data_folder_cannot_be_written(site: Any, verb: list[str], data_dir: str) -> None:
    (site.folder / "file").write_text("mine")
    one_line(site.run(*verb, "--data-dir", str(site.folder / data_dir)), 2, str(site.folder / data_dir))
    assert (site.folder / "file").read_text() == "mine"


def test_another_program_listens_where_the_gateway_should(sites: Callable[[], Any]) -> None:
    site = sites()
    path = site.settings().socket
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        one_line(site.run("up"), 3, str(path))
        one_line(site.run("run", "do it"), 3, str(path))
    assert path.is_socket()


def test_a_file_lies_where_the_gateway_should_listen(sites: Callable[[], Any]) -> None:
    site = sites()
    path = site.settings().socket
    path.parent.mkdir(mode=0o700)
    path.write_text("mine")
    one_line(site.run("up"), 2, str(path))
    assert path.read_text() == "mine"


async def test_a_second_instance_on_the_same_data_folder(sites: Callable[[], Any]) -> None:
    """The second is told so, whether the first still starts or is up, and the first does not notice."""
    site = sites()
    first = site.start("up")
    second = site.start("up")
    while first.process.poll() is None and second.process.poll() is None:
        await asyncio.sleep(0.05)
    loser, winner = (first, second) if first.process.poll() is not None else (second, first)
    one_line(loser.wait(), 3, str(site.folder))
    async with site.client(winner) as client:
        one_line(site.run("up"), 3, "bailiwick down")
        assert (await client.status()).epoch == 1
    assert site.run("down").code == 0
    assert winner.wait().code == 0
