"""What evidence does to the gateway's idea of UTC, over restarts and power cuts."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayd.store.meta import StoredTime, TimeAnchor
from gatewayd.timekeeper import ANCHOR_SLACK_MS, TimeKeeper
from gatewayd.timekeeping import BUILD_TIME_MS, Instant

LOCK = bytes(8)
TRUTH_S = BUILD_TIME_MS // 1_000 + 5_000_000


@dataclass
class SettableClock:
    boottime_ms: int = 10_000
    utc_ms: int = 0

    def now(self) -> Instant:
        return Instant(monotonic_ms=self.boottime_ms, boottime_ms=self.boottime_ms, utc_ms=self.utc_ms)


def trusted_keeper(clock: SettableClock) -> TimeKeeper:
    keeper = TimeKeeper(clock=clock, stored=None)
    keeper.take_receipt(time_s=TRUTH_S, signed_boottime_ms=clock.boottime_ms)
    return keeper


def test_a_wall_clock_however_right_is_never_evidence() -> None:
    keeper = TimeKeeper(clock=SettableClock(utc_ms=TRUTH_S * 1_000), stored=None)
    assert not keeper.interval().trusted
    assert keeper.interval().lo_ms == BUILD_TIME_MS


def test_the_persisted_floor_is_a_lower_bound_after_a_restart() -> None:
    stored = StoredTime(floor_ms=TRUTH_S * 1_000, anchors={})
    assert TimeKeeper(clock=SettableClock(), stored=stored).interval().lo_ms == TRUTH_S * 1_000


def test_a_floor_from_before_the_build_is_not_believed() -> None:
    keeper = TimeKeeper(clock=SettableClock(), stored=StoredTime(floor_ms=5, anchors={}))
    assert keeper.interval().lo_ms == BUILD_TIME_MS


def test_a_receipt_makes_time_trusted() -> None:
    assert trusted_keeper(SettableClock()).interval().trusted


def test_the_locks_clock_restores_trusted_time_after_a_power_cut_of_the_gateway() -> None:
    clock = SettableClock()
    before = trusted_keeper(clock)
    before.take_lock_clock(LOCK, boot=3, up_ms=1_000, instant=clock.now())
    clock.boottime_ms += 60_000
    stored = before.to_store()

    after_cut = SettableClock(boottime_ms=50)
    keeper = TimeKeeper(clock=after_cut, stored=stored)
    assert not keeper.interval().trusted
    interval = keeper.take_lock_clock(LOCK, boot=3, up_ms=1_000 + 60_000 + 30_000, instant=after_cut.now())
    assert interval.trusted
    truth_ms = TRUTH_S * 1_000 + 90_000
    assert interval.lo_ms <= truth_ms <= (interval.hi_ms or 0)
    assert truth_ms - interval.lo_ms <= ANCHOR_SLACK_MS + 100


def test_a_reboot_of_the_lock_drops_the_anchor() -> None:
    stored = StoredTime(
        floor_ms=TRUTH_S * 1_000,
        anchors={LOCK: TimeAnchor(lock_boot=3, lock_up_ms=9_000, lo_ms=TRUTH_S * 1_000, hi_ms=TRUTH_S * 1_000 + 1_000)},
    )
    for boot, up_ms, trusted in ((3, 9_000, True), (4, 9_000, False), (2, 9_000, False), (3, 8_999, False)):
        clock = SettableClock()
        keeper = TimeKeeper(clock=clock, stored=stored)
        interval = keeper.take_lock_clock(LOCK, boot=boot, up_ms=up_ms, instant=clock.now())
        assert interval.trusted is trusted


def test_an_anchor_is_stored_only_from_trusted_time() -> None:
    clock = SettableClock()
    keeper = TimeKeeper(clock=clock, stored=None)
    keeper.take_lock_clock(LOCK, boot=3, up_ms=1_000, instant=clock.now())
    assert keeper.to_store().anchors == {}


def test_a_signed_floor_raises_the_lower_bound_and_a_leap_beyond_trusted_time_is_told() -> None:
    clock = SettableClock()
    keeper = trusted_keeper(clock)
    assert keeper.take_floor(TRUTH_S)
    assert not keeper.take_floor(TRUTH_S + 3_600)
    assert keeper.interval().lo_ms == TRUTH_S * 1_000


def test_a_stolen_providers_clock_cannot_brick_a_home_because_only_named_roles_reach_the_floor() -> None:
    """Grants and commands have no way in: the keeper takes floors from its caller for states and keysets only."""
    clock = SettableClock()
    keeper = TimeKeeper(clock=clock, stored=None)
    assert keeper.take_floor(TRUTH_S)
    assert keeper.interval().lo_ms == TRUTH_S * 1_000
    assert not keeper.interval().trusted
