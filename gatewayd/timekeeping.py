"""Time as evidence: one reading per event, and an interval instead of a clock. Pure.

The wall clock of this machine is never believed. What is believed is an interval `[lo, hi]` of UTC
milliseconds that evidence has opened and CLOCK_BOOTTIME carries forward, widening by 100 ppm on each
side. Law 6: clocks can only shorten a right, never extend one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

DRIFT_PPM: Final = 100
"""How far the boot clock may run fast or slow: common quartz is within 50 ppm."""
TRUSTED_WIDTH_MS_MAX: Final = 120_000
"""A wider interval proves too little for a visit window."""
BUILD_TIME_MS: Final = 1_795_478_400_000
"""2026-11-24T00:00:00Z: no earlier than the code itself. Raised with each release."""
LATEST_MS: Final = BUILD_TIME_MS + 100 * 365 * 24 * 3_600 * 1_000
"""No evidence is believed that lies beyond: such a time could be neither shown nor signed, and nothing would go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One reading of the clocks, taken once per incoming event and handed down."""

    monotonic_ms: int
    boottime_ms: int
    """CLOCK_BOOTTIME: goes on while the machine sleeps."""
    utc_ms: int
    """The machine's wall clock: for people and logs, never for a decision."""


class Clock(Protocol):
    """The seam to the machine's clocks."""

    def now(self) -> Instant:
        """Read the clocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeInterval:
    """UTC lies in `[lo_ms, hi_ms]`; `hi_ms` is None where nothing bounds it from above."""

    lo_ms: int
    hi_ms: int | None = None

    @property
    def trusted(self) -> bool:
        """Whether it is narrow enough to open a door by."""
        return self.hi_ms is not None and self.hi_ms - self.lo_ms <= TRUSTED_WIDTH_MS_MAX

    @property
    def lo_s(self) -> int:
        """The lower end in whole seconds, rounded down: never later than the truth."""
        return self.lo_ms // 1_000

    @property
    def hi_s(self) -> int | None:
        """The upper end in whole seconds, rounded up: never earlier than the truth."""
        return None if self.hi_ms is None else -(-self.hi_ms // 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedTime:
    """What the gateway knows of UTC: an interval as it stood at one reading of CLOCK_BOOTTIME."""

    lo_ms: int = BUILD_TIME_MS
    hi_ms: int | None = None
    at_boottime_ms: int = 0

    def at(self, boottime_ms: int) -> TimeInterval:
        """Return the interval at a later reading; a reading from before the evidence moves nothing."""
        elapsed_ms = max(0, boottime_ms - self.at_boottime_ms)
        drift_ms = -(-elapsed_ms * DRIFT_PPM // 1_000_000)
        hi_ms = None if self.hi_ms is None else self.hi_ms + elapsed_ms + drift_ms
        return TimeInterval(lo_ms=self.lo_ms + elapsed_ms - drift_ms, hi_ms=hi_ms)

    def with_floor(self, floor_ms: int, boottime_ms: int) -> TrustedTime:
        """Raise the lower end on signed evidence that UTC has reached `floor_ms`.

        While the interval is trusted a floor above it is not believed (`contradicts` tells), because one
        clock of one role must not be able to push the time of a home ahead.
        """
        now = self.at(boottime_ms)
        if floor_ms <= now.lo_ms or self.contradicts(floor_ms, boottime_ms):
            return self
        hi_ms = now.hi_ms if now.hi_ms is not None and floor_ms <= now.hi_ms else None
        return TrustedTime(lo_ms=floor_ms, hi_ms=hi_ms, at_boottime_ms=boottime_ms)

    def contradicts(self, floor_ms: int, boottime_ms: int) -> bool:
        """Tell whether evidence that UTC has reached `floor_ms` lies outside a trusted interval."""
        now = self.at(boottime_ms)
        return now.trusted and now.hi_ms is not None and floor_ms > now.hi_ms

    def agreed(self, floor_ms: int, boottime_ms: int) -> TrustedTime:
        """Begin anew at `floor_ms`, which two roles have stated against what was trusted; nothing bounds it above."""
        return TrustedTime(lo_ms=max(floor_ms, BUILD_TIME_MS), at_boottime_ms=boottime_ms)

    def with_receipt(self, *, time_s: int, signed_boottime_ms: int, boottime_ms: int) -> TrustedTime:
        """Bound the time by the central log's signature over our own checkpoint.

        The cosigner wrote its clock between our signing (`signed_boottime_ms`) and now, so UTC now lies
        in `[time_s, time_s + 1 s + elapsed]`. The narrower of this and what is known stands; where the
        two do not meet, a trusted interval is kept and an untrusted one is replaced.
        """
        return self._meet(_bounded(time_s, signed_boottime_ms, boottime_ms), boottime_ms)

    def is_past(self, *, time_s: int, signed_boottime_ms: int, boottime_ms: int) -> bool:
        """Tell whether a receipt ends before what is proven: the clock of the central log, or ours, is wrong."""
        bounded = _bounded(time_s, signed_boottime_ms, boottime_ms)
        return bounded.hi_ms is not None and bounded.hi_ms < self.at(boottime_ms).lo_ms

    def with_anchor(self, *, lo_ms: int, hi_ms: int, elapsed_ms: int, boottime_ms: int) -> TrustedTime:
        """Restore an interval that was trusted when a lock's uptime was `elapsed_ms` smaller than now."""
        then = TrustedTime(lo_ms=lo_ms, hi_ms=hi_ms, at_boottime_ms=0).at(elapsed_ms)
        fresh = TrustedTime(lo_ms=then.lo_ms, hi_ms=then.hi_ms, at_boottime_ms=boottime_ms)
        return self._meet(fresh, boottime_ms)

    def _meet(self, fresh: TrustedTime, boottime_ms: int) -> TrustedTime:
        now = self.at(boottime_ms)
        if fresh.hi_ms is None or fresh.hi_ms < now.lo_ms:
            return self  # it ends before what is proven: a replay or a wrong clock
        lo_ms = max(now.lo_ms, fresh.lo_ms)
        hi_ms = fresh.hi_ms if now.hi_ms is None else min(now.hi_ms, fresh.hi_ms)
        if lo_ms > hi_ms:
            return self if now.trusted else replace(fresh, lo_ms=max(now.lo_ms, fresh.lo_ms))
        return TrustedTime(lo_ms=lo_ms, hi_ms=hi_ms, at_boottime_ms=boottime_ms)


def _bounded(time_s: int, signed_boottime_ms: int, boottime_ms: int) -> TrustedTime:
    elapsed_ms = max(0, boottime_ms - signed_boottime_ms)
    return TrustedTime(
        lo_ms=max(time_s * 1_000, BUILD_TIME_MS),
        hi_ms=(time_s + 1) * 1_000 + elapsed_ms + -(-elapsed_ms * DRIFT_PPM // 1_000_000),
        at_boottime_ms=boottime_ms,
    )
