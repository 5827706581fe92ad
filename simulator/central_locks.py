"""The central log reads the locks' own logs through the gateways' journals, and so checks the gateways.

A gateway that withholds, alters or invents what a lock recorded shows here: each record continues the lock's hash
chain, and the lock itself signs, now and then, how far the chain reaches.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import LogPosition, LogRecord, RecordType, verify_batch
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import LogHead
from simulator.central_store import AlarmRow, LockRecordRow
from simulator.journal_leaf import INDEX_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.central_store import CentralStore, HeldLog
    from simulator.journal_leaf import Leaf

RECORDED: Final = "carelock.lock.recorded"
HEAD_SIGNED: Final = "carelock.lock.head_signed"


class LockBooks:
    """The logs of all locks that are known."""

    def __init__(
        self,
        store: CentralStore,
        log_keys: Mapping[bytes, bytes],
        decommissions: frozenset[tuple[bytes, int]] = frozenset(),
    ) -> None:
        """`log_keys`: lock id to the Ed25519 key that signs its LogHeads; `decommissions`: see `Directory`."""
        self._decommissions = decommissions
        self._store = store
        self._log_keys = log_keys

    def pass_over(self, held: HeldLog) -> None:
        """Pass an entry that came as a hash: it may have been a record of any lock."""
        self._store.pass_hole(held)

    def take(self, leaf: Leaf) -> None:
        """Read a leaf that is under a verified checkpoint; what is wrong with it raises an alarm."""
        readers = {RECORDED: self._take_record, HEAD_SIGNED: self._take_head}
        reader = readers.get(leaf.type)
        if reader is None:
            return
        if leaf.lock_id is None or leaf.lock_id not in self._log_keys:
            self._alarm(leaf, "lock.unknown", "no door object names it")
            return
        try:
            reader(leaf, leaf.lock_id)
        except RemoteProtocolError as error:
            self._alarm(leaf, _ALARM_FOR.get(error.code, "lock.unreadable"), error.detail)

    def _take_record(self, leaf: Leaf, lock_id: bytes) -> None:
        log_id, record = _hex(leaf, "log_id"), _base64(leaf, "record")
        seq = leaf.data.get("seq")
        if not isinstance(seq, int):
            raise RemoteProtocolError(Code.MALFORMED, "a record without a number")
        held = self._store.lock_record(lock_id, log_id, seq) if 0 < seq <= INDEX_MAX else None
        if held is not None and held.record == record and held.journal_id != leaf.log_id:
            # A spare unit reads again what the dead one had read and nobody had signed for; its card may turn up later.
            self._store.count("lock_records.repeated")
            return
        last = self._store.last_lock_record(lock_id)
        if last is not None and last.log_id != log_id:
            if not self._is_ordered(lock_id):
                self._alarm(leaf, "lock.log_restarted", f"log {log_id.hex()} after {last.log_id.hex()}")
            last = None
        position = (
            _begins_with_its_owner(leaf, last, log_id, record, seq)
            or self._past_holes(leaf, lock_id, last, log_id, seq)
            or _position_after(last, log_id)
        )
        _, after = verify_batch(position, from_seq=seq, previous=position.head, records=[record])
        row = LockRecordRow(
            lock_id=lock_id,
            log_id=log_id,
            seq=after.seq,
            record=record,
            head=after.head,
            gateway_id=leaf.gateway_id,
            journal_id=leaf.log_id,
        )
        self._store.add_lock_record(row)
        self._store.close_holes(lock_id, leaf.gateway_id, leaf.log_id)
        signed = self._store.lock_head(lock_id, log_id, after.seq)
        if signed is not None:
            self._compare(leaf, row, signed)

    def _past_holes(
        self, leaf: Leaf, lock_id: bytes, last: LockRecordRow | None, log_id: bytes, seq: int
    ) -> LogPosition | None:
        """Return where the log goes on behind records whose words were erased: at most as many as came as hashes.

        The leaf states the hash that leads on, and the lock's next signed head shows whether it is true.
        """
        missing_count = seq - 1 - (0 if last is None else last.seq)
        if not 0 < missing_count <= self._store.holes_since_record(lock_id, leaf.gateway_id, leaf.log_id):
            return None
        return LogPosition(log_id=log_id, seq=seq - 1, head=_hex(leaf, "previous"))

    def _is_ordered(self, lock_id: bytes) -> bool:
        """Tell whether a DecommissionOrder that explains no earlier change explains this one."""
        epochs = sorted(epoch for ordered, epoch in self._decommissions if ordered == lock_id)
        return any(self._store.use_order(lock_id, epoch) for epoch in epochs)

    def _take_head(self, leaf: Leaf, lock_id: bytes) -> None:
        head = open_signed(LogHead, _base64(leaf, "head"), self._log_keys[lock_id])
        if head.lock_id != lock_id:
            raise RemoteProtocolError(Code.BAD_SIGNATURE, "a head of another lock")
        last = self._store.last_lock_record(lock_id)
        last_seq = last.seq if last is not None and last.log_id == head.log_id else 0
        signed_seq = self._store.signed_lock_seq(lock_id, head.log_id)
        erased_count = self._store.holes_since_record(lock_id, leaf.gateway_id, leaf.log_id)
        if signed_seq > last_seq + erased_count:
            # A head may run ahead of the records by what was written as it was signed, but a gateway copies
            # those before it asks for the next head.
            self._alarm(leaf, "lock.withheld", f"the lock has signed record {signed_seq}, which never came")
        self._store.add_lock_head(lock_id, head.log_id, head.to_seq, head.head)
        held = self._store.lock_record(lock_id, head.log_id, head.to_seq)
        if held is not None:
            self._compare(leaf, held, head.head)

    def _compare(self, leaf: Leaf, row: LockRecordRow, signed: bytes) -> None:
        if row.head != signed:
            self._alarm(leaf, "lock.altered", f"the lock has signed another history up to record {row.seq}")

    def _alarm(self, leaf: Leaf, code: str, detail: str) -> None:
        subject = "unknown" if leaf.lock_id is None else leaf.lock_id.hex()
        self._store.raise_alarm(AlarmRow(gateway_id=leaf.gateway_id, code=code, subject=subject, detail=detail))


def _position_after(last: LockRecordRow | None, log_id: bytes) -> LogPosition:
    if last is None:
        return LogPosition.start(log_id)
    return LogPosition(log_id=log_id, seq=last.seq, head=last.head)


def _begins_with_its_owner(
    leaf: Leaf, last: LockRecordRow | None, log_id: bytes, record: bytes, seq: int
) -> LogPosition | None:
    """Return where the log goes on at a new home: with the OWNER record, whatever the lock wrote while it was nobody's.

    No gateway may read that, so no hash here leads to it: the leaf states the one that does, and the lock's next signed
    head shows whether it is true. A gateway that tells this lock's log already has no such excuse for a hole.
    """
    is_new_here = last is None or (seq > last.seq + 1 and leaf.gateway_id != last.gateway_id)
    if seq < 1 or not is_new_here or LogRecord.from_bytes(record).type is not RecordType.OWNER:
        return None
    return LogPosition(log_id=log_id, seq=seq - 1, head=_hex(leaf, "previous"))


_ALARM_FOR: Final = {
    Code.LOG_GAP: "lock.gap",
    Code.LOG_FORK: "lock.repeated",
    Code.BAD_SIGNATURE: "lock.forged",
    Code.UNKNOWN_SIGNER: "lock.forged",
}


def _hex(leaf: Leaf, name: str) -> bytes:
    try:
        return bytes.fromhex(leaf.data[name])
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteProtocolError(Code.MALFORMED, f"no {name}") from error


def _base64(leaf: Leaf, name: str) -> bytes:
    try:
        return base64.b64decode(leaf.data[name], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise RemoteProtocolError(Code.MALFORMED, f"no {name}") from error
