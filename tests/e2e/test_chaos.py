"""Forty kills: of the core, the tool host and everything, power cuts, and parts of the full runtime."""

import json

import pytest

from benchmarks.chaos.__main__ import main


def test_of_forty_kills_nothing_is_lost_and_nothing_done_twice(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--quick", "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert code == 0, said.err
    assert (found["kills"], found["kills_ray"], found["lost"], found["duplicated"]) == (40, 10, 0, 0), said.err
    assert found["in_doubt_without_need"] == 0
    assert found["finished_share"] == 1.0, said.err
    assert found["open_intents_met"] > 0, "no kill fell between an intent and its outcome"
    assert found["unsynced_writes"] > 0, "no power cut took anything"
    assert found["in_doubt"] == found["runs"] - found["finished"], "only runs in doubt are left"
