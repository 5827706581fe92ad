"""A `Clock` over the running loop's time, whose other two readings can jump."""

from __future__ import annotations

import asyncio
from typing import Final

from gatewayd.timekeeping import Instant

BOOTTIME_AHEAD_MS: Final = 5_000
"""CLOCK_BOOTTIME starts ahead of CLOCK_MONOTONIC: the machine has slept before, so mixing them up shows."""
UTC_START_MS: Final = 1_780_000_000_000
"""The wall clock when the virtual loop starts."""


class ManualClock:
    """Reads the running loop; `sleep_machine` and `step_utc` do what suspending and NTP do."""

    def __init__(self) -> None:
        self._asleep_ms = BOOTTIME_AHEAD_MS
        self._utc_offset_ms = UTC_START_MS

    def now(self) -> Instant:
        """See `Clock.now`."""
        monotonic_ms = int(asyncio.get_running_loop().time() * 1_000)
        boottime_ms = monotonic_ms + self._asleep_ms
        return Instant(monotonic_ms=monotonic_ms, boottime_ms=boottime_ms, utc_ms=boottime_ms + self._utc_offset_ms)

    def sleep_machine(self, asleep_ms: int) -> None:
        """Suspend and resume: CLOCK_BOOTTIME and the wall clock went on, CLOCK_MONOTONIC stood still."""
        self._asleep_ms += asleep_ms

    def step_utc(self, step_ms: int) -> None:
        """Set the wall clock forward or back."""
        self._utc_offset_ms += step_ms
