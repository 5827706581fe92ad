"""The interval only ever shortens a right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.timekeeping import BUILD_TIME_MS, TRUSTED_WIDTH_MS_MAX, TrustedTime

BASE_MS = BUILD_TIME_MS + 10_000_000


def with_receipt(time: TrustedTime, *, truth_ms: int, signed_ms: int, now_ms: int) -> TrustedTime:
    return time.with_receipt(time_s=truth_ms // 1_000, signed_boottime_ms=signed_ms, boottime_ms=now_ms)


def test_without_evidence_time_has_no_upper_bound() -> None:
    interval = TrustedTime().at(5_000)
    assert interval.hi_ms is None
    assert not interval.trusted
    assert interval.hi_s is None


def test_a_receipt_bounds_time_by_the_checkpoints_age() -> None:
    time = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=1_000, now_ms=3_000)
    interval = time.at(3_000)
    assert (interval.lo_ms, interval.hi_ms) == (BASE_MS, BASE_MS + 3_001)
    assert interval.trusted


def test_a_receipt_over_an_old_checkpoint_makes_no_trust() -> None:
    late = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=TRUSTED_WIDTH_MS_MAX)
    assert not late.at(TRUSTED_WIDTH_MS_MAX).trusted


def test_the_interval_widens_with_the_drift_of_two_clocks() -> None:
    time = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=0)
    hour_ms = 3_600_000
    interval = time.at(hour_ms)
    assert interval.lo_ms == BASE_MS + hour_ms - 360
    assert interval.hi_ms == BASE_MS + 1_000 + hour_ms + 360


@pytest.mark.parametrize("year", [2026, 2038, 2039, 2106, 2107], ids=str)
def test_seconds_go_on_beyond_what_32_bits_hold(year: int) -> None:
    moment_s = (datetime(year, 12, 31, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    interval = with_receipt(TrustedTime(), truth_ms=moment_s * 1_000, signed_ms=0, now_ms=0).at(0)
    assert (interval.lo_s, interval.hi_s) == (moment_s, moment_s + 1)


def test_a_replayed_older_receipt_moves_nothing() -> None:
    time = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=0)
    assert with_receipt(time, truth_ms=BASE_MS - 60_000, signed_ms=0, now_ms=0) == time


def test_a_receipt_from_a_clock_that_runs_ahead_does_not_move_trusted_time() -> None:
    time = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=0)
    assert with_receipt(time, truth_ms=BASE_MS + 3_600_000, signed_ms=0, now_ms=0) == time


def test_a_second_receipt_narrows_the_interval() -> None:
    wide = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=60_000)
    narrow = with_receipt(wide, truth_ms=BASE_MS + 30_000, signed_ms=60_000, now_ms=60_000)
    assert (narrow.at(60_000).lo_ms, narrow.at(60_000).hi_ms) == (BASE_MS + 30_000, BASE_MS + 31_000)


def test_a_floor_raises_the_lower_bound_and_keeps_the_upper() -> None:
    time = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=0).with_floor(BASE_MS + 500, 0)
    assert (time.at(0).lo_ms, time.at(0).hi_ms) == (BASE_MS + 500, BASE_MS + 1_000)


def test_a_floor_beyond_a_trusted_interval_is_a_contradiction_and_not_believed() -> None:
    time = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=0)
    assert time.contradicts(BASE_MS + 1_001, 0)
    assert not time.contradicts(BASE_MS + 1_000, 0)
    assert time.with_floor(BASE_MS + 1_001, 0) == time


def test_a_floor_beyond_an_untrusted_interval_is_believed_and_drops_its_upper_bound() -> None:
    wide = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=500_000)
    raised = wide.with_floor(BASE_MS + 900_000, 500_000)
    assert raised.at(500_000).lo_ms == BASE_MS + 900_000
    assert raised.at(500_000).hi_ms is None


def test_a_floor_below_what_is_known_changes_nothing() -> None:
    time = TrustedTime(lo_ms=BASE_MS)
    assert time.with_floor(BASE_MS - 1, 0) == time


def test_a_locks_clock_restores_the_interval_after_a_power_cut() -> None:
    restored = TrustedTime(lo_ms=BASE_MS).with_anchor(
        lo_ms=BASE_MS, hi_ms=BASE_MS + 1_000, elapsed_ms=60_000, boottime_ms=9_000
    )
    assert restored.at(9_000).lo_ms == BASE_MS + 60_000 - 6
    assert restored.at(9_000).hi_ms == BASE_MS + 61_000 + 6
    assert restored.at(9_000).trusted


def test_contradicting_evidence_replaces_an_untrusted_interval() -> None:
    wide = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=0, now_ms=300_000)
    assert not wide.at(300_000).trusted
    later = with_receipt(wide, truth_ms=BASE_MS + 900_000, signed_ms=300_000, now_ms=300_000)
    assert later.at(300_000).lo_ms == BASE_MS + 900_000
    assert later.at(300_000).trusted


def test_a_boot_clock_that_went_back_moves_nothing_back() -> None:
    time = with_receipt(TrustedTime(), truth_ms=BASE_MS, signed_ms=5_000, now_ms=5_000)
    assert time.at(0) == time.at(5_000)


@given(
    drift_ppm=st.integers(-100, 100),
    steps=st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 50_000)), max_size=12),
)
def test_the_truth_never_leaves_the_interval(drift_ppm: int, steps: list[tuple[int, int]]) -> None:
    """Receipts at arbitrary moments, over checkpoints of any age, on a boot clock that drifts."""
    time, truth_ms, boottime_ms = TrustedTime(), BASE_MS, 0
    for elapsed_ms, age_ms in steps:
        truth_ms += elapsed_ms
        boottime_ms += elapsed_ms + elapsed_ms * drift_ppm // 1_000_000
        signed_ms = max(0, boottime_ms - age_ms)
        time = with_receipt(time, truth_ms=truth_ms, signed_ms=signed_ms, now_ms=boottime_ms)
        interval = time.at(boottime_ms)
        assert interval.lo_ms <= truth_ms
        assert interval.hi_ms is not None
        assert truth_ms <= interval.hi_ms + 1
