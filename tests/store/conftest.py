"""What the tests of store/ share: a ledger in a folder of its own, and drafts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
