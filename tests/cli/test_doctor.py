"""The doctor on real installations, good and bad."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime import doctor
from runtime.doctor import Level


def test_a_good_installation_passes(command: Any) -> None:
    done = command("doctor", "--json")
    assert done.code == 0, done.out
    assert done.json["ok"]
    names = {check["name"] for check in done.json["checks"]}
    assert {"python", "environment", "engine", "chat model", "embedding model", "data folder", "disk"} <= names
    assert {"runtime folder", "policy", "sockets"} <= names


def test_the_doctor_makes_and_changes_nothing(command: Any, tmp_path: Path) -> None:
    command("doctor")
    assert not (tmp_path / "data").exists()


def test_deep_starts_ray_and_every_port_of_it_asks_for_the_token(command: Any) -> None:
    done = command("doctor", "--deep", "--json")
    assert done.code == 0, done.out
    found = [check["found"] for check in done.json["checks"] if check["name"] == "socket"]
    assert len(found) == 7
    assert all("refuses" in each for each in found)
    assert done.err == ""


@pytest.mark.parametrize(
    ("folder", "says"), [("loose", "others may enter"), ("file", "not a folder"), ("file/below", "cannot be made")]
)
def test_a_bad_folder_fails(tmp_path: Path, folder: str, says: str) -> None:
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose").chmod(0o755)
    (tmp_path / "file").write_text("")
    [found, *_] = doctor.data_folder(tmp_path / folder)
    assert found.level is Level.FAIL
    assert says in found.found
    assert found.do


def test_a_model_that_is_gone_or_altered_fails(command: Any, tmp_path: Path) -> None:
    chat = next(model for model in command("models", "list", "--json").json if model["kind"] == "chat")
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(Path(chat["file"]).read_bytes())
    assert command("models", "add", str(copy), "--name", "mine").code == 0
    with copy.open("r+b") as file:
        file.seek(10**6)
        file.write(b"altered")
    with pytest.raises(doctor.BailiwickError):
        doctor.models(tmp_path / "data" / "models", deep=True)
    copy.unlink()
    found = doctor.models(tmp_path / "data" / "models")
    assert [check.name for check in found if check.level is Level.FAIL] == ["model file"]


def test_a_policy_that_does_not_parse_fails_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.cedar").write_text("permit (principal action resource);")
    found = doctor.policy(str(tmp_path))
    assert [check.level for check in found] == [Level.FAIL]
    assert "bad.cedar:1" in found[0].found


def test_little_space_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 2**70)
    assert [check.level for check in doctor.data_folder(tmp_path) if check.name == "disk"] == [Level.WARN]


def test_a_check_that_fails_by_itself_is_a_failure_and_the_rest_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.settings import Settings

    def broken(_folder: Path) -> list[doctor.Check]:
        raise RuntimeError("the text of a prompt")

    monkeypatch.setattr(doctor, "data_folder", broken)
    found = doctor.examine(Settings.load(data_dir=tmp_path, runtime_dir=tmp_path / "run"))
    assert [check.name for check in found if check.level is Level.FAIL] == ["broken"]
    assert found[-1].name == "sockets"
    assert "prompt" not in json.dumps([check.json() for check in found])
