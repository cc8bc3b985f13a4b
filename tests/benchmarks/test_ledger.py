"""The benchmark of the ledger, on a few events: that it runs, and what its last line says."""

import json

import pytest

from benchmarks.ledger import main


def test_it_runs_and_ends_with_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--events", "600", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["events"] == 600
    assert {"append_per_s", "append_per_s_32", "verify_s_per_million", "proof_ms", "bytes_per_event"} <= found.keys()
    assert all(value > 0 for value in found.values())
