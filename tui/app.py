"""The verb `top`. Found by the command line through its entry point, so it must be cheap to import."""

import os
import sys
from pathlib import Path

from store.records.errors import SettingsError


def top(socket: Path | None = None) -> None:
    """Watch a runtime: runs, steps, the audit tail, and what waits for a person.

    Without --socket it watches the newest runtime that listens, and goes on when that restarts.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in {"", "dumb"}:
        raise SettingsError("top needs a terminal", do="use `bailiwick status --json` and `bailiwick runs list --json`")
    from runtime.gateway.client import newest_socket
    from tui.dashboard import Dashboard

    dashboard = Dashboard(newest_socket if socket is None else lambda: socket)
    dashboard.run()
    if dashboard.return_code:
        raise SystemExit(dashboard.return_code)
