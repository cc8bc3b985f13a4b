"""`bailiwick demo`: options in, exit code out."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from runtime.cli.backend import queries
from runtime.demo.report import Report
from runtime.demo.scene import Script, play
from runtime.diagnostics import say
from runtime.embedded import interruptible, models_folder
from runtime.settings import Settings
from runtime.watching import Approve, console_of, outcome_error
from store.records.errors import INTERRUPTED, BailiwickError, SettingsError
from tools.opslab.faults import fault_names


@dataclass(frozen=True)
class Options:
    """The demo's own flags."""

    seed: int = 0
    fault: str = ""
    approve: Approve = "ask"
    inject: bool = False
    crash: bool = False
    model: Path | None = None
    json: bool = False


def run(settings: Settings, options: Options) -> int:
    """Play the demo; 0 only if the front door answers again. Raises the error that the run's status stands for."""
    if options.fault not in ("", *fault_names()):
        raise SettingsError(f"there is no fault {options.fault!r}", do=f"choose one of {', '.join(fault_names())}")
    console = console_of(sys.stderr if options.json else sys.stdout)
    stage = demo_settings(settings, options.model)
    script = Script(
        settings=stage,
        models=models_folder(settings),
        seed=options.seed,
        fault=options.fault,
        approve=options.approve,
        inject=options.inject,
        crash=options.crash,
    )
    try:
        report = interruptible(_play(script, console))
    except KeyboardInterrupt:
        say("interrupted; the lab of this run is gone with it: start `bailiwick demo` again")
        return INTERRUPTED
    if options.json:
        print(json.dumps(report.json()), flush=True)
    failed = failure(report)
    if failed is not None:
        say(str(failed))
        return failed.exit_code
    return 0


def demo_settings(settings: Settings, model: Path | None) -> Settings:
    """The site's settings, but with the lab's policy and a data folder apart from the site's."""
    changes: dict[str, Any] = {"data_dir": settings.data_dir / "demo", "policy": "lab"}
    if model is not None:
        changes["model"] = _named(settings, model)
    return settings.model_copy(update=changes)


def failure(report: Report) -> BailiwickError | None:
    """The error that a report stands for; the front door is what counts."""
    ended = outcome_error(report.view)
    if ended is None and not report.healthy:
        return BailiwickError("the front door still fails", report.fault)
    return ended


async def _play(script: Script, console: Console) -> Report:
    report = await play(script, console)
    async with queries(script.settings) as ledger:
        verified = await ledger.verify()
    report.print(console, verified)
    if not verified.ok:
        raise BailiwickError("the ledger does not verify", verified.problems[0] if verified.problems else "")
    return report


def _named(settings: Settings, file: Path) -> str:
    """The registry's name of a GGUF file, which is added to it if it is not there."""
    from models.model import name_of
    from models.registry import Registry

    registry = Registry(models_folder(settings))
    known = [model.name for model in registry.list() if model.file == file.absolute()]
    return known[0] if known else registry.add(file, name_of(file)).name
