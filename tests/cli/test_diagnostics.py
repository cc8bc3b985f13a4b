"""Every failure is one line on stderr and an exit code of the table."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from runtime import diagnostics
from store.records import errors


def raiser(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (errors.SettingsError("bad", "here", "do that"), 2, "bad (here); do that"),
        (errors.Unreachable("x"), 3, "x"),
        (errors.Timeout("x"), 4, "x"),
        (errors.Denied("x"), 5, "x"),
        (errors.BudgetExceeded("x"), 6, "x"),
        (errors.IntegrityError("x"), 7, "x"),
        (errors.Waiting("x"), 8, "x"),
        (errors.ToolFailed("two\nlines"), 1, "two lines"),
        (KeyboardInterrupt(), 130, "bailiwick resume"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "the disk is full (/data/x)"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), 1, "access is not allowed (/data)"),
        (OSError(errno.EADDRINUSE, "Address already in use"), 1, "the address is in use"),
        (RuntimeError("the text of a prompt"), 1, "unexpected RuntimeError"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BAILIWICK_DEBUG", raising=False)
    assert diagnostics.run(raiser(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bailiwick: ")
    assert says in err
    assert err.count("\n") == 1
    assert "prompt" not in err


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_a_traceback_only_when_asked_for(
    by: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAILIWICK_DEBUG", "1" if by == "environment" else "0")
    assert diagnostics.run(raiser(RuntimeError("why")), debug=by == "flag") == 1
    assert "Traceback" in capsys.readouterr().err


def test_results_and_exit_codes_of_success() -> None:
    assert diagnostics.run(lambda: None) == 0
    assert diagnostics.run(lambda: 7) == 7
    assert diagnostics.run(raiser(SystemExit(3))) == 3


def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    code = "from runtime.diagnostics import run\ndef m():\n while 1: print('x' * 1000)\nimport sys; sys.exit(run(m))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stderr
        os.read(child.stdout.fileno(), 10)
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 141
