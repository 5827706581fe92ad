"""Refusals of those who proved nothing: each reason reaches the log, a flood does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.journal.events import CommandDenied
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from firmware_protocol.codes import Code
    from firmware_protocol.errors import RemoteProtocolError
    from gatewayd.channel import Channel
    from gatewayd.recorder import Recorder
    from gatewayd.timekeeping import Clock

ENTRY_INTERVAL_MS: Final = 1_000
"""At most one journal entry a second for each channel and reason: strangers must not fill the disk."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Tally:
    written_ms: int
    suppressed_count: int = 0


class Denials:
    """Counts refusals by channel and reason, and journals them at a bounded rate."""

    def __init__(self, *, clock: Clock, recorder: Recorder) -> None:
        self._clock = clock
        self._recorder = recorder
        self._tallies: dict[tuple[Channel, Code], _Tally] = {}

    async def note(self, channel: Channel, error: RemoteProtocolError) -> None:
        """Record that a submission was refused before anybody was known to have sent it."""
        now_ms = self._clock.now().monotonic_ms
        tally = self._tallies.get((channel, error.code))
        if tally is not None and now_ms - tally.written_ms < ENTRY_INTERVAL_MS:
            tally.suppressed_count += 1
            return
        suppressed_count = 0 if tally is None else tally.suppressed_count
        self._tallies[channel, error.code] = _Tally(written_ms=now_ms)
        _log.warning("command.denied", channel=channel.value, code=error.code.dotted, detail=error.detail)
        event = CommandDenied(channel=channel.value, code=error.code.dotted, suppressed_count=suppressed_count)
        try:
            await self._recorder.record(event)
        except StoreError as fault:
            _log.error("store.unavailable", code=fault.code)
