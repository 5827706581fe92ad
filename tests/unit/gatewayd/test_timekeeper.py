"""What evidence does to the gateway's idea of UTC, over restarts and power cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.schema import UINT_MAX
from firmware_protocol.vocabulary import Role
from gatewayd.store.meta import StoredTime, TimeAnchor
from gatewayd.timekeeper import ANCHOR_SLACK_MS, TimeKeeper
from gatewayd.timekeeping import BUILD_TIME_MS, LATEST_MS, Instant

if TYPE_CHECKING:
    from collections.abc import Callable

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
    assert keeper.take_floor(TRUTH_S, Role.STATUS)
    assert not keeper.take_floor(TRUTH_S + 3_600, Role.STATUS)
    assert keeper.interval().lo_ms == TRUTH_S * 1_000


def test_a_stolen_providers_clock_cannot_brick_a_home_because_only_named_roles_reach_the_floor() -> None:
    """Grants and commands have no way in: the keeper takes floors from its caller for states and keysets only."""
    clock = SettableClock()
    keeper = TimeKeeper(clock=clock, stored=None)
    assert keeper.take_floor(TRUTH_S, Role.STATUS)
    assert keeper.interval().lo_ms == TRUTH_S * 1_000
    assert not keeper.interval().trusted


# Against what is trusted.

AHEAD_S = TRUTH_S + 86_400


def test_one_role_alone_moves_no_trusted_time_however_often_it_says_so() -> None:
    keeper = trusted_keeper(SettableClock())
    for _ in range(3):
        assert not keeper.take_floor(AHEAD_S, Role.STATUS)
    assert keeper.interval().trusted
    assert keeper.interval().lo_s == TRUTH_S


def test_two_roles_that_agree_are_believed_as_far_as_both_go_and_nothing_bounds_that_above() -> None:
    keeper = trusted_keeper(SettableClock())
    assert not keeper.take_floor(AHEAD_S + 50, Role.STATUS)
    assert keeper.take_floor(AHEAD_S, Role.PAIRING)
    assert (keeper.interval().lo_s, keeper.interval().hi_s) == (AHEAD_S, None)


@pytest.mark.parametrize("trusted", [False, True])
def test_attack_a_time_beyond_all_time_is_believed_of_nobody_and_not_of_two_that_agree(*, trusted: bool) -> None:
    clock = SettableClock()
    keeper = trusted_keeper(clock) if trusted else TimeKeeper(clock=clock, stored=None)
    before = keeper.interval()
    beyond_s = LATEST_MS // 1_000 + 1
    for role in (Role.STATUS, Role.PAIRING):
        assert not keeper.take_floor(UINT_MAX, role)
        assert not keeper.take_floor(beyond_s, role)
    assert not keeper.take_receipt(time_s=beyond_s, signed_boottime_ms=clock.boottime_ms)
    assert keeper.interval() == before


def test_a_second_role_within_what_is_trusted_agrees_with_nobody_outside() -> None:
    keeper = trusted_keeper(SettableClock())
    assert not keeper.take_floor(AHEAD_S, Role.STATUS)
    assert keeper.take_floor(TRUTH_S, Role.PAIRING)
    assert keeper.interval().trusted


def test_a_receipt_that_a_second_role_bears_out_makes_the_new_time_trusted() -> None:
    clock = SettableClock()
    keeper = trusted_keeper(clock)
    assert not keeper.take_floor(AHEAD_S, Role.STATUS)
    assert keeper.take_receipt(time_s=AHEAD_S + 1, signed_boottime_ms=clock.boottime_ms)
    assert keeper.interval().trusted
    assert keeper.interval().lo_s == AHEAD_S + 1


def test_attack_a_receipt_alone_outside_of_trusted_time_is_told_and_moves_nothing() -> None:
    clock = SettableClock()
    keeper = trusted_keeper(clock)
    clock.boottime_ms += 10_000
    assert not keeper.take_receipt(time_s=AHEAD_S, signed_boottime_ms=clock.boottime_ms)
    assert not keeper.take_receipt(time_s=TRUTH_S - 100, signed_boottime_ms=clock.boottime_ms)
    assert keeper.interval().trusted
    assert keeper.interval().lo_s == TRUTH_S + 9


def test_root_alone_lowers_the_floor_and_a_lock_that_remembers_better_does_not_bring_it_back() -> None:
    clock = SettableClock()
    keeper = TimeKeeper(clock=clock, stored=StoredTime(floor_ms=AHEAD_S * 1_000, anchors={}))
    keeper.take_receipt(time_s=AHEAD_S, signed_boottime_ms=clock.boottime_ms)
    keeper.take_lock_clock(LOCK, boot=3, up_ms=1_000, instant=clock.now())
    keeper.to_store()
    keeper.lower(TRUTH_S)
    assert (keeper.interval().lo_s, keeper.interval().hi_s) == (TRUTH_S, None)
    keeper.take_lock_clock(LOCK, boot=3, up_ms=1_000, instant=clock.now())
    assert keeper.interval().lo_s == TRUTH_S


def test_root_lowers_nothing_below_the_build() -> None:
    keeper = TimeKeeper(clock=SettableClock(), stored=None)
    keeper.lower(5)
    assert keeper.interval().lo_ms == BUILD_TIME_MS


# What is written.


def is_unsaved_after(act: Callable[[TimeKeeper], object], clock: SettableClock, keeper: TimeKeeper) -> bool:
    keeper.note_saved(keeper.evidence)
    clock.boottime_ms += 60_000
    act(keeper)
    return keeper.is_unsaved


def test_only_evidence_that_moves_the_interval_asks_to_be_saved() -> None:
    clock = SettableClock()
    keeper = trusted_keeper(clock)
    up_ms = {"now": 1_000}

    def hear_lock(hearing: TimeKeeper) -> None:
        up_ms["now"] += 60_000
        hearing.take_lock_clock(LOCK, boot=3, up_ms=up_ms["now"], instant=clock.now())
        hearing.to_store()

    assert not is_unsaved_after(lambda _: None, clock, keeper)
    assert not is_unsaved_after(hear_lock, clock, keeper)
    assert not is_unsaved_after(hear_lock, clock, keeper)
    assert not is_unsaved_after(lambda each: each.take_floor(TRUTH_S, Role.STATUS), clock, keeper)
    later_s = TRUTH_S + 5 * 60
    assert is_unsaved_after(
        lambda each: each.take_receipt(time_s=later_s, signed_boottime_ms=clock.boottime_ms), clock, keeper
    )


def test_evidence_that_came_while_it_was_saved_is_still_unsaved() -> None:
    keeper = TimeKeeper(clock=SettableClock(), stored=None)
    before = keeper.evidence
    keeper.take_floor(TRUTH_S, Role.STATUS)
    keeper.note_saved(before)
    assert keeper.is_unsaved
