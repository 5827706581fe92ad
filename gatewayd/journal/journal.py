"""The journal: one RFC 6962 tree over everything that happened, and how far the rest of the world has it.

Pure but for the store that it is given: every method reads and writes inside the caller's transaction, so a
transaction that is rolled back needs no repair here, and there is nothing in memory that could disagree
with the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from firmware_protocol.checkpoint import Checkpoint, origin_of, sign_checkpoint, verify_checkpoint
from firmware_protocol.erased import ErasedEntry
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import Frontier, leaf_hash
from gatewayd.errors import GatewayError
from gatewayd.journal.leaves import carry_leaf, to_leaf
from gatewayd.journal.receipts import (
    ReceiptAccepted,
    ReceiptRefused,
    RolledBack,
    conflict_evidence,
    contradicts,
    take_conflict,
    take_receipt,
)
from gatewayd.journal.stand_ins import stand_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nacl.signing import SigningKey

    from gatewayd.journal.events import Event, TimeStamp
    from gatewayd.journal.receipts import ConflictVerdict

READ_COUNT_MAX: Final = 1_000
"""Most entries read or pruned in one transaction: nobody else's commit waits longer than for these."""


class JournalError(GatewayError):
    """The journal was asked for something that contradicts it."""


class Handle(Protocol):
    """A transaction. To the journal it is only something to hand on to its `JournalStore`."""

    def execute(self, sql: str, bindings: Sequence[int | str | bytes | None] = ...) -> list[tuple[Any, ...]]:
        """Run one statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How far everybody is: `oldest ≤ received ≤ size`, and `sent ≤ size`."""

    size: int
    """Entries ever appended; the next one's index."""
    sent: int
    """Entries below it have been handed to a broker: a hint, which may fall back at a restart."""
    received: int
    """Entries below it are covered by a receipt of the central log."""
    oldest: int
    """Entries below it have been pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAt:
    """When a checkpoint was first signed: a receipt over it cannot be older."""

    boot: int
    """The daemon's start that signed it."""
    boottime_ms: int
    """CLOCK_BOOTTIME then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint that has been given away."""

    size: int
    root: bytes
    note: bytes
    """As it was signed."""
    signed_at: SignedAt
    receipt: bytes | None = None
    """The note with the central log's cosignature."""


class JournalStore(Protocol):
    """Where the journal's rows are; each call belongs to the caller's transaction."""

    def load_marks(self, tx: Handle) -> Marks:
        """Return how far everybody is."""

    def load_frontier(self, tx: Handle) -> Frontier:
        """Return the frontier of the whole tree."""

    def load_oldest_frontier(self, tx: Handle) -> Frontier:
        """Return the frontier of the tree over what has been pruned."""

    def add_entry(self, tx: Handle, leaf: bytes, hashed: bytes, frontier: Frontier) -> None:
        """Append an entry; `frontier` is the tree's with it."""

    def read_entries(self, tx: Handle, from_index: int, count: int) -> list[tuple[int, bytes, bytes]]:
        """Return entries in order: index, leaf, and the leaf hash that the tree holds for it."""

    def newest_checkpoint(self, tx: Handle) -> SignedCheckpoint | None:
        """Return the remembered checkpoint over most entries."""

    def save_sent(self, tx: Handle, sent: int) -> None:
        """Move the sent mark, either way."""

    def save_received(self, tx: Handle, received: int, receipt: bytes) -> None:
        """Raise the received mark, and keep the receipt that says so."""

    def drop_oldest(self, tx: Handle, count: int) -> None:
        """Forget the oldest entries; their hashes go into the frontier at the new oldest one."""

    def save_checkpoint(self, tx: Handle, checkpoint: SignedCheckpoint) -> None:
        """Remember a checkpoint; only the newest ones are kept."""

    def find_checkpoint(self, tx: Handle, size: int) -> SignedCheckpoint | None:
        """Return the remembered checkpoint of this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The journal of one gateway."""

    gateway_id: bytes
    log_id: bytes
    """16 bytes; a new log after the old one was lost has another."""
    store: JournalStore

    @property
    def origin(self) -> str:
        """The name of this log in its checkpoints."""
        return origin_of(self.gateway_id.hex(), self.log_id.hex())

    def append(self, tx: Handle, event: Event, *, time: TimeStamp, salt: bytes) -> int:
        """Append an event and return its index. `salt`: 16 random bytes."""
        frontier = self.store.load_frontier(tx)
        index = frontier.size
        leaf = to_leaf(event, gateway_id=self.gateway_id, log_id=self.log_id, index=index, salt=salt, time=time)
        return self._add(tx, frontier, leaf)

    def append_carried(self, tx: Handle, leaf: bytes) -> int:
        """Append an entry of a former log and return its index here.

        Raises:
            LeafError: it is no entry.
        """
        frontier = self.store.load_frontier(tx)
        return self._add(tx, frontier, carry_leaf(leaf, log_id=self.log_id, index=frontier.size))

    def _add(self, tx: Handle, frontier: Frontier, leaf: bytes) -> int:
        hashed = leaf_hash(leaf)
        self.store.add_entry(tx, leaf, hashed, frontier.append(hashed))
        return frontier.size

    def doubt(self, tx: Handle, *, own_key: bytes) -> str:
        """Return why this journal cannot be borne out, empty where nothing speaks against it.

        It costs the same at any size. What our own key has signed is evidence against the store that holds it: a file
        that was put together from two, or cut, states less than its own checkpoints.
        """
        held, tree = self.store.newest_checkpoint(tx), self.store.load_frontier(tx)
        if held is None:
            return ""
        try:
            signed = verify_checkpoint(held.note, name=self.origin, public=own_key)
        except RemoteProtocolError:
            return ""  # nobody's word
        if signed.size > tree.size:
            return "journal.rolled_back"
        return "journal.forked" if signed.size == tree.size and signed.root != tree.root() else ""

    def marks(self, tx: Handle) -> Marks:
        """Return how far everybody is."""
        return self.store.load_marks(tx)

    def depth(self, tx: Handle) -> int:
        """Return how many entries the central log has not signed for yet."""
        marks = self.marks(tx)
        return marks.size - marks.received

    def entries(
        self, tx: Handle, from_index: int, count: int, size_max: int, *, key: SigningKey | None = None
    ) -> tuple[tuple[int, bytes], ...]:
        """Return entries (index, leaf) in order: at most `count`, and `size_max` bytes, but always one if there is one.

        With `key`, this gateway's own, an entry whose words were erased comes as its hash, see `stand_in`.

        Raises:
            JournalError: journal.pruned, the first of them is no longer here; journal.damaged, one has
                rotted; journal.erased, and there is no key, or no receipt that tells that the words were received.
        """
        oldest = self.marks(tx).oldest
        if from_index < oldest:
            raise JournalError("journal.pruned", f"entry {from_index}: pruned, the oldest here is {oldest}")
        taken: list[tuple[int, bytes]] = []
        for index, kept, hashed in self.store.read_entries(tx, from_index, min(count, READ_COUNT_MAX)):
            if kept and leaf_hash(kept) != hashed:
                raise JournalError("journal.damaged", f"entry {index}: not the bytes that were written")
            leaf = kept or self._stand_in(tx, index, hashed, key)
            size_max -= len(leaf)
            if taken and size_max < 0:
                break
            taken.append((index, leaf))
        return tuple(taken)

    def _stand_in(self, tx: Handle, index: int, hashed: bytes, key: SigningKey | None) -> bytes:
        marks = self.marks(tx)
        held = self.store.find_checkpoint(tx, marks.received)
        if key is None or held is None or held.receipt is None or held.size <= index:
            raise JournalError("journal.erased", f"entry {index}: its words were erased; its hash stands")
        # Whatever was erased by now was written down in the same transaction: below the size that the journal has now.
        entry = ErasedEntry(origin=self.origin, index=index, leaf_hash=hashed, accounted_size=marks.size)
        return stand_in(entry, gateway_id=self.gateway_id, log_id=self.log_id, receipt=held.receipt, key=key)

    def checkpoint(self, tx: Handle) -> Checkpoint:
        """Return what the journal says of itself now."""
        return self._state(self.store.load_frontier(tx))

    def tree_towards(self, tx: Handle, *, size: int, known: Frontier) -> Frontier:
        """Return the tree over the entries below `size`, or over the next 1,000 that `known` lacks.

        `known` is a tree of this journal; where it is no beginning of what is wanted and still here, it starts
        at the oldest entry. The caller asks until the size is reached.
        """
        oldest = self.store.load_oldest_frontier(tx)
        tree = known if oldest.size <= known.size <= size else oldest
        for _, _, hashed in self.store.read_entries(tx, tree.size, min(size - tree.size, READ_COUNT_MAX)):
            tree = tree.append(hashed)
        return tree

    def signed_checkpoint(
        self, tx: Handle, key: SigningKey, *, signed_at: SignedAt, tree: Frontier | None = None
    ) -> bytes:
        """Return the signed checkpoint of now, or of an earlier `tree`, and remember when it was first signed.

        At a size that has been signed before it is the same bytes again and nothing is written: two
        checkpoints of one size would look like a fork.

        Raises:
            JournalError: journal.forked, another tree of this size has been signed: the store was altered.
        """
        checkpoint = self.checkpoint(tx) if tree is None else self._state(tree)
        held = self.store.find_checkpoint(tx, checkpoint.size)
        if held is None:
            note = sign_checkpoint(checkpoint, key=key, name=self.origin)
            held = SignedCheckpoint(size=checkpoint.size, root=checkpoint.root, note=note, signed_at=signed_at)
            self.store.save_checkpoint(tx, held)
        if held.root != checkpoint.root:
            raise JournalError("journal.forked", f"checkpoint {checkpoint.size} has been signed over another tree")
        return held.note

    def checkpoint_signed_at(self, tx: Handle, size: int) -> SignedAt | None:
        """Return when the checkpoint of this size was first signed, None where it is not remembered."""
        held = self.store.find_checkpoint(tx, size)
        return None if held is None else held.signed_at

    def mark_sent(self, tx: Handle, to: int) -> None:
        """Raise the sent mark to `to`; a lower one changes nothing.

        Raises:
            JournalError: journal.beyond_end.
        """
        marks = self.marks(tx)
        if to > marks.size:
            raise JournalError("journal.beyond_end", f"sent up to {to} of {marks.size} entries")
        if to > marks.sent:
            self.store.save_sent(tx, to)

    def rewind_sent(self, tx: Handle, to: int) -> int:
        """Lower the sent mark to `to`, or to the oldest entry that is left, and return where it stands."""
        marks = self.marks(tx)
        target = max(to, marks.oldest)
        if target >= marks.sent:
            return marks.sent
        self.store.save_sent(tx, target)
        return target

    def take_receipt(
        self, tx: Handle, data: bytes, *, own_key: bytes, receipt_keys: Sequence[bytes], carried_size: int = 0
    ) -> ReceiptAccepted | ReceiptRefused | RolledBack:
        """Judge a receipt and raise the received mark if it counts; an older one than the last changes nothing.

        Entries below `carried_size` have left in a phone, whatever the broker has taken.
        """
        marks = self.marks(tx)
        verdict = take_receipt(
            data,
            origin=self.origin,
            own_key=own_key,
            receipt_keys=receipt_keys,
            root_at=lambda size: self._root_at(tx, size),
            sent_size=max(marks.sent, carried_size),
        )
        match verdict:
            case ReceiptAccepted(size=size) if size > marks.received:
                self.store.save_received(tx, size, data)
                if size > marks.sent:
                    self.store.save_sent(tx, size)  # a phone was there before the broker
            case ReceiptRefused(checkpoint=Checkpoint() as signed) if self._contradicts(tx, signed, marks):
                return RolledBack(checkpoint=signed)
            case _:
                pass
        return verdict

    def checkpoint_to_judge(
        self, tx: Handle, data: bytes, *, own_key: bytes, receipt_keys: Sequence[bytes]
    ) -> Checkpoint | None:
        """Return what a conflict answer shows of us, where only a look at the entries can tell whether we bear it out.

        Attack, or a card put back that has since outgrown what the central log holds: at that size this history has
        signed nothing, and so remembers no root to compare.
        """
        shown = conflict_evidence(
            data, gateway_id=self.gateway_id, log_id=self.log_id, own_key=own_key, receipt_keys=receipt_keys
        )
        marks = self.marks(tx)
        if shown is None or not marks.oldest <= shown.size <= marks.size or self._root_at(tx, shown.size) is not None:
            return None
        return shown

    def take_conflict(
        self, tx: Handle, data: bytes, *, own_key: bytes, receipt_keys: Sequence[bytes], tree: Frontier | None = None
    ) -> ConflictVerdict:
        """Judge a conflict answer. Nothing is written: the caller decides when a resend is due.

        `tree` is ours at the size of `checkpoint_to_judge`, where that named one.
        """
        return take_conflict(
            data,
            gateway_id=self.gateway_id,
            log_id=self.log_id,
            own_key=own_key,
            receipt_keys=receipt_keys,
            root_at=lambda size: tree.root() if tree is not None and tree.size == size else self._root_at(tx, size),
            own_size=self.marks(tx).size,
        )

    def prune(self, tx: Handle, keep_count: int) -> int:
        """Forget entries that are received, but the newest `keep_count`; return how many went, at most 1,000.

        The tree goes on: the frontier at the oldest entry that is left lets anyone check the rest.
        """
        marks = self.marks(tx)
        end = min(marks.received, marks.size - keep_count, marks.oldest + READ_COUNT_MAX)
        count = max(0, end - marks.oldest)
        if count:
            self.store.drop_oldest(tx, count)
        return count

    def _state(self, tree: Frontier) -> Checkpoint:
        return Checkpoint(origin=self.origin, size=tree.size, root=tree.root())

    def _contradicts(self, tx: Handle, signed: Checkpoint, marks: Marks) -> bool:
        return contradicts(signed, root_at=lambda size: self._root_at(tx, size), own_size=marks.size)

    def _root_at(self, tx: Handle, size: int) -> bytes | None:
        held = self.store.find_checkpoint(tx, size)
        return None if held is None else held.root
