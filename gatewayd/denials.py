"""Refusals of those who proved nothing: each reason reaches the log, a flood is one alarm and fills no disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.journal.events import CommandDenied
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from firmware_protocol.codes import Code
    from firmware_protocol.errors import RemoteProtocolError
    from gatewayd.alerts import Alerts
    from gatewayd.channel import Channel
    from gatewayd.recorder import Recorder
    from gatewayd.timekeeping import Clock

ENTRY_INTERVAL_MS: Final = 1_000
"""At most one journal entry in so long for each channel and reason; it doubles while they keep coming."""
ENTRY_INTERVAL_MS_MAX: Final = 600_000
FLOOD_COUNT: Final = 100
"""So many refusals within `FLOOD_WINDOW_MS` on a channel are no mistake of somebody's app."""
FLOOD_WINDOW_MS: Final = 10_000
FLOOD_OVER_MS: Final = 60_000
"""A flood is over when nothing was refused for so long; the next one is told again."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Tally:
    written_ms: int
    interval_ms: int = ENTRY_INTERVAL_MS
    suppressed_count: int = 0


@dataclass(slots=True)
class _Flow:
    """Refusals on one channel."""

    window_ms: int
    count: int = 0
    last_ms: int = 0
    is_flood: bool = False


class Denials:
    """Counts refusals by channel and reason, and journals them at a bounded rate."""

    def __init__(self, *, clock: Clock, recorder: Recorder, alerts: Alerts) -> None:
        self._clock = clock
        self._recorder = recorder
        self._alerts = alerts
        self._tallies: dict[tuple[Channel, Code], _Tally] = {}
        self._flows: dict[Channel, _Flow] = {}

    async def note(self, channel: Channel, error: RemoteProtocolError) -> None:
        """Record that a submission was refused before anybody was known to have sent it."""
        now_ms = self._clock.now().monotonic_ms
        if self._is_new_flood(channel, now_ms):
            detail = (
                f"more than {FLOOD_COUNT} refusals in {FLOOD_WINDOW_MS // 1_000} s, the last one {error.code.dotted}"
            )
            await self._alerts.alert(f"flood.{channel.value}", detail)
        tally = self._tallies.get((channel, error.code))
        if tally is not None and now_ms - tally.written_ms < tally.interval_ms:
            tally.suppressed_count += 1
            return
        self._tallies[channel, error.code] = _next(tally, now_ms)
        suppressed_count = 0 if tally is None else tally.suppressed_count
        _log.warning("command.denied", channel=channel.value, code=error.code.dotted, detail=error.detail)
        event = CommandDenied(channel=channel.value, code=error.code.dotted, suppressed_count=suppressed_count)
        try:
            await self._recorder.record(event)
        except StoreError as fault:
            _log.error("store.unavailable", code=fault.code)

    def _is_new_flood(self, channel: Channel, now_ms: int) -> bool:
        flow = self._flows.setdefault(channel, _Flow(window_ms=now_ms))
        if now_ms - flow.last_ms >= FLOOD_OVER_MS:
            flow.is_flood = False
        if now_ms - flow.window_ms >= FLOOD_WINDOW_MS:
            flow.window_ms, flow.count = now_ms, 0
        flow.count += 1
        flow.last_ms = now_ms
        is_new = flow.count > FLOOD_COUNT and not flow.is_flood
        flow.is_flood = flow.is_flood or is_new
        return is_new


def _next(tally: _Tally | None, now_ms: int) -> _Tally:
    """Return the tally that an entry written now begins: patient while they keep coming, as at first after a pause."""
    if tally is None or not tally.suppressed_count or now_ms - tally.written_ms >= 2 * tally.interval_ms:
        return _Tally(written_ms=now_ms)
    return _Tally(written_ms=now_ms, interval_ms=min(2 * tally.interval_ms, ENTRY_INTERVAL_MS_MAX))
