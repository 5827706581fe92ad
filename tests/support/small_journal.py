"""A gateway's journal in memory: real leaves, tree and checkpoints, and a lock's log to copy into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.checkpoint import Checkpoint, origin_of, sign_checkpoint
from firmware_protocol.lock_log import LogPosition, LogRecord, RecordType, chain
from firmware_protocol.merkle import leaf_hash, root_of
from firmware_protocol.signed import sign
from firmware_protocol.statements import LogHead
from gatewayd.journal.events import GatewayHeartbeat, LockHeadSigned, LockRecorded, TimeStamp
from gatewayd.journal.leaves import to_leaf

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from gatewayd.journal.events import Event
    from simulator.office import Home

LOG_ID = bytes(range(16))
LOCK_LOG_ID = bytes(range(16, 32))


class SmallJournal:
    """Append, then take `leaves` and `checkpoint`."""

    def __init__(self, home: Home, *, log_id: bytes = LOG_ID) -> None:
        self.home = home
        self.log_id = log_id
        self.leaves: list[bytes] = []

    def append(self, event: Event) -> bytes:
        leaf = to_leaf(
            event,
            gateway_id=self.home.gateway_id,
            log_id=self.log_id,
            index=len(self.leaves),
            salt=len(self.leaves).to_bytes(16, "big"),
            time=TimeStamp(lo_ms=1, hi_ms=None),
        )
        self.leaves.append(leaf)
        return leaf

    def beat(self, tier: str = "fresh") -> bytes:
        return self.append(GatewayHeartbeat(tier=tier, state_seq=1, keyset_version=1))

    def checkpoint(self, size: int | None = None, *, key: SigningKey | None = None) -> bytes:
        hashes = [leaf_hash(leaf) for leaf in self.leaves[:size]]
        origin = origin_of(self.home.gateway_id.hex(), self.log_id.hex())
        checkpoint = Checkpoint(origin=origin, size=len(hashes), root=root_of(hashes))
        return sign_checkpoint(checkpoint, key=key or self.home.gateway_signing_key, name=origin)


class SmallLockLog:
    """A lock's own log; `event` is a copy of a new record for a journal."""

    def __init__(self, home: Home, *, log_id: bytes = LOCK_LOG_ID) -> None:
        self.home = home
        self.position = LogPosition.start(log_id)

    def record(self, kind: RecordType) -> bytes:
        record = LogRecord(
            seq=self.position.seq + 1, boot=1, up_s=1, wall_s=None, type=kind, actor=None, cmd_id=None, result=None
        ).to_bytes()
        seq, head = self.position.seq + 1, chain(self.position.head, record)
        self.position = LogPosition(log_id=self.position.log_id, seq=seq, head=head)
        return record

    def event(self, kind: RecordType) -> LockRecorded:
        previous = self.position.head
        record = self.record(kind)
        return LockRecorded(
            lock_id=self.home.lock_id,
            log_id=self.position.log_id.hex(),
            seq=self.position.seq,
            record=record,
            previous=previous,
            kind=kind.name,
            up_s=1,
            boot=1,
        )

    def head(self, *, to_seq: int | None = None, head: bytes | None = None) -> LockHeadSigned:
        signed = LogHead(
            lock_id=self.home.lock_id,
            log_id=self.position.log_id,
            from_seq=1,
            to_seq=self.position.seq if to_seq is None else to_seq,
            head=self.position.head if head is None else head,
        )
        raw = sign(signed, self.home.lock_log_key)
        return LockHeadSigned(lock_id=self.home.lock_id, head=raw)
