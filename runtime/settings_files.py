"""The two settings files and what each may say. Reads TOML; runs nothing, expands nothing, includes nothing."""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource

from runtime.folders import only_ours
from store.records.errors import SettingsError

FILE = "bailiwick.toml"
PROJECT_MAY_SET = frozenset({"model", "threads", "context", "gpu_layers", "require_gpu"})
PROJECT_MAY_LOWER = frozenset(
    {
        "model_turns",
        "tokens_per_run",
        "tokens_per_proposal",
        "prompt_tokens_per_proposal",
        "step_timeout_s",
        "run_timeout_s",
        "approval_expiry_s",
    }
)
PATHS = frozenset(
    {
        "data_dir",
        "runtime_dir",
        "mirror_dir",
        "site_key_dir",
        "passphrase_file",
        "inventory",
        "otlp_file",
        "directory",
        "tls_cert",
        "tls_key",
        "token_file",
        "tls_ca",
    }
)
PATH_LISTS = frozenset({"tools", "workflows"})


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """One file's settings. `path` is None where there is no file; paths in `values` are absolute."""

    path: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def source(self, settings: type[BaseSettings]) -> InitSettingsSource:
        """These values as one layer of pydantic-settings."""
        return InitSettingsSource(settings, init_kwargs=dict(self.values))


def user_file(fields: Mapping[str, FieldInfo]) -> SettingsFile:
    """The user's own file; it may set everything. Raises SettingsError if others could have written it."""
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "bailiwick" / FILE
    return _read(path, fields) if path.exists() else SettingsFile()


def project_file(fields: Mapping[str, FieldInfo], user: SettingsFile) -> SettingsFile:
    """The nearest project file, held to what such a file may say. Raises SettingsError if it says more."""
    path = next((folder / FILE for folder in _project_folders(Path.cwd()) if (folder / FILE).exists()), None)
    if path is None:
        return SettingsFile()
    read = _read(path, fields)
    for name, value in read.values.items():
        if name in PROJECT_MAY_LOWER:
            bound = _number(user.values.get(name), fields[name].default)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SettingsError(f"a project file gives {name!r} as a plain number", str(path), _USER_FILE)
            if not value <= bound:
                raise SettingsError(
                    f"a project file may lower {name!r} but not raise it above {bound}", str(path), _USER_FILE
                )
        elif name not in PROJECT_MAY_SET:
            raise SettingsError(f"a project file may not set {name!r}", str(path), _USER_FILE)
    return read


def _number(value: object, default: float) -> float:
    """A bound from the user file, where a number may be written as text; the default if it is not one."""
    try:
        return float(str(value)) if value is not None else default
    except ValueError:
        return default


_USER_FILE = "set it by a flag, in the environment or in the user file"


def _project_folders(start: Path) -> list[Path]:
    """The folders to search, nearest first: up to the git root or the home folder, else `start` alone."""
    try:
        home = Path.home()
    except RuntimeError:
        home = start
    chain = [start, *start.parents]
    ends = [index for index, folder in enumerate(chain) if folder == home or (folder / ".git").exists()]
    return chain[: ends[0] + 1] if ends else [start]


def _read(path: Path, fields: Mapping[str, FieldInfo]) -> SettingsFile:
    """The values in a file that only this user (or root) can have written."""
    try:
        values = tomllib.loads(only_ours(path).read_bytes().decode())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the settings file is not TOML: {error}", str(path), "correct it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file cannot be read: {error}", str(path), "fix it or remove it") from error
    for name in values:
        if name not in fields:
            raise SettingsError(f"there is no setting {name!r}", str(path), _nearest(name, fields))
    return SettingsFile(path, {name: _absolute(name, value, path.parent) for name, value in values.items()})


def _absolute(name: str, value: object, folder: Path) -> object:
    """Paths in a file are relative to the file, not to where the command was typed."""
    if name in PATHS and isinstance(value, str):
        return folder / Path(value).expanduser()
    if name in PATH_LISTS and isinstance(value, list):
        return [folder / Path(item).expanduser() if isinstance(item, str) else item for item in value]
    if name == "policy" and isinstance(value, str) and "/" in value:
        return str(folder / Path(value).expanduser())
    return value


def _nearest(name: str, fields: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(fields), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(fields))}"
