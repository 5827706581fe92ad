"""What a lock that verifies knows of the time: the central log's word for it, and an interval that is not too old.

While there is no gateway such a lock judges windows by what it was told. Its floor outlives a change of batteries and
rises by signatures alone; its interval goes with the power, comes with CONFIRM and is good for a day (docs/protocol.md
§19, §20.5). So it is brought the newest receipt, and a session that left it without time makes room for one that does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import LOCK_EVIDENCE_AGE_S_MAX
from firmware_protocol.errands import TimeGet, TimeSet, TimeState

if TYPE_CHECKING:
    from gatewayd.link.lock_client import LockClient
    from gatewayd.link.ports import LinkLedger
    from gatewayd.timekeeping import TimeInterval

GAP_MS: Final = 6 * 3_600_000
"""Least time between two receipts, and between two questions, in milliseconds: what a receipt tells a lock is a record
of its log, and a record earns a receipt in turn."""
INTERVAL_AGE_S_MAX: Final = LOCK_EVIDENCE_AGE_S_MAX // 2
"""A lock that is alone counts an interval for a day: one that was half as old would serve half a day of an outage."""


class LockTimeCare:
    """One lock's, over all its sessions."""

    def __init__(self, ledger: LinkLedger) -> None:
        self._ledger = ledger
        self._boot: int | None = None
        self._time: TimeInterval | None = None
        self._brought: bytes | None = None
        self._bring_due_s = self._ask_due_s = self._renewal_due_s = 0.0
        self._lacks_interval = False

    def note(self, *, boot: int, time: TimeInterval) -> None:
        """Take which boot of the lock answers, and what is known of UTC here."""
        self._time = time
        if boot != self._boot:
            self._boot, self._brought = boot, None
            self._bring_due_s = self._ask_due_s = 0.0

    async def tend(self, client: LockClient) -> bool:
        """Bring the lock what is due; return whether it needs a new session, whose CONFIRM gives it the time.

        Raises:
            LinkLost: the link is over.
            RequestRefused: the lock takes no receipt; it is left alone for a while.
            GatewayError: `store.*`.
        """
        now_s = asyncio.get_running_loop().time()
        receipt = await self._ledger.newest_receipt()
        if receipt in {None, self._brought} or now_s < self._bring_due_s:
            receipt = None
        may_renew = self._is_trusted and now_s >= self._renewal_due_s
        if receipt is None and now_s < self._ask_due_s and not (self._lacks_interval and may_renew):
            return False
        self._ask_due_s = now_s + GAP_MS / 1_000
        if receipt is None:
            state = await client.ask(TimeState, TimeGet())
        else:
            self._bring_due_s, self._brought = self._ask_due_s, receipt
            state = await client.ask(TimeState, TimeSet(receipt=receipt))
        self._lacks_interval = state.utc_hi_s is None
        is_off = state.utc_hi_s is None or (state.age_s or 0) > INTERVAL_AGE_S_MAX
        if not (may_renew and is_off):
            return False
        # One a period at most: an interval that ends before the lock's floor is dropped by every CONFIRM alike.
        self._renewal_due_s = self._ask_due_s
        return True

    @property
    def _is_trusted(self) -> bool:
        return self._time is not None and self._time.trusted
