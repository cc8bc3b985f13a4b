"""Homes without Ray: who may have one, where it is when paths are long, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from runtime.cluster import environment
from runtime.cluster.home import Home, drivers
from runtime.folders import private_folder
from store.records.errors import SettingsError


def test_a_long_runtime_folder_gets_a_short_home_that_is_still_found(tmp_path: Path) -> None:
    parent = tmp_path / ("long" * 20)
    home = Home.make(parent)
    try:
        assert len(bytes(home.path)) < 20
        assert drivers(parent) == [os.getpid()]
    finally:
        home.close()
    assert not home.path.exists()
    assert drivers(parent) == []
    assert list(parent.glob("r-*")) == []


def test_the_warden_ends_what_lives_in_the_home_and_nothing_else(tmp_path: Path) -> None:
    home = Home.make(tmp_path / "run")
    inside, outside = (
        subprocess.Popen([sys.executable, "-c", "input()"], cwd=folder, stdin=subprocess.PIPE)
        for folder in (home.empty, tmp_path)
    )
    try:
        home.close()
        assert inside.wait(60) == -9
        assert outside.poll() is None
        assert psutil.pid_exists(os.getpid())
    finally:
        outside.communicate(b"\n")
        inside.communicate()


@pytest.mark.parametrize("kind", ["file", "link", "other"])
def test_a_folder_that_others_may_have_put_there_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "run"
    if kind == "file":
        folder.write_text("")
    elif kind == "link":
        folder.symlink_to(tmp_path)
    else:
        if os.geteuid() != 0:
            folder = Path("/root")
        else:
            folder.mkdir()
            os.chown(folder, 65534, 65534)
    with pytest.raises(SettingsError):
        Home.make(folder)


def test_a_folder_that_others_may_enter_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)
    with pytest.raises(SettingsError, match="chmod 700"):
        private_folder(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755


def test_a_folder_that_others_could_exchange_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(SettingsError, match="exchange"):
        private_folder(tmp_path / "shared" / "run")
    (tmp_path / "shared").chmod(0o1777)
    assert private_folder(tmp_path / "shared" / "run").is_dir()


def test_the_environment_keeps_nothing_of_the_users_ray_and_is_put_back(tmp_path: Path) -> None:
    here = tmp_path / "here"
    kept = tmp_path / "kept"
    environ = {"RAY_ADDRESS": "192.0.2.1:1", "PYTHONPATH": f"{here}::relative:{kept}", "HOME": "/h"}
    original = dict(environ)
    before = environment.prepare(environ, tmp_path / "token", here)
    assert "RAY_ADDRESS" not in environ
    assert environ["RAY_AUTH_MODE"] == "token"
    assert environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
    assert environ["PYTHONPATH"] == str(kept)
    environment.restore(environ, before)
    assert environ == original


def test_without_ray_there_is_one_clear_error_and_nothing_stays(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from pathlib import Path\n"
        "from runtime.cluster.cluster import Cluster\n"
        "from runtime.diagnostics import run\n"
        f"sys.exit(run(lambda: Cluster.start(Path({str(tmp_path / 'run')!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("bailiwick: Ray is not installed")
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "run").glob("r-*")) == []
