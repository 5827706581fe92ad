"""Tells people how the disk does, at each change: by then the ballast has made room for the alarm itself."""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.store.store import Health, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayd.alerts import Alerts
    from gatewayd.store.store import Store

TEXTS: Final = MappingProxyType(
    {
        Health.LOW: "the disk is full, and the room kept back for this is being used up; make room",
        Health.FULL: "the disk is full: only emergency commands are carried out; make room",
        Health.READ_ONLY: "the disk is read-only: only emergency commands are carried out; check or replace the card",
        Health.FAILING: "the disk reports errors; replace the card",
        Health.STALLED: "the disk did not answer for seconds: only emergencies were carried out; replace the card",
        Health.DAMAGED: "what the disk gives back is not what was written; replace the card",
    }
)
"""What is said of each state but the good one."""

_log = structlog.get_logger()


class DiskWatch:
    """Waits for changes of the store's health; writes nothing else, and wakes for nothing else."""

    def __init__(self, *, store: Store, alerts: Alerts, mended: Callable[[], Awaitable[None]]) -> None:
        """`mended` is called when the disk takes things again; it raises StoreError if it does not after all."""
        self._store = store
        self._alerts = alerts
        self._mended = mended

    async def run(self) -> None:
        """Run until cancelled."""
        has_stalled = False
        if self._store.health is not Health.WRITABLE:
            self._store.health_changed.set()
        while True:
            await self._store.health_changed.wait()
            self._store.health_changed.clear()
            health = self._store.health
            if health is Health.STALLED:  # nothing can be journaled now: people are told when it answers
                _log.error("disk.stalled")
                has_stalled = True
                continue
            if has_stalled:
                await self._alerts.alert(f"disk.{Health.STALLED}", TEXTS[Health.STALLED])
                has_stalled = False
            if (text := TEXTS.get(health)) is not None:
                await self._alerts.alert(f"disk.{health}", text)
            else:
                _log.info("disk.mended")
            if health in {Health.WRITABLE, Health.LOW}:
                with contextlib.suppress(StoreError):  # at its next change, then
                    await self._mended()
