"""The journal as its drain needs it: each call is one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from firmware_protocol.merkle import Frontier
from gatewayd.journal.journal import JournalError, SignedAt
from gatewayd.journal.receipts import (
    ConflictRefused,
    ReceiptAccepted,
    ReceiptRefused,
    ResendFrom,
    RolledBack,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nacl.signing import SigningKey

    from firmware_protocol.checkpoint import Checkpoint
    from gatewayd.journal.journal import Journal, Marks
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeping import Clock
    from gatewayd.uplink.ports import ReceiptKeys

_COSE_SIGN1: Final = b"\xd2"
"""First byte of a signed Conflict (tag 18); a receipt is a text, and its first byte that of an origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A receipt that counts, with what it takes to bound the time by it."""

    time_s: int
    checkpoint: Checkpoint
    signed_at: SignedAt | None
    """When we first signed the checkpoint."""
    covers_all: bool
    """Nothing has been appended since."""


SHOWN_COUNT_MAX: Final = 16
"""Trees that are remembered for answers of the central log; a card put back twice shows two."""


class Ledger:
    """One gateway's journal with its key."""

    def __init__(
        self, *, store: Store, journal: Journal, key: SigningKey, receipt_keys: ReceiptKeys, clock: Clock, boot: int
    ) -> None:
        self._store = store
        self._journal = journal
        self._key = key
        self._receipt_keys = receipt_keys
        self._clock = clock
        self._boot = boot
        self._tree = Frontier.empty()
        """Over the entries below the last checkpoint of a backlog, so that the next one need not start anew."""
        self._shown: tuple[Frontier, ...] = ()
        """Ours at the sizes of checkpoints that the central log has shown us, the last one at the end."""
        self._carried_size = 0
        """Of the largest checkpoint that a phone has taken along in this run; its receipt may outrun the broker."""

    async def marks(self) -> Marks:
        """Return how far everybody is.

        Raises:
            StoreError: as every call here may.
        """
        return await self._store.run(self._journal.marks)

    async def entries(self, from_index: int, count: int, size_max: int) -> tuple[tuple[int, bytes], ...]:
        """Return entries in order, an erased one as its signed hash, see `Journal.entries`."""
        return await self._store.run(lambda tx: self._journal.entries(tx, from_index, count, size_max, key=self._key))

    async def rewind(self, sent: int, to: int) -> int | None:
        """Note that what has been sent up to `sent` is to be sent again from `to`, and return from where.

        None where entries from there on have been pruned: sending the rest would only be refused again.
        """

        def work(tx: Transaction) -> int | None:
            self._journal.mark_sent(tx, sent)
            if to < self._journal.marks(tx).oldest:
                return None
            return self._journal.rewind_sent(tx, to)

        return await self._store.run(work)

    async def offer(self, sent: int, *, again: bool) -> bytes | None:
        """Note durably that entries below `sent` have been taken by a broker, and return the checkpoint over them.

        None where they are received already, unless it is wanted `again`. A checkpoint over more than has been
        sent would read as a loss on the way.

        Raises:
            JournalError: journal.forked, the store was altered.
        """
        marks = await self._store.run(lambda tx: self._mark(tx, sent))
        if marks.received >= sent and not again:
            return None
        tree = None if marks.size == sent else await self._tree_at(sent)
        signed_at = SignedAt(boot=self._boot, boottime_ms=self._clock.now().boottime_ms)

        def sign(tx: Transaction) -> bytes | None:
            if tree is None and self._journal.marks(tx).size != sent:
                return None  # it grew just now: the rest goes first
            return self._journal.signed_checkpoint(tx, self._key, signed_at=signed_at, tree=tree)

        return await self._store.run(sign)

    async def checkpoint(self) -> bytes | None:
        """Return a checkpoint over all that is journaled now, for a phone to carry; nothing counts as sent by it."""
        signed_at = SignedAt(boot=self._boot, boottime_ms=self._clock.now().boottime_ms)

        def sign(tx: Transaction) -> tuple[bytes | None, int]:
            note = self._journal.signed_checkpoint(tx, self._key, signed_at=signed_at, tree=None)
            return note, self._journal.marks(tx).size

        note, size = await self._store.run(sign)
        if note is not None:
            self._carried_size = max(self._carried_size, size)
        return note

    def _mark(self, tx: Transaction, sent: int) -> Marks:
        self._journal.mark_sent(tx, sent)
        return self._journal.marks(tx)

    async def _tree_at(self, size: int) -> Frontier:
        self._tree = tree = await self._grown_tree(self._tree, size)
        return tree

    async def _grown_tree(self, tree: Frontier, size: int) -> Frontier:
        while tree.size != size:  # in steps: other works must not wait for a long journal
            before, tree = tree, await self._store.run(partial(self._journal.tree_towards, size=size, known=tree))
            if tree == before:
                raise JournalError("journal.incomplete", f"entry {tree.size} is missing")
        return tree

    async def take_mail(self, data: bytes) -> Received | ReceiptRefused | ResendFrom | RolledBack | ConflictRefused:
        """Judge an answer of the central log, and raise the received mark where it is a receipt that counts."""
        keys = self._receipt_keys.receipt_keys
        own_key = bytes(self._key.verify_key)
        tree = await self._tree_shown(data, own_key, keys) if data[:1] == _COSE_SIGN1 else None

        def work(tx: Transaction) -> Received | ReceiptRefused | ResendFrom | RolledBack | ConflictRefused:
            if data[:1] == _COSE_SIGN1:
                return self._journal.take_conflict(tx, data, own_key=own_key, receipt_keys=keys, tree=tree)
            verdict = self._journal.take_receipt(
                tx, data, own_key=own_key, receipt_keys=keys, carried_size=self._carried_size
            )
            if not isinstance(verdict, ReceiptAccepted):
                return verdict
            signed_at = self._journal.checkpoint_signed_at(tx, verdict.size)
            return Received(
                time_s=verdict.time_s,
                checkpoint=verdict.checkpoint,
                signed_at=signed_at,
                covers_all=verdict.size == self._journal.marks(tx).size,
            )

        return await self._store.run(work)

    async def _tree_shown(self, data: bytes, own_key: bytes, receipt_keys: Sequence[bytes]) -> Frontier | None:
        """Return our tree at the size that a conflict answer shows, where it must be rebuilt to be compared."""
        shown = await self._store.run(
            lambda tx: self._journal.checkpoint_to_judge(tx, data, own_key=own_key, receipt_keys=receipt_keys)
        )
        if shown is None:
            return None
        # Replayed answers, also several in turn, must not have it all hashed again.
        known = max((tree for tree in self._shown if tree.size <= shown.size), key=_size, default=Frontier.empty())
        tree = await self._grown_tree(known, shown.size)
        others = (each for each in self._shown if each.size != tree.size)
        self._shown = (*others, tree)[-SHOWN_COUNT_MAX:]
        return tree


def _size(tree: Frontier) -> int:
    return tree.size
