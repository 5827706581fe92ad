"""Keeps the trusted interval: takes evidence in, hands the interval out, saves it with other writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import HANDSHAKE_MS_MAX
from gatewayd.store.meta import StoredTime, TimeAnchor
from gatewayd.timekeeping import BUILD_TIME_MS, TimeInterval, TrustedTime

if TYPE_CHECKING:
    from gatewayd.timekeeping import Clock, Instant

ANCHOR_SLACK_MS: Final = HANDSHAKE_MS_MAX
"""A lock's uptime reaches us at most a handshake late; somebody in the air may have used all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockClock:
    """A lock's uptime as it stood at one reading of CLOCK_BOOTTIME."""

    boot: int
    up_ms: int
    boottime_ms: int


class TimeKeeper:
    """The one holder of the gateway's idea of UTC."""

    def __init__(self, *, clock: Clock, stored: StoredTime | None) -> None:
        """Begin at the persisted floor: what was proven once stays a lower bound."""
        self._clock = clock
        self._anchors = dict(stored.anchors) if stored is not None else {}
        self._lock_clocks: dict[bytes, LockClock] = {}
        floor_ms = max(BUILD_TIME_MS, stored.floor_ms if stored is not None else 0)
        self._time = TrustedTime(lo_ms=floor_ms, at_boottime_ms=clock.now().boottime_ms)

    def interval(self, instant: Instant | None = None) -> TimeInterval:
        """Return what is known of UTC at this instant, or now."""
        return self._time.at((instant or self._clock.now()).boottime_ms)

    def take_floor(self, iat_s: int) -> bool:
        """Take signed evidence that UTC has reached `iat_s`; False where it contradicts trusted time."""
        now = self._clock.now().boottime_ms
        contradicts = self._time.contradicts(iat_s * 1_000, now)
        self._time = self._time.with_floor(iat_s * 1_000, now)
        return not contradicts

    def take_receipt(self, *, time_s: int, signed_boottime_ms: int) -> None:
        """Take the central log's signature over a checkpoint that this process signed at that reading."""
        self._time = self._time.with_receipt(
            time_s=time_s, signed_boottime_ms=signed_boottime_ms, boottime_ms=self._clock.now().boottime_ms
        )

    def take_lock_clock(self, lock_id: bytes, *, boot: int, up_ms: int, instant: Instant) -> TimeInterval:
        """Take an authenticated lock's uptime, restore the interval from it where it can, and return it."""
        self._lock_clocks[lock_id] = LockClock(boot=boot, up_ms=up_ms, boottime_ms=instant.boottime_ms)
        anchor = self._anchors.get(lock_id)
        if anchor is not None and anchor.lock_boot == boot and up_ms >= anchor.lock_up_ms:
            self._time = self._time.with_anchor(
                lo_ms=anchor.lo_ms - ANCHOR_SLACK_MS,
                hi_ms=anchor.hi_ms + ANCHOR_SLACK_MS,
                elapsed_ms=up_ms - anchor.lock_up_ms,
                boottime_ms=instant.boottime_ms,
            )
        return self.interval(instant)

    def to_store(self) -> StoredTime:
        """Return floor and anchors as of now, to ride along with a transaction: nothing is written on a timer."""
        instant = self._clock.now()
        interval = self.interval(instant)
        if interval.trusted and interval.hi_ms is not None:
            for lock_id, clock in self._lock_clocks.items():
                self._anchors[lock_id] = TimeAnchor(
                    lock_boot=clock.boot,
                    lock_up_ms=clock.up_ms + instant.boottime_ms - clock.boottime_ms,
                    lo_ms=interval.lo_ms,
                    hi_ms=interval.hi_ms,
                )
        return StoredTime(floor_ms=interval.lo_ms, anchors=dict(self._anchors))
