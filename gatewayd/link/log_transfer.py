"""Copies the lock's log into the journal: verify, commit, and only then acknowledge (law 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.lock_log import LogPosition, LogRecord, RecordType, verify_batch
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import LogHead
from gatewayd.errors import GatewayError
from gatewayd.link.faults import LinkLost, RequestRefused
from gatewayd.link.ports import LockEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.hello import LockStatus
    from gatewayd.link.lock_client import LockClient
    from gatewayd.link.ports import LinkLedger, LinkListener

READ_GAP_MS: Final = 20
"""Pause before each reading, in milliseconds: a lock with much to tell, or one that hints without end, has time for its
door in between."""
RETRY_MS: Final = 30_000
"""Pause after a disk or a lock that could not, in milliseconds: neither gets better by being asked at once."""
OPENINGS: Final = frozenset({RecordType.UNLOCKED, RecordType.KNOB_UNLOCKED, RecordType.KEY_UNLOCKED})
"""Who opened is told by the command; where none did, nobody is guessed."""

_log = structlog.get_logger()


class LogTransfer:
    """One lock's log. Nothing that is wrong with it takes the link down: the door comes first."""

    def __init__(self, *, lock_id: bytes, log_key: bytes, ledger: LinkLedger, listener: LinkListener) -> None:
        """`log_key` is the Ed25519 key that signs the heads of this log."""
        self._lock_id = lock_id
        self._log_key = log_key
        self._ledger = ledger
        self._listener = listener
        self._due = asyncio.Event()
        self._grown = False
        self._alerted: tuple[Code, bytes, int] | None = None

    def hint(self) -> None:
        """The lock's log may have grown."""
        self._grown = True
        self._due.set()

    def note_received(self) -> None:
        """More of it is signed for by the central log."""
        self._due.set()

    async def run(self, client: LockClient, status: LockStatus) -> None:
        """Copy for as long as the link lasts; returns only where the log can't be continued.

        Raises:
            LinkLost: the link is over.
        """
        reader = LogReader(
            lock_id=self._lock_id, log_key=self._log_key, ledger=self._ledger, client=client, status=status
        )
        self.hint()
        while True:
            await self._due.wait()
            self._due.clear()
            grown, self._grown = self._grown, False
            try:
                await reader.catch_up(reads=grown)
            except LinkLost:
                raise
            except RemoteProtocolError as fault:
                await self._alert(fault, status)
                return
            except GatewayError as fault:
                _log.warning("lock_log.postponed", code=fault.code, lock=self._lock_id.hex())
                await asyncio.sleep(RETRY_MS / 1_000)
                self.hint()

    async def _alert(self, fault: RemoteProtocolError, status: LockStatus) -> None:
        """Raise it once, not with every reconnection; the log stays unacknowledged, so nothing is pruned."""
        what = (fault.code, status.log_id, status.log_received_seq)
        if what != self._alerted:
            self._alerted = what
            await self._listener.on_alert(self._lock_id, fault.code, fault.detail)


def check_head(head: bytes, *, lock_id: bytes, log_key: bytes, position: LogPosition) -> LogHead:
    """Return the head that a lock has signed, which must be no other history than the one that is held.

    Raises:
        RemoteProtocolError: BAD_SIGNATURE; LOG_FORK where it speaks of another lock or log, of less than is held, or of
            another history.
    """
    signed = open_signed(LogHead, head, log_key)
    if (signed.lock_id, signed.log_id) != (lock_id, position.log_id) or signed.to_seq < position.seq:
        raise RemoteProtocolError(Code.LOG_FORK, "the lock has signed the head of another log")
    if signed.to_seq == position.seq and signed.head != position.head:
        raise RemoteProtocolError(Code.LOG_FORK, "the lock has signed another history than it gave")
    return signed


class LogReader:
    """The copying of one session."""

    def __init__(
        self, *, lock_id: bytes, log_key: bytes, ledger: LinkLedger, client: LockClient, status: LockStatus
    ) -> None:
        self._lock_id = lock_id
        self._log_key = log_key
        self._ledger = ledger
        self._client = client
        self._status = status
        self._position: LogPosition | None = None
        """Where the last batch ended that continued what is held; None before there was one."""
        self._acked = (status.log_copied_seq, status.log_received_seq)

    async def catch_up(self, *, reads: bool) -> None:
        """Copy what is new if it `reads`, acknowledge, and have the lock sign where its log stands now.

        Raises:
            RemoteProtocolError: the log does not continue what is held.
            RequestRefused: the lock has no time.
            LinkLost: the link is over.
            GatewayError: `store.*`.
        """
        if self._position is not None and not reads:
            await self._acknowledge(self._position)
            return
        position = self._position or await self._begin()
        began_at_seq, more = position.seq, True
        while more:
            position, more = await self._copy(position)
            await self._acknowledge(position)
        if position.seq > began_at_seq:
            head = await self._client.log_head()
            check_head(head, lock_id=self._lock_id, log_key=self._log_key, position=position)
            await self._ledger.commit_head(self._lock_id, head)

    async def _begin(self) -> LogPosition:
        """Return where the copying goes on: where it ended, or at the start of another log."""
        held = await self._ledger.log_position(self._lock_id)
        if held is not None and held.log_id == self._status.log_id:
            if held.seq >= self._status.log_next_seq:
                raise RemoteProtocolError(Code.LOG_FORK, f"record {held.seq} is held and the lock has it no more")
            if held.seq >= self._status.log_owner_seq - 1:
                return held
            # The lock was somebody else's meanwhile: what it wrote then is not for us.
        start = await self._first_position()
        await self._ledger.restart_log(self._lock_id, start)
        return start

    async def _first_position(self) -> LogPosition:
        log_id = self._status.log_id
        # What an earlier home's records said is that home's.
        received_seq = max(self._status.log_received_seq, self._status.log_owner_seq - 1)
        if received_seq == 0:
            return LogPosition.start(log_id)
        # Earlier records are with the central log, by way of an earlier gateway or an earlier disk of this one;
        # the lock may have pruned them. Whether this hash continues them, the centre can tell.
        batch = await self._client.read_log(received_seq + 1)
        return LogPosition(log_id=log_id, seq=received_seq, head=batch.previous)

    async def _copy(self, position: LogPosition) -> tuple[LogPosition, bool]:
        """Copy one batch; return the new position and whether more is there."""
        await asyncio.sleep(READ_GAP_MS / 1_000)
        try:
            batch = await self._client.read_log(position.seq + 1)
        except RequestRefused as refused:
            if refused.row in {Code.LOG_GAP, Code.LOG_FORK}:
                raise RemoteProtocolError(refused.row, "says the lock of its own log") from refused
            raise
        if batch.log_id != position.log_id:
            raise RemoteProtocolError(Code.LOG_FORK, "another log within one session")
        records, after = verify_batch(position, from_seq=batch.from_seq, previous=batch.previous, records=batch.records)
        if records:
            await self._ledger.commit_records(self._lock_id, self._entries(records, batch.records), after)
        self._position = after
        return after, batch.more and bool(records)

    def _entries(self, records: Sequence[LogRecord], raws: Sequence[bytes]) -> tuple[LockEntry, ...]:
        return tuple(
            LockEntry(
                record=record,
                raw=raw,
                replayed=record.seq < self._status.log_next_seq,
                unattributed=record.type in OPENINGS and record.cmd_id is None,
            )
            for record, raw in zip(records, raws, strict=True)
        )

    async def _acknowledge(self, position: LogPosition) -> None:
        received_seq = await self._ledger.received_seq(self._lock_id, position.log_id)
        acked = (position.seq, min(max(received_seq, self._status.log_received_seq), position.seq))
        if acked != self._acked:
            self._client.ack_log(copied_seq=acked[0], received_seq=acked[1])
            self._acked = acked
