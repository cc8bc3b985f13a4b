"""What a person learns of the models in memory: where they lie, and, once and on stderr, that one is on the CPU."""

from pathlib import Path
from typing import Any

import pytest

from runtime.embedded import session
from runtime.settings import Settings
from store.records.errors import SettingsError

WARNING = "bailiwick: warning: smollm2-135m-instruct computes on the CPU: 0 of its 30 layers are on the GPU"


def test_models_are_not_loaded_while_no_runtime_is_up(command: Any) -> None:
    done = command("models", "list")
    assert (done.code, done.err) == (0, "")
    heading, *rows = done.out.splitlines()
    assert ["LAYERS ON GPU" in heading, "GPU MEMORY" in heading, "CONTEXT" in heading] == [True] * 3
    assert ["not loaded" in each for each in rows] == [True] * 2
    assert [each["loaded"] for each in command("models", "list", "--json").json] == [None, None]


def test_models_that_a_runtime_has_loaded_are_told_with_layers_memory_and_context(command: Any, runtime: None) -> None:
    done = command("models", "list")
    assert (done.code, done.err) == (0, "")
    by_name = {line.removeprefix("*").split()[0]: line for line in done.out.splitlines()[1:]}
    assert "0 of 30  " in by_name["smollm2-135m-instruct"]
    assert "8192 tokens" in by_name["smollm2-135m-instruct"]
    assert "6 of 6  " in by_name["all-minilm-l6-v2"]
    assert "50 MiB  " in by_name["all-minilm-l6-v2"]
    listed = {each["name"]: each["loaded"] for each in command("models", "list", "--json").json}
    assert listed["smollm2-135m-instruct"]["fell_back"]
    assert listed["all-minilm-l6-v2"]["layers_on_device"] == 6


def test_status_names_each_model_and_warns_of_the_one_on_the_cpu(command: Any, runtime: None) -> None:
    done = command("status")
    assert done.code == 0
    assert "all-minilm-l6-v2: 6 of 6 layers on a GPU, 50 MiB there, 120 MiB here, context 256" in done.out.splitlines()
    assert done.err.startswith(WARNING)
    assert done.err.count("\n") == 1
    metrics = command("status", "--metrics")
    assert (metrics.code, metrics.err) == (0, "")
    assert "bailiwick_model_queue_seconds_total 1.5" in metrics.out.splitlines()
    assert 'bailiwick_loaded_model_layers_on_device{model="all-minilm-l6-v2"} 6' in metrics.out.splitlines()


async def test_who_starts_a_run_is_warned_once(
    ledger: Path, tmp_path: Path, runtime: None, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.load(data_dir=ledger, runtime_dir=tmp_path / "run" / "bailiwick")
    async with session(settings) as client:
        await client.runs()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(WARNING)
    assert err.count("\n") == 1


def test_a_runtime_that_is_up_cannot_be_made_to_require_a_gpu(command: Any, runtime: None) -> None:
    done = command("run", "do it", "--require-gpu")
    assert (done.code, done.out) == (SettingsError.exit_code, "")
    assert "--require-gpu cannot be followed" in done.err


@pytest.mark.parametrize("verb", ["run", "resume", "up", "demo"])
def test_every_verb_that_starts_a_runtime_can_require_a_gpu(command: Any, verb: str) -> None:
    assert "--require-gpu" in command(verb, "--help").out
