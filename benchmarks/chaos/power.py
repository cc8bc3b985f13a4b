"""Power cuts: a folder's files as a disk would have them if the power went now.

power.c, loaded into the process that writes, tells what it does to the files in order. What was synced stays; of the
rest nothing survives, or a part chosen at random with its last write torn. As on the journalling file systems of Linux
the names of files (made, renamed, removed) are kept in order and become durable with the next sync of whatever file;
data become durable with the sync of their own file only. Folders are taken to be durable at once. After every life of
the process the files on disk are compared with what it told, so a write that went unseen is an error.
"""

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from store.records.errors import IntegrityError, Unreachable

HEAD = struct.Struct("=4Q")
SECTOR = 512
SOURCE = Path(__file__).with_name("power.c")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of what the process did: W(rite), T(runcate), G(row), Z(ero), S(ync), C(reate), R, L, U or F(ailed)."""

    what: str
    inode: int
    at: int
    data: bytes

    @property
    def paths(self) -> tuple[str, str]:
        """The two names of a record about names; the second may be empty."""
        one, _, two = self.data.decode().rstrip("\0").partition("\0")
        return one, two

    def apply(self, content: bytearray) -> None:
        """Do to the content of a file what the process did."""
        size = int.from_bytes(self.data, "little") if self.what in "GZ" else len(self.data)
        if self.what == "T":
            del content[self.at :]
            content.extend(bytes(self.at - len(content)))
            return
        if self.what in "WG" and len(content) < self.at + (size if self.what == "G" else 0):
            content.extend(bytes(self.at + (size if self.what == "G" else 0) - len(content)))
        if self.what == "W":
            content[self.at : self.at + size] = self.data
        elif self.what == "Z":
            end = min(self.at + size, len(content))
            content[self.at : end] = bytes(max(0, end - self.at))


@dataclass
class File:
    """A file: what of it is durable, and what was done to it since, in order."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)

    def now(self) -> bytearray:
        """The content as every process sees it."""
        return self.after(self.pending)

    def after(self, records: list[Record]) -> bytearray:
        """The durable content and these records."""
        content = bytearray(self.durable)
        for record in records:
            record.apply(content)
        return content

    def survivor(self, chance: random.Random) -> bytearray:
        """What a disk may have that wrote some of it and was stopped in the middle of a write."""
        kept = [record for record in self.pending if chance.random() < 0.5]
        if kept and kept[-1].what == "W":
            last = kept[-1]
            torn = last.data[: chance.randrange(0, len(last.data) + SECTOR, SECTOR)]
            kept[-1] = Record(last.what, last.inode, last.at, torn)
        return self.after(kept)


Names = dict[str, File]


@dataclass(frozen=True, slots=True)
class Naming:
    """A change of names, and the file it made, if it made one: by the time of a cut its number may be another's."""

    record: Record
    made: File | None = None

    def apply(self, names: Names) -> None:
        """Do to a table of names what the process did."""
        one, two = self.record.paths
        match self.record.what:
            case "C" if self.made is not None:
                names[one] = self.made
            case "R" if one in names:
                names[two] = names.pop(one)
            case "L" if one in names:
                names[two] = names[one]
            case "U":
                names.pop(one, None)


class Disk:
    """The files of one folder, which must be empty at first. One process writes to it at a time."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        """`scratch` takes the compiled recorder and its journal. Raises Unreachable if it cannot be compiled."""
        self._folder = folder.resolve()
        self.journal, self._orders = scratch / "power.journal", scratch / "power.orders"
        self._library = _compiled(scratch / "power.so")
        self._inodes: dict[int, File] = {}
        self._live: Names = {}
        self._durable: Names = {}
        self._named: list[Naming] = []

    def environment(self) -> dict[str, str]:
        """The variables of the next process that writes."""
        self.journal.unlink(missing_ok=True)
        return {
            "LD_PRELOAD": str(self._library),
            "CHAOS_FOLDER": str(self._folder),
            "CHAOS_JOURNAL": str(self.journal),
            "CHAOS_ORDERS": str(self._orders),
        }

    def die_at_sync(self, number: int = 1) -> None:
        """Let the process die instead of making the `number`-th sync from now on, until it is settled."""
        aside = self._orders.with_suffix(".new")
        aside.write_text(str(number))
        aside.rename(self._orders)

    def settle(self) -> None:
        """Take in what the last process did; it must have ended. Raises IntegrityError if it did more than it told."""
        records = list(read(self.journal)) if self.journal.exists() else []
        for file in (self.journal, self._orders):
            file.unlink(missing_ok=True)
        for number, record in enumerate(records, 1):
            following = records[number].what if number < len(records) else ""
            if "F" in (record.what, following):
                continue  # what was told could not be done
            taken = record if following else self._done(record)
            if taken is not None:
                self._take(taken)
        self._compare()

    def cut(self, chance: random.Random, *, all_lost: bool) -> int:
        """Set the files back to what a power cut would leave; how many writes were not synced.

        `all_lost`: nothing but what was synced survives; else some of the rest does. Call `settle` before.
        """
        unsynced = sum(record.what == "W" for file in self._live.values() for record in file.pending)
        names = dict(self._durable)
        for naming in [] if all_lost else self._named[: chance.randint(0, len(self._named))]:
            naming.apply(names)
        contents = {
            path: bytes(file.durable if all_lost else file.survivor(chance)) for path, file in sorted(names.items())
        }
        for path in self._files():
            path.unlink()
        self._inodes, self._live, self._named = {}, {}, []
        for name, content in contents.items():
            path = Path(name)
            path.write_bytes(content)
            path.chmod(0o600)
            self._live[name] = self._inodes[path.stat().st_ino] = File(bytearray(content))
        self._durable = dict(self._live)
        return unsynced

    def _take(self, record: Record) -> None:
        match record.what:
            case "S":
                if record.inode in self._inodes:
                    file = self._inodes[record.inode]
                    file.durable, file.pending = file.now(), []
                self._durable, self._named = dict(self._live), []
            case "C":
                path = record.paths[0]
                if path in self._live:
                    self._inodes[record.inode] = self._live[path]
                else:
                    made = self._inodes[record.inode] = File()
                    self._name(Naming(record, made))
            case "R" | "L" | "U":
                self._name(Naming(record))
            case _:
                if record.inode not in self._inodes:
                    raise IntegrityError("a file was written whose making nobody saw", str(self._folder))
                self._inodes[record.inode].pending.append(record)

    def _name(self, naming: Naming) -> None:
        naming.apply(self._live)
        self._named.append(naming)

    def _done(self, record: Record) -> Record | None:
        """The last record as far as it came true: the process may have been killed before it did what it told."""
        one, two = record.paths if record.what in "RLU" else ("", "")
        if record.what in "RU":
            return None if Path(one).exists() else record
        if record.what == "L":
            return record if Path(two).exists() else None
        if record.what in "SC" or (file := self._inodes.get(record.inode)) is None:
            return record
        actual = next((Path(name).read_bytes() for name, each in self._live.items() if each is file), None)
        if actual is None or record.what in "TGZ":
            return record if actual is None or bytes(file.now()) != actual else None
        found = actual[record.at : record.at + len(record.data)]
        return Record("W", record.inode, record.at, found) if found else None

    def _compare(self) -> None:
        """Raise IntegrityError unless the files are what the process told."""
        there = {str(path): path.read_bytes() for path in self._files()}
        told = {name: bytes(file.now()) for name, file in self._live.items()}
        for name in sorted(there.keys() | told.keys()):
            if there.get(name, b"") != told.get(name, b""):
                raise IntegrityError("a file is not what its process was seen to write", name)

    def _files(self) -> list[Path]:
        return [path for path in sorted(self._folder.rglob("*")) if path.is_file()]


def read(journal: Path) -> Iterator[Record]:
    """The records of a journal; one that was cut short is left out."""
    data, at = journal.read_bytes(), 0
    while at + HEAD.size <= len(data):
        what, inode, place, size = HEAD.unpack_from(data, at)
        at += HEAD.size + size
        if at <= len(data):
            yield Record(chr(what), inode, place, b"" if chr(what) == "T" else data[at - size : at])


def _compiled(library: Path) -> Path:
    if not library.exists():
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise Unreachable("power cuts need a C compiler", "gcc", "install gcc")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
        if done.returncode:
            first = next(iter(done.stderr.splitlines()), "")
            raise Unreachable(f"the recorder of writes does not compile: {first}", str(SOURCE))
    return library
