"""A gateway's journal in a real store, and a central log that answers it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from nacl.signing import SigningKey

from firmware_protocol.checkpoint import cosign
from firmware_protocol.cose import id_of
from firmware_protocol.signed import sign
from firmware_protocol.statements import Conflict
from gatewayd.journal.events import GatewayHeartbeat, TimeStamp
from gatewayd.journal.journal import SignedAt
from gatewayd.journal.receipts import receipt_name
from gatewayd.store.creation import create_file
from gatewayd.store.database import Database
from gatewayd.store.faults import StoreError
from gatewayd.store.log import load_journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayd.journal.events import Event
    from gatewayd.journal.journal import Journal, Marks
    from gatewayd.journal.receipts import ConflictVerdict, ReceiptAccepted, ReceiptRefused, RolledBack
    from gatewayd.store.database import Transaction

T = TypeVar("T")

GATEWAY: Final = SigningKey(b"g" * 32)
CENTRAL: Final = SigningKey(b"c" * 32)
STRANGER: Final = SigningKey(b"s" * 32)
GATEWAY_ID: Final = id_of(bytes(GATEWAY.verify_key))
LOG_ID: Final = bytes(range(16))
LOCK_ID: Final = b"lock-one"
SIGNED_AT: Final = SignedAt(boot=3, boottime_ms=7_000)
RECEIPT_S: Final = 1_780_000_000
TIME: Final = TimeStamp(lo_ms=1_780_000_000_000, hi_ms=1_780_000_060_000)
SALT: Final = b"0123456789abcdef"


def public(key: SigningKey) -> bytes:
    """Return the Ed25519 public key."""
    return bytes(key.verify_key)


def heartbeat(number: int = 0) -> GatewayHeartbeat:
    """Return an event that differs by its number."""
    return GatewayHeartbeat(tier="fresh", state_seq=number, keyset_version=1)


def receipt(note: bytes, *, key: SigningKey = CENTRAL, time_s: int = RECEIPT_S) -> bytes:
    """Return what the central log answers to a signed checkpoint."""
    return cosign(note, key=key, name=receipt_name(public(key)), time_s=time_s)


def conflict(
    *,
    size: int,
    checkpoint: bytes | None = None,
    key: SigningKey = CENTRAL,
    gateway_id: bytes = GATEWAY_ID,
    log_id: bytes = LOG_ID,
) -> bytes:
    """Return a signed conflict answer."""
    return sign(Conflict(gateway_id=gateway_id, log_id=log_id, size=size, checkpoint=checkpoint), key)


@dataclass
class JournalBench:
    """One gateway's store, without a loop: each call is one durable transaction."""

    path: Path
    database: Database
    journal: Journal

    @classmethod
    def make(cls, path: Path) -> JournalBench:
        """Make a store with an empty journal."""
        create_file(path, log_id=LOG_ID)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, vfs: str | None = None) -> JournalBench:
        """Open a store that is there."""
        database = Database(path, vfs=vfs)
        try:
            return cls(path, database, database.run(lambda tx: load_journal(tx, gateway_id=GATEWAY_ID)))
        except StoreError:
            with suppress(StoreError):
                database.close()
            raise

    def restart(self) -> JournalBench:
        """Stop in order and start again."""
        self.database.close()
        return JournalBench.open(self.path)

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Run one transaction."""
        return self.database.run(work)

    def append(self, *events: Event) -> list[int]:
        """Append events, all in one transaction."""
        return self.run(lambda tx: [self.journal.append(tx, event, time=TIME, salt=SALT) for event in events])

    def beat(self, count: int) -> None:
        """Append so many heartbeats and mark them sent."""
        self.append(*(heartbeat(number) for number in range(count)))
        self.send_all()

    def send_all(self) -> None:
        """Mark everything sent."""
        self.run(lambda tx: self.journal.mark_sent(tx, self.journal.marks(tx).size))

    def note(self, signed_at: SignedAt = SIGNED_AT) -> bytes:
        """Return the signed checkpoint of now."""
        return self.run(lambda tx: self.journal.signed_checkpoint(tx, GATEWAY, signed_at=signed_at))

    def take_receipt(self, data: bytes) -> ReceiptAccepted | ReceiptRefused | RolledBack:
        """Take what came from the central log."""
        keys = [public(CENTRAL)]
        return self.run(lambda tx: self.journal.take_receipt(tx, data, own_key=public(GATEWAY), receipt_keys=keys))

    def take_conflict(self, data: bytes) -> ConflictVerdict:
        """Take what came from the central log."""
        keys = [public(CENTRAL)]
        return self.run(lambda tx: self.journal.take_conflict(tx, data, own_key=public(GATEWAY), receipt_keys=keys))

    @property
    def marks(self) -> Marks:
        """How far everybody is."""
        return self.run(self.journal.marks)
