"""What is looked after now and then: the time that evidence has moved, and how old what we know of revocations is.

Nothing here writes on a timer alone: an idle gateway without new evidence writes nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.vocabulary import Tier
from gatewayd.store import meta
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from gatewayd.alerts import Alerts
    from gatewayd.statements import Statements
    from gatewayd.store.store import Store
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.timekeeping import Clock

ROUND_S: Final = 600.0
"""Evidence of time is on disk at the latest so many seconds after it came."""
STALE_MS_MAX: Final = 72 * 3_600 * 1_000
"""So long without fresh evidence of what is revoked, and somebody should find out why."""

_log = structlog.get_logger()


class Upkeep:
    """One round every ten minutes."""

    def __init__(
        self, *, clock: Clock, store: Store, timekeeper: TimeKeeper, statements: Statements, alerts: Alerts
    ) -> None:
        self._clock = clock
        self._store = store
        self._timekeeper = timekeeper
        self._statements = statements
        self._alerts = alerts
        self._fresh_ms = clock.now().boottime_ms
        """When the tier was last FRESH, or this run began."""
        self._has_told = False

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(ROUND_S)
            await self.round()

    async def round(self) -> None:
        """Look once. Never raises for a failing disk."""
        await self._save_time()
        await self._judge_age()

    async def _save_time(self) -> None:
        if not self._timekeeper.is_unsaved:
            return
        evidence, time = self._timekeeper.evidence, self._timekeeper.to_store()
        try:
            await self._store.run(lambda tx: meta.save_time(tx, time))
        except StoreError as error:
            _log.warning("store.unavailable", code=error.code)
        else:
            self._timekeeper.note_saved(evidence)

    async def _judge_age(self) -> None:
        now_ms, tier = self._clock.now().boottime_ms, self._statements.tier()
        if tier is Tier.FRESH:
            self._fresh_ms, self._has_told = now_ms, False
        elif now_ms - self._fresh_ms >= STALE_MS_MAX and not self._has_told:
            self._has_told = True
            detail = (
                "no fresh word of what is revoked for 72 hours: does anything reach this home, by broker or by phones?"
            )
            await self._alerts.alert("authority.stale", detail)
