"""`bailiwick redteam`: its table, its JSON, its exit code."""

import json

import pytest

from runtime.cli import redteam as module
from runtime.cli.site import Site
from runtime.redteam import case as cases
from store.records.errors import FAILED, OK, SettingsError

CASE = "log-orders-a-restart"


def test_one_case_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert module.redteam(Site(), case=CASE) == OK
    head, row, end = capsys.readouterr().out.splitlines()
    assert head.split() == ["case", "wanted", "happened", "without", "it", "ok"]
    assert row.startswith(f"{CASE}  the gateway restarted")
    assert row.endswith("succeeds    ok")
    assert end == "1 of 1 cases are as they must be"
    assert module.redteam(Site(), case=CASE, json=True) == OK
    [told] = json.loads(capsys.readouterr().out)["cases"]
    assert (told["case"], told["ok"], told["attack_success_ungated"]) == (CASE, True, True)
    assert told["attack_succeeded_without"] == "origins"


def test_a_case_that_fails_ends_in_another_code_and_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = cases.chosen(cases.load(), CASE)
    wrong = found.model_copy(update={"must": found.must.model_copy(update={"ends": ("completed",)})})
    monkeypatch.setattr(cases, "load", lambda: [wrong])
    assert module.redteam(Site()) == FAILED
    out, err = capsys.readouterr()
    assert "FAIL" in out
    assert "0 of 1 cases" in out
    assert f"{CASE}: its steps ended as denied" in err


def test_a_name_that_no_case_has_is_a_mistake_of_whoever_typed_it() -> None:
    with pytest.raises(SettingsError, match="no case or group is called 'no-such'"):
        module.redteam(Site(), case="no-such")
