"""What a person must hear of: an entry in the journal and a line in the log, at a bounded rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.journal.events import AlertRaised
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from gatewayd.recorder import Recorder
    from gatewayd.timekeeping import Clock

REPEAT_MS_MIN: Final = 10 * 60 * 1_000
"""The same alert about the same thing is journaled again only after so long: a broken part must not fill the disk."""
KIND_COUNT_MAX: Final = 512
"""Alerts that are remembered: a stairwell of 64 locks, and 8 codes of each. Beyond it the oldest is forgotten."""

_log = structlog.get_logger()


class Alerts:
    """Raises alerts (implements `uplink.ports.Alerts`)."""

    def __init__(self, *, clock: Clock, recorder: Recorder) -> None:
        self._clock = clock
        self._recorder = recorder
        self._raised_ms: dict[tuple[bytes | None, str], int] = {}

    async def alert(self, code: str, detail: str, lock_id: bytes | None = None) -> None:
        """Raise an alert. Never raises an exception: an alarm must not stop what it reports on."""
        now_ms = self._clock.now().monotonic_ms
        raised_ms = self._raised_ms.get((lock_id, code))
        if raised_ms is not None and now_ms - raised_ms < REPEAT_MS_MIN:
            return
        # Not all at once: where every lock of a stairwell is in trouble, each would be told again and again.
        self._raised_ms.pop((lock_id, code), None)
        if len(self._raised_ms) >= KIND_COUNT_MAX:
            del self._raised_ms[next(iter(self._raised_ms))]
        self._raised_ms[lock_id, code] = now_ms
        _log.error("alert.raised", code=code, detail=detail, lock=None if lock_id is None else lock_id.hex())
        try:
            await self._recorder.record(AlertRaised(lock_id=lock_id, code=code, detail=detail, priority=True))
        except StoreError as fault:
            _log.error("store.unavailable", code=fault.code)
