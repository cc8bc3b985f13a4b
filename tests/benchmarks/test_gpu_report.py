"""What the GPU benchmark tells, and what it says if it cannot run."""

import json
import math
from pathlib import Path

import pytest

from benchmarks.gpu import peers
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.bandwidth import Bandwidth
from benchmarks.gpu.figures import Row
from benchmarks.gpu.measurement import Findings
from benchmarks.gpu.report import Place, figures, markdown, summary
from store.records.errors import SettingsError, Unreachable

KEYS = {
    "gpu",
    "device",
    "peer",
    "bandwidth_gb_s",
    "bandwidth_source",
    "data_sheet_gb_s",
    "failed",
    "prompts_unlike",
    "seconds",
    "rows",
}


def line(contender: str, tokens: float, failed: int = 0, share: float = 0.25) -> Row:
    return Row("m", contender, 8, 16, failed, 800, tokens, 400.0, 10.0, 20.0, 0, 2e9, share)


@pytest.fixture
def findings() -> Findings:
    return Findings([line("ours", 60.0), line("llama.cpp", 40.0, 1, math.nan)], 2, ["it is full"], 12.0)


@pytest.fixture
def place() -> Place:
    return Place(False, "a machine (no GPU: tiny shape)", Bandwidth(2e10, "measured"), "a server", "Greedy.")


def test_the_json_has_its_keys_and_nothing_that_is_no_json(findings: Findings, place: Place) -> None:
    told = json.loads(figures(findings, place))
    assert told == json.loads(json.dumps(summary(findings, place), allow_nan=False))
    assert set(told) == KEYS
    assert (told["gpu"], told["bandwidth_gb_s"], told["data_sheet_gb_s"]) == (False, 20.0, None)
    assert (told["failed"], told["prompts_unlike"]) == (1, 2)
    ours, theirs = told["rows"]
    assert ours["decode_per_s_ratio"] == 1.5
    assert ours["prompt_per_s_ratio"] == 1.0
    assert ours["roofline_share"] == 0.25
    assert theirs["roofline_share"] is None
    assert set(theirs) == set(ours) - {"decode_per_s_ratio", "prompt_per_s_ratio"}


def test_the_table_says_what_it_ran_on_and_what_went_wrong(findings: Findings, place: Place) -> None:
    text = markdown(findings, place)
    assert "no GPU: tiny shape" in text
    assert "20.0 GB/s of memory bandwidth (measured)" in text
    assert "| m | 8 | ours | 60.0 | 1.50 | 25.0 % | 2.000 | 400 | 1.00 | 10 / 20 | 0 | 0 |" in text
    assert "| m | 8 | llama.cpp | 40.0 |  |  | 2.000 | 400 |  | 10 / 20 | 0 | 1 |" in text
    assert "- Failed: it is full" in text
    assert "- 2 prompts have not the same number of tokens" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server", "/none"], "not a program"),
        (["--alone", "--model", "/none.gguf"], "no readable model file"),
        (["--alone", "--model", __file__], "not a GGUF file"),
        (["--alone", "--out", __file__], "not a folder"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--json", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments", [["--bandwidth", "0"], ["--bandwidth", "nan"], ["--threads", "0"], ["--alone", "--server", "x"]]
)
def test_numbers_that_mean_nothing_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err


def program(folder: Path, devices: str) -> str:
    """What answers as llama-server does when it is asked about itself."""
    file = folder / "llama-server"
    file.write_text(f"#!/bin/sh\necho 'version: 1 (abc)'\necho 'Available devices:'\n{devices}\n")
    file.chmod(0o755)
    return str(file)


def test_a_server_without_a_gpu_is_refused_beside_one_and_the_line_says_how_to_build_another(tmp_path: Path) -> None:
    file = program(tmp_path, "")
    assert peers.found(file, card=False) == "llama-server, version: 1 (abc)"
    with pytest.raises(Unreachable, match=r"has no GPU.*GGML_CUDA=on.*llama-server") as caught:
        peers.found(file, card=True)
    assert "\n" not in str(caught.value)


def test_a_server_with_a_gpu_is_taken(tmp_path: Path) -> None:
    file = program(tmp_path, "echo '  CUDA0: NVIDIA H200 (143771 MiB, 143000 MiB free)'")
    assert peers.found(file, card=True) == "llama-server, version: 1 (abc)"


def test_another_program_is_no_server() -> None:
    with pytest.raises(SettingsError, match=r"not llama\.cpp's server"):
        peers.found("/bin/true", card=False)
