"""Proofs: that an event is in the ledger, and that a ledger continues what it once was.

Whoever gets one needs only `store.verify` and the public key to check it.
"""

from collections.abc import Callable, Sequence

from store.ledger.gap import gaps
from store.ledger.notary import origin, public_key
from store.ledger.reader import Reader
from store.ledger.tiles import resume
from store.ledger.tree import Tree
from store.records.errors import IntegrityError, SettingsError
from store.verify import (
    Checkpoint,
    Consistency,
    Inclusion,
    Invalid,
    Key,
    check_inclusion,
    leaf_hash,
    open_checkpoint,
)

RESTORE = "`bailiwick audit verify` names all damage; restore a backup"


class Proofs:
    """The proofs of one open ledger. Safe from any thread. `secret` is the key that signs its checkpoints."""

    def __init__(self, reader: Reader, secret: bytes, last: Callable[[], int], where: str) -> None:
        """`last` tells the number of the last event on disk."""
        self._reader = reader
        self._last = last
        self._key: Key | None = None
        self._signed: tuple[Checkpoint, str] | None = None
        self.public = public_key(secret)
        self._where = where
        self._tree: Tree | None = None
        self.ask: Callable[[], None] | None = None
        """Blocks until a checkpoint covers all that was appended before; None if nobody writes."""

    @property
    def key(self) -> Key:
        """The public key of the checkpoints. Raises SettingsError while there is no event to name the log by."""
        if self._key is None:
            first = self._reader.first_hash()
            if not first:
                raise SettingsError("the ledger is empty", self._where, "run a task first")
            self._key = Key(origin(first), self.public)
        return self._key

    @property
    def name(self) -> str:
        """The origin of the checkpoints; that of no log while there is no event."""
        return origin(self._reader.first_hash())

    def agree(self, tree: Tree) -> None:
        """Prove from this tree from now on. Raises IntegrityError unless it is what the last checkpoint signed."""
        self._tree = tree
        newest = self._reader.checkpoint()
        if newest is None:
            return
        try:
            signed = open_checkpoint(newest[1], self.key)
            if signed.size != newest[0]:
                raise Invalid(f"one of {signed.size} events stands as one of {newest[0]}")
            if signed.size > tree.size or tree.root(signed.size) != signed.root:
                raise Invalid(f"the first {signed.size} events are not those that were signed")
        except (Invalid, SettingsError) as error:
            raise IntegrityError(f"the last checkpoint does not hold: {error}", self._where, RESTORE) from None

    def agree_with(self, kept: Sequence[Checkpoint]) -> None:
        """Raise IntegrityError unless the ledger continues the last of these checkpoints, which were kept elsewhere."""
        for each in kept[-1:]:
            if each.origin != self.name:
                raise IntegrityError("a mirrored checkpoint names another first event", self._where, RESTORE)
            self._continues(each, "a mirrored checkpoint")

    def inclusion(self, seq: int) -> str:
        """That an event is in the ledger: a `store.verify.Inclusion` as text, with its bytes and the newest checkpoint.

        Blocks until a checkpoint covers the event. Raises SettingsError if there is no such event on disk, or if it is
        not covered and nobody writes.
        """
        last = self._last()
        if not 0 < seq <= last:
            raise SettingsError(f"there is no event {seq}", self._where, f"the last is {last}")
        newest, note = self._newest(seq)
        event = self._reader.event(seq)
        data = event.canonical() if event else b""
        proof = Inclusion(data, seq - 1, tuple(self._grown(newest.size).inclusion(seq - 1, newest.size)), note)
        try:  # all but the signature, which was checked when the checkpoint was read
            check_inclusion(leaf_hash(data), proof.index, newest.size, proof.path, newest.root)
        except Invalid as error:
            raise IntegrityError(f"event {seq} is not what was signed: {error}", self._where, RESTORE) from None
        return str(proof)

    def checkpoint(self) -> str:
        """A signed note over all events that are on disk, and perhaps more. Raises SettingsError if nobody can sign."""
        return self._newest(max(1, self._last()))[1]

    def since(self, note: str) -> str:
        """That the newest checkpoint continues an older one: a `store.verify.Consistency` as text.

        Raises SettingsError if `note` is no checkpoint of this ledger, IntegrityError if it is one, and this ledger is
        not what it signed.
        """
        try:
            old = open_checkpoint(note, self.key)
        except Invalid as error:
            raise SettingsError(f"this is no checkpoint of this ledger: {error}", self._where) from None
        self._continues(old, "the checkpoint")
        newest, text = self._newest(self._last())
        proof = Consistency(tuple(self._grown(newest.size).consistency(old.size, newest.size)), text)
        try:
            proof.check(note, self.key)
        except Invalid as error:
            raise IntegrityError(f"the ledger is not what was signed: {error}", self._where, RESTORE) from None
        return str(proof)

    def _continues(self, old: Checkpoint, what: str) -> None:
        size = self._last()
        if old.size > size:
            problem = f"{what} signed {old.size} events, and there are {size}"
        elif self._grown(old.size).root(old.size) != old.root:
            problem = f"the first {old.size} events are not those that {what} signed"
        else:
            return
        said = [str(gap) for gap in gaps(self._reader) if gap.left(old.size)]
        raise IntegrityError(problem, self._where, said[-1] if said else RESTORE)

    def _newest(self, covering: int) -> tuple[Checkpoint, str]:
        """A checkpoint that covers so many events, and its note: the last that was looked at, or the newest."""
        if self._signed and self._signed[0].size >= covering:
            return self._signed
        found = self._reader.checkpoint(covering)
        if not found and self.ask:
            self.ask()
            found = self._reader.checkpoint(covering)
        if not found:
            do = "start the runtime once: it signs what there is"
            raise SettingsError(f"no checkpoint covers event {covering} yet", self._where, do)
        try:
            signed = open_checkpoint(found[1], self.key)
            if signed.size != found[0]:
                raise Invalid(f"one of {signed.size} events stands as one of {found[0]}")
            self._signed = signed, found[1]
        except Invalid as error:
            raise IntegrityError(f"the last checkpoint does not hold: {error}", self._where) from None
        return self._signed

    def _grown(self, size: int) -> Tree:
        """The tree, with so many leaves at least."""
        if self._tree is None:
            self._tree, _ = resume(self._reader)
        if self._tree.size < size:
            raise IntegrityError(f"{size} events were signed, and {self._tree.size} are there", self._where, RESTORE)
        return self._tree
