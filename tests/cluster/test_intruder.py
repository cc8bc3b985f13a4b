"""Code inside an agent's process can come by a handle on any actor; without the secret it is worth nothing."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

INTRUDER = Path(__file__).with_name("intruder.py")
AWKWARD = Path(__file__).parents[1] / "tools" / "awkward_server.py"


def test_an_agent_gone_bad_can_neither_call_tools_nor_answer_approvals_nor_lock_the_core_out(tmp_path: Path) -> None:
    tools = tmp_path / "tools.toml"
    tools.write_text(f'[server.odd]\ncommand = ["{{python}}", "-I", "-S", "{AWKWARD}", "", "{tmp_path}"]\n')
    folder = Path(tempfile.mkdtemp(prefix="bw-", dir="/tmp"))  # short: it will hold sockets
    try:
        done = subprocess.run([sys.executable, INTRUDER, folder, tools], capture_output=True, text=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "odd.echo" in found["tools"]
    assert set(found["tried"].values()) == {"Denied"}, found["tried"]
    assert found["after"] == {"text": "still here"}
    assert not found["shown"]
