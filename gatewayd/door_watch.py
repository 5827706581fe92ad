"""What the links tell of themselves and of the doors, handed to whom it concerns (implements `LinkListener`)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt, DoorLeaf, Parcel
from gatewayd.uplink.documents import LockAvailability, LockState

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.topics import Topics
    from gatewayd.access.freshness import Challenges
    from gatewayd.alerts import Alerts
    from gatewayd.couriers import Couriers
    from gatewayd.link.ports import DoorObserved, LinkChanged
    from gatewayd.suspicion import Suspicion
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.timekeeping import Clock, Instant, TimeInterval

STALE_AFTER_S: Final = 120
"""An observation older than this is shown as unknown: two missed rounds of an idle link's pings and more."""

_log = structlog.get_logger()


class DoorWatch:
    """Knows how every door stood when last seen, and whether its lock is within reach."""

    def __init__(
        self,
        *,
        clock: Clock,
        topics: Topics,
        challenges: Challenges,
        timekeeper: TimeKeeper,
        suspicion: Suspicion,
        alerts: Alerts,
        show: Callable[[str, Callable[[], bytes]], None],
    ) -> None:
        self._clock = clock
        self._topics = topics
        self._challenges = challenges
        self._timekeeper = timekeeper
        self._suspicion = suspicion
        self._alerts = alerts
        self._show = show
        self._observed: dict[bytes, DoorObserved] = {}
        self._decays: dict[bytes, asyncio.TimerHandle] = {}
        self.couriers: Couriers | None = None
        """Who takes what phones bring; there once the house stands."""

    def battery_mv(self, lock_id: bytes) -> int | None:
        """Return the battery's voltage as last seen, in millivolts; None: never seen."""
        observed = self._observed.get(lock_id)
        return None if observed is None else observed.battery_mv

    def bolt(self, lock_id: bytes) -> tuple[Bolt, DoorLeaf, int | None]:
        """Return bolt, door and the observation's age in milliseconds; an old observation is unknown (law 10)."""
        observed = self._observed.get(lock_id)
        if observed is None:
            return Bolt.UNKNOWN, DoorLeaf.UNKNOWN, None
        age_ms = self._age_ms(observed)
        if age_ms > STALE_AFTER_S * 1_000:
            return Bolt.UNKNOWN, DoorLeaf.UNKNOWN, age_ms
        return observed.bolt, observed.door, age_ms

    async def on_lock_clock(self, lock_id: bytes, *, boot: int, up_ms: int, instant: Instant) -> TimeInterval:
        """See `LinkListener.on_lock_clock`."""
        return self._timekeeper.take_lock_clock(lock_id, boot=boot, up_ms=up_ms, instant=instant)

    def on_challenge(self, lock_id: bytes, challenge: bytes, instant: Instant) -> None:
        """See `LinkListener.on_challenge`."""
        self._challenges.learn(lock_id, challenge, instant.boottime_ms)

    def on_door_observed(self, observed: DoorObserved) -> None:
        """See `LinkListener.on_door_observed`."""
        self._observed[observed.lock_id] = observed
        self._show_state(observed)
        earlier = self._decays.pop(observed.lock_id, None)
        if earlier is not None:
            earlier.cancel()
        # A reader who knows nothing of `stale_after_s` must not be shown an old "locked" for days.
        within_s = STALE_AFTER_S + 1 - self._age_ms(observed) / 1_000
        loop = asyncio.get_running_loop()
        self._decays[observed.lock_id] = loop.call_later(max(0, within_s), self._show_state, observed)

    def _show_state(self, observed: DoorObserved) -> None:
        # Made when it is written: a broker that was away would be told the age that it had when it was made.
        self._show(self._topics.lock_state(observed.lock_id), partial(self._state, observed))

    def _state(self, observed: DoorObserved) -> bytes:
        time = self._timekeeper.interval(observed.observed_at)
        bolt, door, _ = self.bolt(observed.lock_id)
        document = LockState(
            bolt=bolt.name.lower(),
            door=door.name.lower(),
            battery_mv=observed.battery_mv,
            motor_busy=observed.motor_busy,
            tampered=observed.tampered,
            observed_at=datetime.fromtimestamp(time.lo_s, tz=UTC).isoformat().replace("+00:00", "Z"),
            time_trusted=time.trusted,
            age_s=self._age_ms(observed) // 1_000,
            stale_after_s=STALE_AFTER_S,
        )
        return document.to_payload()

    def forget(self, lock_id: bytes) -> None:
        """A lock is not ours any more: nothing of it stays on show."""
        self._observed.pop(lock_id, None)
        decay = self._decays.pop(lock_id, None)
        if decay is not None:
            decay.cancel()
        for topic in (self._topics.lock_state(lock_id), self._topics.lock_availability(lock_id)):
            self._show(topic, bytes)

    def on_link_changed(self, change: LinkChanged) -> None:
        """See `LinkListener.on_link_changed`."""
        document = LockAvailability(state="online" if change.ready else "offline", cause=change.code)
        self._show(self._topics.lock_availability(change.lock_id), document.to_payload)

    async def on_parcel(self, kind: Parcel, data: bytes) -> Code:
        """See `LinkListener.on_parcel`."""
        return Code.UNSUPPORTED_TYPE if self.couriers is None else await self.couriers.take(kind, data)

    async def on_parcel_wanted(self, kind: Parcel, from_index: int) -> tuple[Code, tuple[bytes, ...]]:
        """See `LinkListener.on_parcel_wanted`."""
        return (Code.UNSUPPORTED_TYPE, ()) if self.couriers is None else await self.couriers.give(kind, from_index)

    async def on_alert(self, lock_id: bytes, code: Code, detail: str) -> None:
        """See `LinkListener.on_alert`."""
        if code is Code.CLONE_SUSPECT:
            # An authenticated lock has confirmed a session that we never reserved: somebody else holds our
            # key, or this store is an old copy. Either way what we believe of the past is not the past.
            await self._suspicion.enter(code.dotted, lock_id)
        await self._alerts.alert(code.dotted, detail, lock_id)

    def _age_ms(self, observed: DoorObserved) -> int:
        return max(0, self._clock.now().boottime_ms - observed.observed_at.boottime_ms)
