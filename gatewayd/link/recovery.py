"""Takes the rungs of the recovery ladder for one adapter, and tells of each (docs: `ladder.py` says when)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.errors import GatewayError
from gatewayd.link.ladder import Ladder, LockRungs
from gatewayd.link.ports import RadioStatus, RadioStep
from gatewayd.link.radio import RadioCode

if TYPE_CHECKING:
    from gatewayd.link.ports import LinkLedger
    from gatewayd.link.radio import Radio, Rung
    from gatewayd.timekeeping import Clock

RUNG_MS_MAX: Final = 45_000
"""Longest time for one rung, in milliseconds: a service that restarts, and a radio's own limit with slack."""

_log = structlog.get_logger()


class Recovery:
    """One adapter's, shared by the links on it."""

    def __init__(self, *, radio: Radio, ledger: LinkLedger, clock: Clock) -> None:
        self._radio = radio
        self._ledger = ledger
        self._clock = clock
        self._ladder = Ladder(proven_ms=clock.now().monotonic_ms)
        self._ready: set[bytes] = set()
        self._turn = asyncio.Lock()

    @property
    def status(self) -> RadioStatus:
        """A snapshot."""
        ladder = self._ladder
        return RadioStatus(
            failed=ladder.failed,
            unproven_ms=0 if self._ready else self._unproven_ms(),
            taken_counts={rung.value: count for rung, count in sorted(ladder.taken_counts.items())},
            helped_counts={rung.value: count for rung, count in sorted(ladder.helped_counts.items())},
        )

    async def note_up(self, lock_id: bytes) -> None:
        """A lock has proved itself over this adapter, and goes on to do so."""
        self._ready.add(lock_id)
        now_ms = self._clock.now().monotonic_ms
        failed, unproven_ms = self._ladder.failed, now_ms - self._ladder.proven_ms
        helped = self._ladder.note_proof(now_ms)
        if helped is not None or failed:
            await self._tell(RadioStep(rung=helped, code=None, unproven_ms=unproven_ms))

    def note_down(self, lock_id: bytes) -> None:
        """It does so no more."""
        if lock_id in self._ready:
            self._ready.remove(lock_id)
            self._ladder.proven_ms = self._clock.now().monotonic_ms

    async def climb(self, rungs: LockRungs, *, address: str | None, failure_count: int, code: str) -> None:
        """Take what is due after a lock's fault, if anything. One rung at a time, for whichever lock.

        Never raises for faults of radio or disk.
        """
        async with self._turn:
            now_ms = self._clock.now().monotonic_ms
            own = rungs.due(now_ms, failure_count=failure_count, code=code)
            if own is not None and address is not None:
                rungs.note_taken(now_ms)
                await self._take(own, address, code)
            failed = self._ladder.failed
            while (rung := self._next_rung(code)) is not None:
                if await self._take(rung, address, code):
                    break
            if self._ladder.failed and not failed:
                await self._tell(RadioStep(rung=None, code=RadioCode.FAILED, unproven_ms=self._unproven_ms()))

    def _next_rung(self, code: str) -> Rung | None:
        if self._ready:
            return None  # the radio works; it is this lock that does not
        return self._ladder.next_rung(self._clock.now().monotonic_ms, code)

    async def _take(self, rung: Rung, address: str | None, code: str) -> bool:
        done = False
        try:
            async with asyncio.timeout(RUNG_MS_MAX / 1_000):
                done = await self._radio.recover(rung, address)
        except TimeoutError:
            _log.error("radio.rung_hangs", rung=rung.value)
        self._ladder.note_taken(self._clock.now().monotonic_ms, rung, code, done=done)
        if done:
            await self._tell(RadioStep(rung=rung, code=code, unproven_ms=self._unproven_ms()))
        return done

    def _unproven_ms(self) -> int:
        return self._clock.now().monotonic_ms - self._ladder.proven_ms

    async def _tell(self, step: RadioStep) -> None:
        _log.warning("radio.recovery", rung=step.rung, code=step.code, unproven_ms=step.unproven_ms)
        try:
            await self._ledger.record_radio_step(step)
        except GatewayError as fault:
            _log.error("link.not_journaled", code=fault.code)
