"""The lock-out: how long, how it grows, when it is forgotten, and what no clock can make of it."""

from __future__ import annotations

import pytest

from gatewayd.access.lockout import (
    DELAY_MS_MAX,
    FORGIVEN_MS,
    FREE_COUNT,
    NEVER_REFUSED,
    Lockout,
    after_refusal,
    wait_ms,
)

NOW_MS = 1_800_000_000_000


def refused(count: int, *, every_ms: int = 0) -> Lockout:
    lockout = NEVER_REFUSED
    for number in range(count):
        lockout = after_refusal(lockout, NOW_MS + number * every_ms)
    return lockout


@pytest.mark.parametrize(
    ("count", "delay_s"), [(0, 0), (FREE_COUNT, 0), (5, 10), (6, 20), (7, 40), (8, 80), (9, 160), (10, 300), (99, 300)]
)
def test_each_refusal_beyond_the_free_ones_doubles_the_wait_up_to_five_minutes(count: int, delay_s: int) -> None:
    assert wait_ms(refused(count), NOW_MS) == delay_s * 1_000


def test_a_wait_ends_with_its_millisecond() -> None:
    lockout = refused(5)
    assert wait_ms(lockout, NOW_MS + 9_999) == 1
    assert wait_ms(lockout, NOW_MS + 10_000) == 0


@pytest.mark.parametrize(("after_ms", "count"), [(FORGIVEN_MS - 1, 6), (FORGIVEN_MS, 1)])
def test_an_hour_without_a_refusal_forgives_all(after_ms: int, count: int) -> None:
    assert after_refusal(refused(5), NOW_MS + after_ms).refusal_count == count


def test_a_clock_that_was_years_ahead_keeps_nobody_out_for_longer_than_five_minutes_at_a_time() -> None:
    ahead = after_refusal(refused(9), NOW_MS)
    assert wait_ms(ahead, NOW_MS - 10**12) == DELAY_MS_MAX
