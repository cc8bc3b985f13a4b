"""The benchmark of the gate, on a few calls: that it runs under the policies it says, and what its last line says."""

import json

import pytest

from benchmarks import gate


def test_it_runs_and_ends_with_one_json_object(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "READS", 400)
    monkeypatch.setattr(gate, "EFFECTS", 100)
    assert gate.main(["--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["policies"], found["entities"], found["reads"], found["effects"]) == (20, 200, 40, 10)
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert (found["first"], found["first_p50_ms"] > 0) == (40, True)
    assert found["p50_ms"] < found["effect_p50_ms"] <= found["effect_p99_ms"]
