"""Settings: flag, then environment (BAILIWICK_*), then project file, then user file, then the default.

A project file (`bailiwick.toml` in the current folder, or in a parent up to the git root or the home folder) may have
come with somebody else's code, so it never widens what may be done: it must belong to this user and be writable by
nobody else, it may set only the model and how it is run, and it may lower allowances but not raise them. Policy, tools,
workflows, folders and identity come from flags, the environment or the user file. A file that says more is an error,
not a warning: a setting must never be dropped in silence.

Importing this module costs about 150 ms, so the command line does it only when a verb needs settings.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as NotJson

from runtime.folders import private_folder
from runtime.gate.limits import RUN
from runtime.gate.rates import FREE, Rates
from runtime.gateway.paths import VARIABLE, runtime_folder
from runtime.identity import user_of_name
from runtime.notices import NotifyBy
from runtime.people import People
from runtime.settings_files import SettingsFile, project_file, user_file
from runtime.traces.sinks import Collector, Sink, TraceFile
from store.records.errors import SettingsError
from store.records.identity import ROLES, User
from store.records.problems import problem

if TYPE_CHECKING:
    from runtime.gateway.address import Address
    from runtime.gateway.tcp import Listen

PREFIX = "BAILIWICK_"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def _data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "bailiwick"


def _path(value: object) -> object:
    """An absolute path: the runtime leaves the current folder before it uses one."""
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) and str(value) else value


def _paths(value: object) -> object:
    """A list of paths; in the environment they stand in one text with colons between them, as in PATH."""
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    return tuple(_path(part) for part in parts if part) if isinstance(parts, list | tuple) else parts


def _policy(value: object) -> object:
    """A policy set's name as it is; a folder, which has a slash in it, as an absolute path."""
    return str(_path(value)) if isinstance(value, str) and "/" in value else value


FilePath = Annotated[Path, BeforeValidator(_path)]
FilePaths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)]


class QueueLimits(BaseModel):
    """What one queue allows: runs driven at a time and starts a minute, of all and of each tenant. None: any number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int | None = Field(None, ge=1)
    per_minute: int | None = Field(None, ge=1)
    tenant_concurrency: int | None = Field(None, ge=1)
    tenant_per_minute: int | None = Field(None, ge=1)


class Settings(BaseSettings):
    """All settings of one invocation; `load` makes one. Times are seconds, sizes tokens."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)
    layers: ClassVar[tuple[SettingsFile, ...]] = ()

    data_dir: FilePath = Field(default_factory=_data_dir)
    runtime_dir: FilePath = Field(default_factory=runtime_folder)
    policy: Annotated[str, BeforeValidator(_policy)] = Field(
        "strict", min_length=1, description="a policy set's name, or a folder (with a slash in it)"
    )
    model: str = Field("", description="a name in the registry; empty: the default model")
    tools: FilePaths = Field((), description="files that list tool servers")
    workflows: FilePaths = Field((), description="Python files with workflows")
    model_turns: int = Field(8, ge=1, le=1000, description="the most calls of one agent loop")
    inventory: FilePath | None = Field(None, description="a JSON file that lists the trusted objects by kind")
    mirror_dir: FilePath | None = Field(
        None, description="a folder for the signed checkpoints of the log, best on another medium"
    )
    site_key_dir: FilePath | None = Field(
        None, description="a folder for the key that opens all content, best on another medium; empty: with the data"
    )
    passphrase_file: FilePath | None = Field(
        None, description="a file (mode 0600) whose first line is the site key's passphrase, if it comes from one"
    )
    retention_days: dict[str, Annotated[int, Field(ge=0, le=100_000)]] = Field(
        {}, description="days that content of a retention class is kept until `keys sweep` takes it; 0: for ever"
    )
    free_space_mb: int = Field(
        512, ge=0, description="MiB that must be free where the log is before a run starts; open runs go on"
    )
    tenant: str = Field("local", pattern=NAME)
    unit: str = Field("", pattern=rf"{NAME}|^$", description="business unit; empty: the user's primary group")
    directory: FilePath | None = Field(None, description="a file (.toml or .ldif) that says who the users are")
    role_groups: dict[str, str] = Field({}, description="the group that grants each role, unless the directory says so")
    service_user: str = Field(
        "",
        pattern=r"^[a-z_][a-z0-9_-]{0,31}$|^$",
        description="the system user that a runtime for many runs as; members of its primary group may come in",
    )
    listen: str = Field("", description="a TCP address (IP:PORT) to listen at besides the socket; empty: none")
    tls_cert: FilePath | None = Field(None, description="the certificate of that address, PEM; with it, TLS is spoken")
    tls_key: FilePath | None = Field(None, description="a file (mode 0600) with the certificate's key, PEM")
    connect: str = Field("", description="HOST:PORT of a runtime to use instead of this machine's; empty: none")
    token_file: FilePath | None = Field(None, description="a file (mode 0600) with the token that lets us in there")
    tls_ca: FilePath | None = Field(None, description="certificates, PEM, to trust there instead of the machine's")
    threads: int = Field(0, ge=0, le=1024, description="0: as many as the machine has cores")
    context: int = Field(0, ge=0, le=1_048_576, description="0: as much as the model was made for")
    gpu_layers: int = Field(-1, ge=-1, description="-1: all that fit")
    require_gpu: bool = False
    sequences: int = Field(16, ge=1, le=128, description="requests that a model answers at a time")
    models_memory_mb: int = Field(
        0, ge=0, description="MiB that all loaded models may take; 0: four fifths of the machine's memory"
    )
    prompt_tokens_per_proposal: int = Field(
        1500, ge=64, description="what the prompt of one answer, or the texts of one embedding, may have"
    )
    tokens_per_proposal: int = Field(200, ge=16, description="what one answer of a model may generate")
    tokens_per_run: int = Field(RUN.tokens, ge=1)
    calls_per_run: int = Field(RUN.calls, ge=1)
    rates: Rates = Field(FREE, description="what models and tools cost, in millionths of the site's currency unit")
    budget_zone: str = Field("UTC", description="the time zone that the days and months of budgets are those of")
    cost_alert_factor: float = Field(
        1.5, ge=1, le=1000, description="how many times its expected cost a workflow's task may cost before an alert"
    )
    step_timeout_s: float = Field(60.0, gt=0)
    run_timeout_s: float = Field(600.0, gt=0)
    approval_expiry_s: float = Field(86_400.0, gt=0)
    notify: NotifyBy | None = Field(
        None, description="what is told that something waits for a person: a command or a webhook"
    )
    queues: dict[Annotated[str, StringConstraints(pattern=NAME)], QueueLimits] = Field(
        {}, description="the limits of each queue, by its name"
    )
    otlp_remote: bool = Field(False, description="traces may be sent to another machine, over https")
    otlp_endpoint: str = Field("", description="the OTLP collector that each ended run's trace is sent to; empty: none")
    otlp_file: FilePath | None = Field(None, description="a file that each ended run's trace is added to; empty: none")
    debug: bool = False

    @field_validator("role_groups")
    @classmethod
    def _roles(cls, value: dict[str, str]) -> dict[str, str]:
        """Only roles that there are."""
        for role in value:
            if role not in ROLES:
                raise PydanticCustomError("role", "no role is called {role}", {"role": repr(role)})
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _endpoint(cls, value: str, others: ValidationInfo) -> str:
        """An endpoint that may be used, which `otlp_remote`, being declared before it, has a say in."""
        try:
            if value:
                Collector.parse(value, remote=others.data.get("otlp_remote", False))
        except SettingsError as error:
            raise PydanticCustomError("endpoint", "{why}", {"why": str(error)}) from None
        return value

    @field_validator("budget_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        """A zone that there is."""
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):  # a name that is none may be that of a folder, or lead out of it
            raise PydanticCustomError("zone", "no time zone, name one as in Europe/Zurich") from None
        return value

    @classmethod
    def load(cls, **flags: Any) -> "Settings":
        """The settings in force here. `flags` win over all; those that are None were not given.

        Raises SettingsError for a value that is not allowed, naming the setting and the place that set it.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        user = user_file(cls.model_fields)
        project = project_file(cls.model_fields, user)
        layered = type(cls.__name__, (cls,), {"layers": (project, user), "__module__": cls.__module__})
        try:
            loaded = layered(**given)
        except ValidationError as error:
            raise _explain(error, given, (project, user)) from None
        except NotJson as error:
            name = next((name for name in cls.model_fields if f'"{name}"' in str(error)), "?")
            place = f"environment, {PREFIX}{name.upper()}"
            raise SettingsError(f"the setting {name!r} is wrong: it is not JSON", place, "correct it there") from None
        return cls.model_construct(**dict(loaded))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, project file, user file; no `.env` and no secrets folder."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings, *(layer.source(cls) for layer in cls.layers)

    @property
    def socket(self) -> Path:
        """The gateway's socket for this data folder, or what BAILIWICK_SOCKET says.

        A data folder has one runtime at a time, so one name is enough; it is a digest because a socket's path may have
        at most 107 bytes. A service's is where everybody finds it, whatever their own data folder.
        """
        given = os.environ.get(VARIABLE, "")
        if self.service_user and not given:
            return Path("/run", self.service_user, "gateway.sock")
        name = hashlib.sha256(bytes(self.data_dir.resolve())).hexdigest()[:12]
        return Path(given).absolute() if given else self.runtime_dir / f"{name}.sock"

    @property
    def user(self) -> User:
        """Who is at the keyboard, as the site knows them. Raises Denied if it does not, SettingsError."""
        return self.people().of_uid(os.geteuid())

    def tcp(self) -> "Listen | None":
        """Where to listen besides the socket. Raises SettingsError if that cannot be."""
        from runtime.gateway.tcp import Listen

        return Listen.parse(self.listen, self.tls_cert, self.tls_key) if self.listen else None

    def address(self) -> "Address":
        """Where the runtime is that these settings speak of. Raises SettingsError."""
        from runtime.gateway.address import TcpAddress, UnixAddress

        service = self._service_uid() if self.service_user else None
        if self.connect:
            return TcpAddress.parse(self.connect, self.token_file, self.tls_ca, service)
        return UnixAddress(self.socket, service)

    def check_service(self) -> Self:
        """Raise SettingsError if a runtime of these settings should run as another user than it does."""
        if self.service_user and self._service_uid() != os.geteuid():
            what = f"the runtime of this site runs as {self.service_user}"
            raise SettingsError(what, "setting service_user", "start it as that user, or use the one that is up")
        return self

    def _service_uid(self) -> int:
        return user_of_name(self.service_user).uid

    def people(self) -> People:
        """Who the people of this site are; each call gives its own, which reads the directory anew."""
        return People(self.tenant, self.unit, self.role_groups, self.directory, self.service_user)

    def trace_sinks(self) -> list[Sink]:
        """Where the traces of runs go: nowhere, unless somebody said so."""
        sinks: list[Sink] = [TraceFile(self.otlp_file)] if self.otlp_file else []
        return [*sinks, Collector.parse(self.otlp_endpoint, remote=self.otlp_remote)] if self.otlp_endpoint else sinks

    def open_folders(self) -> Self:
        """Make the data and runtime folders, 0700. Raises SettingsError if they are not this user's alone."""
        private_folder(self.data_dir)
        private_folder(self.runtime_dir)
        return self


def _explain(error: ValidationError, flags: dict[str, Any], files: tuple[SettingsFile, ...]) -> SettingsError:
    """The first problem as one line: which setting, where it was set, what is allowed."""
    within, said = problem(error)
    name = within.partition(".")[0]
    if name in flags:
        place = f"flag --{name.replace('_', '-')}"
    elif os.environ.get(PREFIX + name.upper()):
        place = f"environment, {PREFIX}{name.upper()}"
    else:
        place = next((str(file.path) for file in files if name in file.values), "default")
    return SettingsError(f"the setting {within or '?'!r} is wrong: {said}", place, "correct it there")
