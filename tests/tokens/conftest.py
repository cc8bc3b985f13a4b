"""A real ledger, a directory with people in it, and the book of tokens over both."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.people import People
from runtime.tokens.book import TokenBook
from store.ledger.ledger import Ledger
from store.records.identity import User

HEAD = """\
[roles]
requester = ["staff"]
approver = ["leads"]
admin = ["it"]
[groups.staff]
[groups.leads]
[groups.it]
"""
ANN = '[users.ann]\nuid = 61001\ngroups = ["staff", "leads"]\n'
BOSS = '[users.boss]\nuid = 61002\ngroups = ["it"]\n'
EVE = '[users.eve]\nuid = 61003\ngroups = ["it"]\ntenant = "other"\n'


@dataclass
class Site:
    """One site: `now` is its clock, seconds since 1970."""

    folder: Path
    now: float = 1_800_000_000.0
    ledger: Ledger = field(init=False)
    book: TokenBook = field(init=False)

    def __post_init__(self) -> None:
        self.write(ANN, BOSS, EVE)
        self.people = People(directory=self.file, service_user="keeper")
        self.open()

    @property
    def file(self) -> Path:
        return self.folder.with_name("people.toml")

    def write(self, *users: str) -> None:
        aside = self.file.with_suffix(".new")
        aside.write_text(HEAD + "".join(users))
        aside.chmod(0o600)
        aside.replace(self.file)

    def open(self) -> None:
        """A start."""
        from datetime import UTC, datetime

        self.ledger = Ledger.open(self.folder, clock=lambda: datetime.fromtimestamp(self.now, UTC))
        self.book = TokenBook(self.ledger, self.people, lambda: self.now)

    def restart(self) -> None:
        self.ledger.close()
        self.open()

    def user(self, name: str) -> User:
        return self.people.named(name)

    async def token(self, user: str = "ann", expires_s: int = 3600, roles: tuple[str, ...] | None = None) -> str:
        return (await self.book.issue(user, expires_s, roles, self.user("boss"))).token


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    made.ledger.close()
