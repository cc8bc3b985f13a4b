"""The peer as a program, with one that speaks as llama-server does: its command line, its socket, its end."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.engine.peer import Setting
from benchmarks.engine.process import ContenderFailed, Process
from benchmarks.engine.program import arguments
from benchmarks.engine.workload import Job, Level

SERVER = """
import json, os, socketserver, sys
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    loads = 2

    def address_string(self):
        return "socket"

    def do_GET(self):
        Handler.loads -= 1
        self.tell(503 if Handler.loads > 0 else 200, {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["max_tokens"] == 13:
            return self.tell(400, {"error": {"message": "an unlucky number"}})
        timings = {"cache_n": 2, "prompt_n": 3, "prompt_ms": 1.0}
        timings |= {"predicted_n": asked["max_tokens"], "predicted_ms": 0.0}
        said = f"{asked['logit_bias']} {os.getpid()}"
        self.tell(200, {"choices": [{"message": {"content": said}}], "timings": timings})

    def tell(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

if "none.gguf" in sys.argv:
    sys.exit("there is no such model")
Server(sys.argv[sys.argv.index("--host") + 1], Handler).serve_forever()
"""


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    file = tmp_path / "llama-server"
    file.write_text(f"#!{sys.executable}\n{SERVER}")
    file.chmod(0o755)
    return Setting("llama.cpp", program=str(file))


def job(tokens: int) -> Job:
    return Job(0, "writer", "system", "user", tokens, banned=(4, 5))


def test_it_is_awaited_asked_and_ended(setting: Setting) -> None:
    with Process(setting, Path("any.gguf"), slots=1, context=64, threads=1) as process:
        answer = process.answer(job(7))
        outcome = process.run(Level("free_text", 2, (job(1), job(1))))
    assert (answer.error, answer.prompt_tokens, answer.reused_tokens, answer.generated_tokens) == ("", 5, 2, 7)
    banned, _, server = answer.text.rpartition(" ")
    assert banned == "[[4, False], [5, False]]"
    assert [each.generated_tokens for each in outcome.answers] == [1, 1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(server), 0)


def test_what_it_refuses_is_an_answer_with_its_reason(setting: Setting) -> None:
    with Process(setting, Path("any.gguf"), slots=1, context=64, threads=1) as process:
        assert "an unlucky number" in process.answer(job(13)).error


def test_one_that_cannot_load_says_why(setting: Setting) -> None:
    with pytest.raises(ContenderFailed, match=r"llama\.cpp ended with code 1: .*ended with code 1"):
        Process(setting, Path("none.gguf"), slots=1, context=64, threads=1)


def test_its_command_line_says_what_the_setting_does() -> None:
    split = arguments("m.gguf", Setting("x", ram_cache=0, reuse=64), 8, 4096, 2)
    words = " ".join(split)
    assert words.startswith("--model m.gguf")
    for each in ("--ctx-size 4096", "--parallel 8", "--threads 2", "--cache-ram 0", "--cache-reuse 64"):
        assert each in words
    assert "--no-kv-unified" in split
    assert "--kv-unified" in arguments("m.gguf", Setting("x", unified=True), 8, 4096, 2)
