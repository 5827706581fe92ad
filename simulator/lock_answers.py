"""What the lock answers about itself: state, log, head, status. An owner sees its own time and nothing before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.hello import LockStatus
from firmware_protocol.messages import ErrorRecord, LogAck, LogBatch, LogRead, State
from firmware_protocol.signed import sign
from firmware_protocol.statements import LogHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.messages import Message
    from simulator.flash import Flash
    from simulator.lock_keys import LockKeys
    from simulator.lock_trust import LockTrust
    from simulator.mechanics import Mechanics


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """The part of the log that an owner may read."""

    first_seq: int
    last_seq: int
    session_ctr: int


class Answers:
    """Reads flash and mechanics; changes nothing but the marks of the log."""

    def __init__(self, *, keys: LockKeys, flash: Flash, mechanics: Mechanics, up_ms: Callable[[], int]) -> None:
        self._keys = keys
        self._flash = flash
        self._mechanics = mechanics
        self._up_ms = up_ms

    def view(self, *, is_former: bool) -> LogView:
        """Return what the owner, or the one before it, may read."""
        values = self._flash.values
        if is_former:
            return LogView(
                first_seq=values.former_owner_seq,
                last_seq=values.former_last_seq,
                session_ctr=values.former_session_ctr,
            )
        return LogView(first_seq=values.owner_seq, last_seq=self._flash.last_seq, session_ctr=values.session_ctr)

    def status(self, trust: LockTrust, *, is_former: bool) -> LockStatus:
        """Return where the lock stands."""
        values, last, view = self._flash.values, self._flash.last_command, self.view(is_former=is_former)
        keyset, state = trust.keyset, trust.state
        return LockStatus(
            session_ctr=view.session_ctr,
            boot=values.boot,
            up_ms=self._up_ms(),
            log_id=values.log_id,
            log_next_seq=view.last_seq + 1,
            log_copied_seq=min(values.copied_seq, view.last_seq),
            log_received_seq=min(values.received_seq, view.last_seq),
            command_seq=0 if last is None else last.seq,
            command_code=Code.FAILED if last is None else last.code,
            owner_epoch=values.owner_epoch,
            log_owner_seq=view.first_seq,
            keyset_version=0 if keyset is None else keyset.version,
            state_seq=0 if state is None else state.seq,
        )

    def state(self, kind: type[State]) -> State:
        """Return how the door stands."""
        return kind(
            bolt=self._mechanics.bolt,
            door=self._mechanics.door,
            battery_mv=self._mechanics.battery_mv,
            motor_busy=self._mechanics.is_motor_busy,
            tampered=self._mechanics.tampered,
            up_ms=self._up_ms(),
        )

    def log_batch(self, read: LogRead, *, is_former: bool) -> Message:
        """Return records, as far as this reader may have them."""
        view = self.view(is_former=is_former)
        first_seq = max(self._flash.first_seq, view.first_seq)
        if not first_seq <= read.from_seq <= view.last_seq + 1:
            return ErrorRecord(code=Code.LOG_GAP, may_have_executed=False)
        count_max = min(read.count_max, view.last_seq + 1 - read.from_seq)
        records = self._flash.records_from(read.from_seq, count_max)
        return LogBatch(
            log_id=self._flash.values.log_id,
            from_seq=read.from_seq,
            previous=self._flash.head_at(read.from_seq - 1),
            records=records,
            more=read.from_seq + len(records) <= view.last_seq,
        )

    def take_log_ack(self, ack: LogAck, *, is_former: bool) -> None:
        """Keep how far the log is safe elsewhere.

        Raises:
            RemoteProtocolError: MALFORMED, it speaks of records that this reader cannot have.
        """
        if ack.copied_seq > self.view(is_former=is_former).last_seq:
            raise RemoteProtocolError(Code.MALFORMED, "acknowledges records that do not exist")
        values = self._flash.values
        changes = {
            "copied_seq": max(ack.copied_seq, values.copied_seq),
            "received_seq": max(ack.received_seq, values.received_seq),
        }
        if changes != {"copied_seq": values.copied_seq, "received_seq": values.received_seq}:
            self._flash.write(values=changes)

    def log_head(self, to_seq: int) -> bytes:
        """Return a signed LogHead up to a record."""
        head = LogHead(
            lock_id=self._keys.lock_id,
            log_id=self._flash.values.log_id,
            from_seq=self._flash.first_seq,
            to_seq=to_seq,
            head=self._flash.head_at(to_seq),
        )
        return sign(head, self._keys.log_key)
