"""The journal as its drain needs it: each call is one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatewayd.journal.journal import SignedAt
from gatewayd.journal.receipts import (
    ConflictRefused,
    ReceiptAccepted,
    ReceiptRefused,
    ResendFrom,
    RolledBack,
)

if TYPE_CHECKING:
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

    async def marks(self) -> Marks:
        """Return how far everybody is.

        Raises:
            StoreError: as every call here may.
        """
        return await self._store.run(self._journal.marks)

    async def entries(self, from_index: int, count: int, size_max: int) -> tuple[tuple[int, bytes], ...]:
        """Return entries in order, see `Journal.entries`."""
        return await self._store.run(lambda tx: self._journal.entries(tx, from_index, count, size_max))

    async def mark_sent(self, sent: int) -> None:
        """Note durably that entries below `sent` have been taken by a broker."""
        await self._store.run(lambda tx: self._journal.mark_sent(tx, sent))

    async def rewind(self, sent: int, to: int) -> int:
        """Note that what has been sent up to `sent` is to be sent again from `to`, and return from where."""

        def work(tx: Transaction) -> int:
            self._journal.mark_sent(tx, sent)
            return self._journal.rewind_sent(tx, to)

        return await self._store.run(work)

    async def offer(self, sent: int) -> bytes | None:
        """Return the signed checkpoint over everything; None unless all is sent and not all is received.

        A checkpoint ahead of what has been sent would read as a loss on the way.

        Raises:
            JournalError: journal.forked, the store was altered.
        """
        signed_at = SignedAt(boot=self._boot, boottime_ms=self._clock.now().boottime_ms)

        def work(tx: Transaction) -> bytes | None:
            self._journal.mark_sent(tx, sent)
            marks = self._journal.marks(tx)
            if marks.size > sent or marks.received == marks.size:
                return None
            return self._journal.signed_checkpoint(tx, self._key, signed_at=signed_at)

        return await self._store.run(work)

    async def take_mail(self, data: bytes) -> Received | ReceiptRefused | ResendFrom | RolledBack | ConflictRefused:
        """Judge an answer of the central log, and raise the received mark where it is a receipt that counts."""
        keys = self._receipt_keys.receipt_keys
        own_key = bytes(self._key.verify_key)

        def work(tx: Transaction) -> Received | ReceiptRefused | ResendFrom | RolledBack | ConflictRefused:
            if data[:1] == _COSE_SIGN1:
                return self._journal.take_conflict(tx, data, own_key=own_key, receipt_keys=keys)
            verdict = self._journal.take_receipt(tx, data, own_key=own_key, receipt_keys=keys)
            if not isinstance(verdict, ReceiptAccepted):
                return verdict
            signed_at = self._journal.checkpoint_signed_at(tx, verdict.size)
            return Received(time_s=verdict.time_s, checkpoint=verdict.checkpoint, signed_at=signed_at)

        return await self._store.run(work)
