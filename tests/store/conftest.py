"""What the tests of store/ share: a ledger in a folder of its own, and drafts."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from store.ledger import keeper
from store.ledger.ledger import Ledger
from store.records.event import Draft
from store.records.kinds import Kind
from store.records.labels import trusted

MakeDraft = Callable[..., Draft]


@pytest.fixture(scope="session")
def draft() -> MakeDraft:
    """A draft with what every event has; keywords set the rest."""

    def make(kind: Kind = Kind.NOTE, **more: Any) -> Draft:
        given = {"tenant": "acme", "actor": "core", "actor_version": "0.1.0", "labels": trusted("acme", "user")}
        return Draft(kind=kind, **{**given, **more})

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    """An open ledger, closed at the end."""
    with Ledger.open(folder) as opened:
        yield opened


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the keeper's clock be so many days ahead."""

    def ahead(days: int) -> None:
        class Later(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "Later":
                return super().now(tz) + timedelta(days=days)

        monkeypatch.setattr(keeper, "datetime", Later)

    return ahead
