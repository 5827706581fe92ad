"""What the rest of the house hears of a link that comes and goes, and what of it is worth writing down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.errors import GatewayError
from gatewayd.link.ports import LinkChanged

if TYPE_CHECKING:
    from gatewayd.link.ports import LinkLedger, LinkListener
    from gatewayd.timekeeping import Clock

OUTAGE_MS: Final = 60_000
"""A lock out of reach for so long is a loss that the journal tells. Shorter ones are the daily business of BLE, and
would wear the disk."""

_log = structlog.get_logger()


class Outages:
    """Tells `LinkListener` of every change, and `LinkLedger` of those that last."""

    def __init__(self, *, lock_id: bytes, ledger: LinkLedger, listener: LinkListener, clock: Clock) -> None:
        self._lock_id = lock_id
        self._ledger = ledger
        self._listener = listener
        self._clock = clock
        self._shown_up = False
        self._journaled_up: bool | None = None
        """What the journal says of this link; None while it has said nothing since the start."""
        self._down_since_ms = clock.now().boottime_ms

    async def note_up(self, *, session_ctr: int) -> None:
        """The link is ready."""
        if not self._shown_up:
            self._shown_up = True
            self._show(code=None)
        if self._journaled_up is not True:
            self._journaled_up = True
            outage_ms = self._clock.now().boottime_ms - self._down_since_ms
            try:
                await self._ledger.record_link_raised(self._lock_id, session_ctr=session_ctr, outage_ms=outage_ms)
            except GatewayError as fault:
                self._complain(fault)

    async def note_fault(self, code: str) -> None:
        """The link is down, or still down."""
        self.show_down(code)
        if self._journaled_up is not False and self._clock.now().boottime_ms - self._down_since_ms >= OUTAGE_MS:
            self._journaled_up = False
            try:
                await self._ledger.record_link_lost(self._lock_id, code)
            except GatewayError as fault:
                self._complain(fault)

    def show_down(self, code: str) -> None:
        """Show that the lock is out of reach, if that is news."""
        if self._shown_up:
            self._shown_up = False
            self._down_since_ms = self._clock.now().boottime_ms
            self._show(code=code)

    def _show(self, *, code: str | None) -> None:
        self._listener.on_link_changed(
            LinkChanged(lock_id=self._lock_id, ready=code is None, code=code, changed_at=self._clock.now())
        )

    def _complain(self, fault: GatewayError) -> None:
        # A disk that takes no more must not shut the door: an emergency goes on with the lock as the durable side.
        _log.error("link.not_journaled", lock=self._lock_id.hex(), code=fault.code)
