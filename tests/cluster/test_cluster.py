"""A real Ray cluster: private, quiet, on loopback only, and gone when its driver is."""

import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from runtime.cluster.home import drivers
from runtime.doctor import Level, running_sockets
from runtime.gateway.peer import ancestry, require_outsider
from runtime.probe import Access
from runtime.settings import Settings
from runtime.sockets import listeners
from store.records.errors import Denied

HOUSE = Path(__file__).parents[2]
HOSTILE_ENVIRON = {
    "RAY_ADDRESS": "192.0.2.1:6379",
    "RAY_AUTH_MODE": "disabled",
    "RAY_RUNTIME_ENV_HOOK": "tools.hook",
    "RAY_TMPDIR": "/nowhere",
}


@pytest.fixture(scope="module")
def running(driver: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """A running cluster of a driver whose user has set Ray up in the worst way, and what its worker saw."""
    started = driver(environ=HOSTILE_ENVIRON)
    return started, started.ask("start")


PATIENCE_S = 60
"""With what happens at once on a quiet machine."""


def gone(home: str, processes: list[psutil.Process]) -> bool:
    """True once the processes and the home are gone; gives up after a while."""
    alive = psutil.wait_procs(processes, timeout=PATIENCE_S)[1]
    deadline = time.monotonic() + PATIENCE_S
    while Path(home).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive and not Path(home).exists()


def test_every_socket_is_on_loopback_and_refuses_a_caller_without_the_token(running: Any) -> None:
    found = listeners(running[0].process.pid)
    # Driver, GCS, raylet twice, runtime environments' agent, the actor; plasma store and raylet.
    assert sorted(each.kind for each in found) == ["tcp"] * 6 + ["unix"] * 2
    assert [each for each in found if each.access is not Access.REFUSED] == []
    assert [each for each in found if not each.loopback] == []


def test_the_doctor_finds_the_running_cluster_and_passes_it(running: Any) -> None:
    settings = Settings.load(runtime_dir=running[0].folder / "run")
    assert [check.level for check in running_sockets(settings)] == [Level.OK] * 8


def inside(started: Any) -> list[psutil.Process]:
    """The processes of a driver's cluster, once each has given itself its name."""
    while True:
        found = [process for process in started.family() if not is_warden(process)]
        if not any(process.name().startswith("python") for process in found):
            return found
        time.sleep(0.05)


def is_warden(process: psutil.Process) -> bool:
    return "warden.py" in " ".join(process.cmdline())


def test_only_the_processes_that_one_machine_needs_are_started(running: Any) -> None:
    names = sorted(process.name() for process in inside(running[0]))
    assert names == ["gcs_server", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::Worker", "raylet"]


def test_the_home_is_closed_to_others(running: Any) -> None:
    home = Path(running[1]["home"])
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "empty").stat().st_mode) == 0o500
    assert len((home / "token").read_text()) == 64
    assert home.parent == running[0].folder / "run"
    assert drivers(home.parent) == [running[0].process.pid]


def test_nothing_is_imported_from_the_folder_where_the_command_is_typed(running: Any) -> None:
    started, facts = running
    assert facts["rooms"] == [str(HOUSE)] * 2
    assert facts["cwd"] == f"{facts['home']}/empty"
    assert facts["umask"] == 0o077
    assert not (started.folder / "typed-in" / "imported").exists()


def test_no_process_of_a_cluster_may_talk_to_any_gateway_and_its_driver_may(running: Any) -> None:
    processes = inside(running[0])
    assert len(processes) == 5
    for process in processes:
        with pytest.raises(Denied, match="tools cannot talk to a runtime"):
            require_outsider(ancestry(process.pid), set())
    require_outsider(ancestry(running[0].process.pid), set())


def test_a_second_cluster_in_one_process_is_refused_and_the_first_lives_on(running: Any) -> None:
    assert running[1]["again"] == "this process has a cluster already"


def test_neither_ray_nor_a_worker_says_anything_at_the_terminal(running: Any) -> None:
    started, _ = running
    started.ask("look")
    assert started.said() == ""


def test_a_ctrl_c_at_the_terminal_reaches_the_driver_only(running: Any) -> None:
    started, facts = running
    os.killpg(started.process.pid, signal.SIGINT)
    assert started.ask("look")["pid"] == facts["pid"]


def test_stop_leaves_nothing_and_the_same_process_can_start_again(driver: Callable[..., Any]) -> None:
    started = driver()
    for _ in range(2):
        facts = started.ask("start")
        family = started.family()
        assert started.ask("stop") == {"restored": True, "cwd": str(started.folder / "typed-in")}
        assert gone(facts["home"], family)
    assert started.said() == ""


def test_a_killed_driver_takes_everything_with_it(driver: Callable[..., Any]) -> None:
    started = driver()
    facts = started.ask("start")
    family = started.family()
    started.process.kill()
    assert gone(facts["home"], family)


def test_what_outlives_driver_and_warden_is_cleared_away_by_the_next_start(driver: Callable[..., Any]) -> None:
    started = driver()
    facts = started.ask("start")
    family = started.family()
    (warden,) = (process for process in family if is_warden(process))
    agents = [process for process in inside(started) if process.name().endswith("Agent")]
    for agent in agents:
        agent.suspend()  # Ray's agents look now and then whether to end by themselves; a stopped one does not
    warden.kill()
    started.process.kill()
    started.process.wait()
    warden.wait(PATIENCE_S)  # a killed process holds its locks until it has ended
    assert [agent.is_running() for agent in agents] == [True, True]
    from runtime.cluster.home import Home

    after = Home.make(started.folder / "run")
    try:
        assert gone(facts["home"], family)
    finally:
        after.close()
