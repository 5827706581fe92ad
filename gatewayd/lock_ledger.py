"""What the links keep durably: session counters, versions, the locks' logs (implements `link.ports.LinkLedger`)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from firmware_protocol import cose
from firmware_protocol.checkpoint import TIME_SIZE, parse_note
from firmware_protocol.lock_log import chain
from firmware_protocol.statements import AuthorityState
from firmware_protocol.vocabulary import Parcel
from gatewayd.journal.events import (
    LinkLost,
    LinkRaised,
    LockHeadSigned,
    LockLogRestarted,
    LockRecorded,
    RadioRecovered,
    RadioRecovering,
)
from gatewayd.journal.receipts import is_receipt_name
from gatewayd.link.ports import SessionReserved
from gatewayd.link.radio import RadioCode
from gatewayd.store import entries, locks, trust
from gatewayd.store.store import StoreCode, StoreError
from gatewayd.timekeeping import LATEST_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_protocol.lock_log import LogPosition
    from gatewayd.link.ports import LockEntry, RadioStep
    from gatewayd.recorder import Page, Recorder
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeping import TimeInterval

LOCK_AUTHORITY_COUNT_MAX: Final = 16
"""Most Authorities that are handed to a lock, in one session and one after the other: the newest."""


class LockLedger:
    """The durable side of every link."""

    def __init__(self, *, store: Store, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder

    async def reserve_session(self, lock_id: bytes) -> SessionReserved:
        """See `LinkLedger.reserve_session`."""

        def work(tx: Transaction) -> SessionReserved:
            session_ctr = locks.reserve_session_ctr(tx, lock_id)
            return SessionReserved(session_ctr=session_ctr, version_floor=locks.version_floor(tx, lock_id))

        try:
            return await self._store.run(work)
        except StoreError as error:
            if error.code not in {StoreCode.FULL, StoreCode.READ_ONLY}:
                raise
        # The lock says how far it is; the block that is durable already must cover the next number.
        floor = await self._store.run(lambda tx: locks.version_floor(tx, lock_id))
        return SessionReserved(session_ctr=None, version_floor=floor)

    async def resume_session(self, lock_id: bytes, lock_ctr: int) -> int | None:
        """See `LinkLedger.resume_session`."""
        return await self._store.run(lambda tx: locks.resume_session_ctr(tx, lock_id, lock_ctr))

    async def raise_version_floor(self, lock_id: bytes, version: int) -> None:
        """See `LinkLedger.raise_version_floor`."""
        await self._store.run(lambda tx: locks.raise_version_floor(tx, lock_id, version))

    async def raise_command_seq(self, lock_id: bytes, command_seq: int) -> None:
        """See `LinkLedger.raise_command_seq`."""
        await self._store.run(lambda tx: locks.raise_command_seq(tx, lock_id, command_seq))

    async def log_position(self, lock_id: bytes) -> LogPosition | None:
        """See `LinkLedger.log_position`."""
        return await self._store.run(lambda tx: locks.load_log_position(tx, lock_id))

    async def parcels(self, lock_id: bytes) -> tuple[tuple[Parcel, bytes], ...]:  # noqa: ARG002 - the same for each
        """See `LinkLedger.parcels`."""
        now = self._recorder.interval()
        return await self._store.run(lambda tx: trust_parcels(tx, now))

    async def newest_receipt(self) -> bytes | None:
        """See `LinkLedger.newest_receipt`."""
        receipt = await self._store.run(entries.load_receipt)
        now = self._recorder.interval()
        return None if receipt is None or _cosigned_s(receipt) > _latest_s(now) else receipt

    async def received_seq(self, lock_id: bytes, log_id: bytes) -> int:
        """See `LinkLedger.received_seq`."""
        return await self._store.run(lambda tx: locks.received_seq(tx, lock_id, log_id))

    async def restart_log(self, lock_id: bytes, position: LogPosition) -> None:
        """See `LinkLedger.restart_log`."""

        def work(page: Page) -> None:
            held = locks.load_log_position(page.tx, lock_id)
            page.append(
                LockLogRestarted(
                    lock_id=lock_id,
                    log_id=position.log_id.hex(),
                    previous_log_id=None if held is None else held.log_id.hex(),
                    previous_seq=None if held is None else held.seq,
                )
            )
            locks.save_log_position(page.tx, lock_id, position)

        await self._recorder.run(work)

    async def commit_records(self, lock_id: bytes, entries: Sequence[LockEntry], after: LogPosition) -> None:
        """See `LinkLedger.commit_records`."""

        def work(page: Page) -> None:
            held = locks.load_log_position(page.tx, lock_id)
            previous = (held or after.start(after.log_id)).head
            # A disk that failed, or did not answer in time, may have kept the batch that is now given to it once more.
            held_seq = held.seq if held is not None and held.log_id == after.log_id else 0
            if held_seq >= after.seq:
                return
            for entry in entries:
                if entry.record.seq <= held_seq:
                    continue
                index = page.append(_recorded(lock_id, after.log_id, entry, previous))
                previous = chain(previous, entry.raw)
                locks.note_lock_record(page.tx, lock_id, after.log_id, entry.record.seq, index)
            locks.save_log_position(page.tx, lock_id, after)

        await self._recorder.run(work)

    async def commit_head(self, lock_id: bytes, head: bytes) -> None:
        """See `LinkLedger.commit_head`."""
        await self._recorder.record(LockHeadSigned(lock_id=lock_id, head=base64.b64encode(head).decode()))

    async def record_link_raised(self, lock_id: bytes, *, session_ctr: int, outage_ms: int) -> None:
        """See `LinkLedger.record_link_raised`."""
        await self._recorder.record(LinkRaised(lock_id=lock_id, session_ctr=session_ctr, outage_ms=outage_ms))

    async def record_link_lost(self, lock_id: bytes, code: str) -> None:
        """See `LinkLedger.record_link_lost`."""
        await self._recorder.record(LinkLost(lock_id=lock_id, code=code))

    async def record_radio_step(self, step: RadioStep) -> None:
        """See `LinkLedger.record_radio_step`."""
        if step.code is None:
            await self._recorder.record(RadioRecovered(rung=step.rung, unproven_ms=step.unproven_ms))
            return
        await self._recorder.record(
            RadioRecovering(
                rung=step.rung, code=step.code, unproven_ms=step.unproven_ms, priority=step.code == RadioCode.FAILED
            )
        )


def trust_parcels(tx: Transaction, now: TimeInterval) -> tuple[tuple[Parcel, bytes], ...]:
    """Return Keyset, Authorities and AuthorityState as they are held: what a lock needs to verify by itself.

    Attack: a stolen status key dates a state ahead. Here it moves no trusted time, but a lock believes it, and nothing
    lowers a lock's time again: alone it would let nobody in any more, and obey no order. It is not handed over.
    """
    keyset, state = trust.load_keyset(tx), trust.load_authority_state(tx)
    if state is not None and _is_ahead(state, now):
        state = None
    authorities = [(Parcel.AUTHORITY, raw) for raw in trust.load_authorities(tx).values()][-LOCK_AUTHORITY_COUNT_MAX:]
    held = [] if keyset is None else [(Parcel.KEYSET, keyset), *authorities]
    return (*held, *(() if state is None else ((Parcel.STATE, state),)))


def _is_ahead(state: bytes, now: TimeInterval) -> bool:
    issued_s = AuthorityState.from_bytes(cose.parse(state, size_max=AuthorityState.SIZE_MAX).payload).iat_s
    return issued_s > _latest_s(now)


def _latest_s(now: TimeInterval) -> int:
    return now.hi_s if now.trusted and now.hi_s is not None else LATEST_MS // 1_000


def _cosigned_s(receipt: bytes) -> int:
    """Return the latest second in a receipt, whoever wrote it there: a receipt key can be stolen too."""
    told = (each.signature[:TIME_SIZE] for each in parse_note(receipt).signatures if is_receipt_name(each.name))
    return max((int.from_bytes(time, "big") for time in told), default=0)


def _recorded(lock_id: bytes, log_id: bytes, entry: LockEntry, previous: bytes) -> LockRecorded:
    record = entry.record
    return LockRecorded(
        lock_id=lock_id,
        log_id=log_id.hex(),
        seq=record.seq,
        record=base64.b64encode(entry.raw).decode(),
        previous=previous.hex(),
        kind=record.type.name.lower(),
        boot=record.boot,
        up_s=record.up_s,
        actor=None if record.actor is None else record.actor.hex(),
        command_id=None if record.cmd_id is None else record.cmd_id.hex(),
        result=record.result,
        replayed=entry.replayed,
        unattributed=entry.unattributed,
    )
