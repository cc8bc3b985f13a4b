"""Where settings come from, which place wins, and what a file from elsewhere cannot do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.traces.sinks import Collector, TraceFile
from store.records.errors import SettingsError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a project in it, in which the command is typed; nothing set."""
    for name in [name for name in os.environ if name.startswith(("BAILIWICK_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    return tmp_path


def user_file(home: Path, text: str) -> Path:
    folder = home / ".config" / "bailiwick"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bailiwick.toml").write_text(text)
    return folder / "bailiwick.toml"


def project_file(home: Path, text: str) -> Path:
    path = home / "project" / "bailiwick.toml"
    path.write_text(text)
    return path


def test_defaults(home: Path) -> None:
    settings = Settings.load()
    assert settings.data_dir == home / ".local/share/bailiwick"
    assert settings.policy == "strict"
    assert (settings.model_turns, settings.tokens_per_run) == (8, 20_000)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("role_groups", '{requester = "staff"}', "the setting 'role_groups' is wrong: it is not JSON"),
        ("role_groups", '{"boss": "staff"}', "no role is called 'boss'"),
        ("budget_zone", "Mars", "no time zone, name one as in Europe/Zurich"),
    ],
)
def test_what_is_wrong_in_the_environment_is_said_as_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"BAILIWICK_{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert said in caught.value.what
    assert (caught.value.where, caught.value.do) == (f"environment, BAILIWICK_{name.upper()}", "correct it there")


def test_flag_then_environment_then_project_then_user_then_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file(home, "threads = 1\ncontext = 1000\nmodel = 'user'\ngpu_layers = 1")
    project_file(home, "threads = 2\ncontext = 2000\nmodel = 'project'")
    monkeypatch.setenv("BAILIWICK_THREADS", "3")
    monkeypatch.setenv("BAILIWICK_CONTEXT", "3000")
    found = Settings.load(threads=4, context=None)
    assert (found.threads, found.context, found.model, found.gpu_layers) == (4, 3000, "project", 1)


@pytest.mark.parametrize(
    "line",
    [
        "policy = 'lab'",
        "tools = ['evil.toml']",
        "workflows = ['evil.py']",
        "otlp_endpoint = 'http://127.0.0.1:4318'",
        "otlp_file = 'traces'",
        "otlp_remote = true",
        "data_dir = '/tmp/evil'",
        "runtime_dir = '/tmp/evil'",
        "inventory = 'evil.json'",
        "tenant = 'other'",
        "debug = true",
    ],
)
def test_a_project_file_cannot_widen_rights(home: Path, line: str) -> None:
    path = project_file(home, line)
    with pytest.raises(SettingsError, match=f"may not set.*{path}"):
        Settings.load()
    path.unlink()
    user_file(home, line)
    Settings.load()


def test_a_project_file_may_lower_an_allowance_but_not_raise_it(home: Path) -> None:
    project_file(home, "tokens_per_run = 100")
    assert Settings.load().tokens_per_run == 100
    project_file(home, "tokens_per_run = 20001")
    with pytest.raises(SettingsError, match="not raise it above 20000"):
        Settings.load()
    user_file(home, "tokens_per_run = 30000")
    assert Settings.load().tokens_per_run == 20_001


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(home: Path, mode: int) -> None:
    user_file(home, "threads = 1").chmod(mode)
    with pytest.raises(SettingsError, match="others can write"):
        Settings.load()


def test_a_file_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project_file(home, "threads = 1")
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:  # nobody but root can give a file away: be somebody else instead
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(SettingsError, match="another user"):
        Settings.load()


def test_the_search_ends_at_the_git_root(home: Path) -> None:
    project_file(home, "threads = 7")
    assert Settings.load().threads == 7
    (home / "project" / "deep" / ".git").mkdir()
    assert Settings.load().threads == 0


def test_outside_home_and_git_only_the_current_folder_counts(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "below").mkdir()
    (elsewhere / "bailiwick.toml").write_text("threads = 7")
    monkeypatch.chdir(elsewhere)
    assert Settings.load().threads == 7
    monkeypatch.chdir(elsewhere / "below")
    assert Settings.load().threads == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threads = -1", "greater than or equal to 0"),
        ("threads = 'many'", "integer"),
        ("tokens_per_run = 0", "greater than or equal to 1"),
        ("step_timeout_s = 0", "greater than 0"),
        ("context = -1", "0"),
        ("policy = ''", "at least 1"),
        ("thread = 2", "did you mean 'threads'"),
        ("threads = ", "not TOML"),
        ("[table]\nx = 1", "no setting 'table'"),
    ],
)
def test_a_wrong_value_names_the_setting_and_the_file(home: Path, text: str, says: str) -> None:
    path = user_file(home, text)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert says in str(caught.value)
    assert caught.value.where == str(path)
    assert caught.value.exit_code == 2


def test_a_wrong_value_in_the_environment_or_a_flag_names_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="flag --gpu-layers"):
        Settings.load(gpu_layers=-2)
    monkeypatch.setenv("BAILIWICK_GPU_LAYERS", "x")
    with pytest.raises(SettingsError, match="environment, BAILIWICK_GPU_LAYERS"):
        Settings.load()


def test_a_secret_in_a_wrong_place_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIWICK_THREADS", "hunter2")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_lists_of_files_stand_in_the_environment_as_in_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAILIWICK_TOOLS", f"a.toml:{home}/b.toml")
    assert Settings.load().tools == (Path.cwd() / "a.toml", home / "b.toml")


def test_paths_in_a_file_are_relative_to_the_file(home: Path) -> None:
    path = user_file(home, "tools = ['t.toml', '~/u.toml']\npolicy = './mine'\ndata_dir = 'd'")
    found = Settings.load()
    assert found.tools == (path.parent / "t.toml", home / "u.toml")
    assert Path(found.policy) == path.parent / "mine"
    assert found.data_dir == path.parent / "d"


def test_a_data_folder_has_one_socket_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Settings.load(), Settings.load(data_dir=home / "other")
    assert one.socket == Settings.load().socket
    assert one.socket != two.socket
    assert one.socket.parent == one.runtime_dir
    monkeypatch.setenv("BAILIWICK_SOCKET", str(home / "s"))
    assert one.socket == home / "s"


def test_the_user_is_the_one_the_system_names() -> None:
    user = Settings.load(tenant="clinic", unit="ward").user
    assert (user.uid, user.tenant, user.unit) == (os.geteuid(), "clinic", "ward")
    assert "approver" in user.roles


def test_settings_survive_the_way_to_an_actor(home: Path) -> None:
    import pickle

    user_file(home, "threads = 3")
    settings = Settings.load()
    again = pickle.loads(pickle.dumps(settings))
    assert type(again) is Settings
    assert again == settings


def test_help_does_not_import_settings() -> None:
    code = (
        "import sys; from runtime.cli.app import build; build()(['--help'], standalone_mode=False)\n"
        "heavy = {'pydantic', 'ray', 'duckdb', 'textual', 'llama_cpp', 'cedarpy', 'lancedb', 'rich', 'asyncio'}\n"
        "heavy |= {'numpy', 'llguidance', 'jsonschema'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def test_queues_are_tables_of_the_user_file(home: Path) -> None:
    user_file(home, "[queues.reports]\nconcurrency = 2\ntenant_per_minute = 6\n[queues.default]\n")
    found = Settings.load().queues
    assert found["reports"].model_dump(exclude_none=True) == {"concurrency": 2, "tenant_per_minute": 6}
    assert found["default"].model_dump(exclude_none=True) == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[queues.reports]\nconcurency = 2", "queues.reports.concurency"),
        ("[queues.reports]\nconcurrency = 0", "queues.reports.concurrency"),
        ("[queues.reports]\nper_minute = 'many'", "queues.reports.per_minute"),
        ("[queues.'my reports']\nconcurrency = 1", "queues.my reports"),
        ("queues = 3", "'queues'"),
    ],
)
def test_a_wrong_queue_is_one_line_that_names_it(home: Path, text: str, named: str) -> None:
    path = user_file(home, text)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert named in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_project_file_sets_no_queue(home: Path) -> None:
    project_file(home, "[queues.reports]\nconcurrency = 100")
    with pytest.raises(SettingsError, match="may not set 'queues'"):
        Settings.load()


def test_traces_go_nowhere_unless_said_and_to_this_machine_unless_allowed(home: Path) -> None:
    assert Settings.load().trace_sinks() == []
    user_file(home, "otlp_endpoint = 'https://collector.example'")
    with pytest.raises(SettingsError, match="another machine") as raised:
        Settings.load()
    assert "'otlp_endpoint'" in str(raised.value)
    user_file(home, "otlp_endpoint = 'https://collector.example'\notlp_remote = true\notlp_file = 'traces'")
    file, collector = Settings.load().trace_sinks()
    assert file == TraceFile(home / ".config" / "bailiwick" / "traces")
    assert collector == Collector(True, "collector.example", None, "/v1/traces")
