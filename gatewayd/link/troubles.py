"""What is wrong with one link: counted, told when it lasts, and an alarm where it is no chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.codes import Code
from gatewayd.link.faults import CloneSuspected
from gatewayd.link.machine import LinkState
from gatewayd.link.outages import Outages
from gatewayd.link.radio import RadioCode

if TYPE_CHECKING:
    from gatewayd.errors import GatewayError
    from gatewayd.link.ports import LinkLedger, LinkListener
    from gatewayd.link.radio import RadioError
    from gatewayd.timekeeping import Clock

DENIED_COUNT: Final = 3
"""Handshakes in a row that were denied, after which somebody is told, once: chance garbles one."""
NOT_OURS: Final = (
    "what answers does not take our key: another lock, one that lost its keys, or one that another unit has by a newer "
    "order; pair it again"
)
ORDER_PENDING: Final = "the lock has not been given the newer order that is held here: hand it over with gatewayd pair"
NOT_DOWN: Final = frozenset({RadioCode.HELD.value, Code.BUSY.dotted})
"""Faults of a link to a lock that is there and has no time."""

_log = structlog.get_logger()


class Troubles:
    """One lock's."""

    def __init__(self, *, lock_id: bytes, ledger: LinkLedger, listener: LinkListener, clock: Clock) -> None:
        self.outages = Outages(lock_id=lock_id, ledger=ledger, listener=listener, clock=clock)
        self.count = 0
        """Failures in a row, since the link last stood for a minute."""
        self.code: str | None = None
        """Of the last one."""
        self._lock_id = lock_id
        self._listener = listener
        self._pending: str | None = None
        self._suspected = False
        self._is_order_told = False
        self._denied_count = 0

    def take(self) -> str | None:
        """Return the code of what ended the last try, once; None where nothing was wrong."""
        code, self._pending = self._pending, None
        return code

    def why_down(self) -> Code:
        """Return why a movement could not be sent."""
        return Code.BUSY if self.code in NOT_DOWN else Code.LINK_DOWN

    async def note_up(self, *, session_ctr: int) -> None:
        """The link is ready."""
        self._suspected = self._is_order_told = False
        self._denied_count = 0
        await self.outages.note_up(session_ctr=session_ctr)

    async def note_fault(self, fault: GatewayError | RadioError, state: LinkState) -> None:
        """Something ended what the link was about to do."""
        self.count += 1
        self.code = self._pending = fault.code
        log = _log.warning if self.count == 1 else _log.debug
        log("link.lost", lock=self._lock_id.hex(), code=fault.code, detail=fault.detail, state=state.value)
        await self.outages.note_fault(fault.code)
        # Each alarm once, not with every reconnection.
        if isinstance(fault, CloneSuspected) and not self._suspected:
            self._suspected = True
            await self._listener.on_alert(self._lock_id, Code.CLONE_SUSPECT, fault.detail)
        if fault.code == Code.OWNER_EPOCH.dotted and not self._is_order_told:
            self._is_order_told = True
            await self._listener.on_alert(self._lock_id, Code.OWNER_EPOCH, fault.detail)
        if state is LinkState.HANDSHAKING and fault.code == Code.DENIED.dotted:
            self._denied_count += 1
            if self._denied_count == DENIED_COUNT:
                await self._listener.on_alert(self._lock_id, Code.DENIED, NOT_OURS)
