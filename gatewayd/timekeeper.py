"""Keeps the trusted interval: takes evidence in, hands the interval out, saves it with other writes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.constants import HANDSHAKE_MS_MAX
from firmware_protocol.vocabulary import Role
from gatewayd.store.meta import StoredTime, TimeAnchor
from gatewayd.timekeeping import BUILD_TIME_MS, LATEST_MS, TimeInterval, TrustedTime

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """The lower bound of UTC as it stood at one reading of CLOCK_BOOTTIME."""

    boottime_ms: int
    lo_s: int


class TimeKeeper:
    """The one holder of the gateway's idea of UTC."""

    def __init__(self, *, clock: Clock, stored: StoredTime | None) -> None:
        """Begin at the persisted floor: what was proven once stays a lower bound."""
        self._clock = clock
        self._anchors = dict(stored.anchors) if stored is not None else {}
        self._lock_clocks: dict[bytes, LockClock] = {}
        self._claims: dict[Role, TrustedTime] = {}
        """What each role has said against the trusted interval, as it would stand now."""
        floor_ms = max(BUILD_TIME_MS, stored.floor_ms if stored is not None else 0)
        self._time = TrustedTime(lo_ms=floor_ms, at_boottime_ms=clock.now().boottime_ms)
        self._evidence_count = 0
        self._saved_count = 0

    def fork(self) -> TimeKeeper:
        """Return a holder of its own that begins with what this one knows: for a transaction, on the store's thread."""
        other = copy.copy(self)
        other._anchors, other._lock_clocks = dict(self._anchors), dict(self._lock_clocks)  # noqa: SLF001 - our own
        other._claims = dict(self._claims)  # noqa: SLF001 - our own
        return other

    def interval(self, instant: Instant | None = None) -> TimeInterval:
        """Return what is known of UTC at this instant, or now."""
        return self._time.at((instant or self._clock.now()).boottime_ms)

    def milestone(self) -> Milestone:
        """Return the lower bound as it stands now."""
        instant = self._clock.now()
        return Milestone(boottime_ms=instant.boottime_ms, lo_s=self.interval(instant).lo_s)

    def take_floor(self, iat_s: int, role: Role) -> bool:
        """Take evidence signed by `role` that UTC has reached `iat_s`.

        False where it contradicts trusted time and no second role's key agrees, or lies beyond all time: then it moves
        nothing, and somebody should hear of it.
        """
        now, floor_ms = self._clock.now().boottime_ms, iat_s * 1_000
        if floor_ms > LATEST_MS:
            return False
        if not self._time.contradicts(floor_ms, now):
            self._learn(self._time.with_floor(floor_ms, now), now)
            return True
        return self._is_agreed(floor_ms, role, now)

    def take_receipt(self, *, time_s: int, signed_boottime_ms: int) -> bool:
        """Take the central log's signature over a checkpoint that this process signed at that reading.

        False where it contradicts trusted time, see `take_floor`, or lies before what is proven.
        """
        now = self._clock.now().boottime_ms
        floor_ms = time_s * 1_000
        if floor_ms > LATEST_MS:
            return False
        if self._time.contradicts(floor_ms, now) and not self._is_agreed(floor_ms, Role.RECEIPT, now):
            return False
        said = {"time_s": time_s, "signed_boottime_ms": signed_boottime_ms, "boottime_ms": now}
        is_past = self._time.is_past(**said)
        self._learn(self._time.with_receipt(**said), now)
        return not is_past

    def _is_agreed(self, floor_ms: int, role: Role, now: int) -> bool:
        """Hear a role that contradicts what is trusted: alone it moves nothing, a second one makes both believed."""
        self._claims[role] = TrustedTime(lo_ms=floor_ms, at_boottime_ms=now)
        others_ms = [claim.at(now).lo_ms for other, claim in self._claims.items() if other is not role]
        agreeing_ms = [other_ms for other_ms in others_ms if self._time.contradicts(other_ms, now)]
        if not agreeing_ms:
            return False
        self._learn(self._time.agreed(min(floor_ms, max(agreeing_ms)), now), now)
        self._claims.clear()
        return True

    def lower(self, utc_s: int) -> None:
        """Begin anew at `utc_s`, by order of the root authority, the only one who may: it is durable already."""
        now = self._clock.now().boottime_ms
        self._anchors.clear()
        self._lock_clocks.clear()
        self._claims.clear()
        self._learn(TrustedTime(lo_ms=max(utc_s * 1_000, BUILD_TIME_MS), at_boottime_ms=now), now)

    @property
    def evidence(self) -> int:
        """Rises with each piece of evidence that has moved the interval; see `note_saved`."""
        return self._evidence_count

    @property
    def is_unsaved(self) -> bool:
        """Whether evidence has moved the interval since it was last saved."""
        return self._evidence_count != self._saved_count

    def note_saved(self, evidence: int) -> None:
        """What `to_store` returned when `evidence` was the count is durable."""
        self._saved_count = max(self._saved_count, evidence)

    def _learn(self, time: TrustedTime, now: int) -> None:
        if time.at(now) != self._time.at(now):
            self._time = time
            self._evidence_count += 1

    def take_lock_clock(self, lock_id: bytes, *, boot: int, up_ms: int, instant: Instant) -> TimeInterval:
        """Take an authenticated lock's uptime, restore the interval from it where it can, and return it."""
        self._lock_clocks[lock_id] = LockClock(boot=boot, up_ms=up_ms, boottime_ms=instant.boottime_ms)
        anchor = self._anchors.get(lock_id)
        if anchor is not None and anchor.lock_boot == boot and up_ms >= anchor.lock_up_ms:
            restored = self._time.with_anchor(
                lo_ms=anchor.lo_ms - ANCHOR_SLACK_MS,
                hi_ms=anchor.hi_ms + ANCHOR_SLACK_MS,
                elapsed_ms=up_ms - anchor.lock_up_ms,
                boottime_ms=instant.boottime_ms,
            )
            self._learn(restored, instant.boottime_ms)
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
