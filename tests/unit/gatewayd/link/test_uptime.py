from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.constants import UP_MS_ANSWER_AGE_MS_MAX
from gatewayd.link.uptime import LEAST_WINDOW_MS, LeastUptime, UptimeReading

READING = UptimeReading(up_ms=1_000_000, received_ms=50_000)


def test_a_deadline_is_the_uptime_then_plus_the_time_since_plus_what_is_left() -> None:
    assert READING.before_up_ms(now_ms=50_000, left_ms=10_000) == 1_010_000
    # 10 s later, less 200 ppm for what two clocks may be apart.
    assert READING.before_up_ms(now_ms=60_000, left_ms=10_000) == 1_020_000 - 2


def test_a_clock_that_went_back_shortens_and_never_extends() -> None:
    assert READING.before_up_ms(now_ms=49_000, left_ms=10_000) == 1_010_000


@pytest.mark.parametrize(
    ("age_ms", "fresh"), [(0, True), (UP_MS_ANSWER_AGE_MS_MAX, True), (UP_MS_ANSWER_AGE_MS_MAX + 1, False)]
)
def test_a_word_is_fresh_for_forty_seconds(age_ms: int, *, fresh: bool) -> None:
    assert READING.fresh(50_000 + age_ms) is fresh


@given(
    answer_delay_ms=st.integers(0, 45_000),
    age_ms=st.integers(0, UP_MS_ANSWER_AGE_MS_MAX),
    left_ms=st.integers(0, 10_000),
    gateway_ppm=st.integers(-100, 100),
    lock_ppm=st.integers(-100, 100),
)
def test_attack_no_delay_and_no_drift_makes_the_lock_start_later_than_permitted(
    answer_delay_ms: int, age_ms: int, left_ms: int, gateway_ppm: int, lock_ppm: int
) -> None:
    # The truth: the lock speaks at 0, the word arrives after `answer_delay_ms`, the gateway sends `age_ms` later.
    gateway, lock = 1 + gateway_ppm / 1e6, 1 + lock_ppm / 1e6
    sent_ms = answer_delay_ms + age_ms
    reading = UptimeReading(up_ms=7_000, received_ms=int(answer_delay_ms * gateway))
    now_ms = reading.received_ms + int(age_ms * gateway)
    before_up_ms = reading.before_up_ms(now_ms=now_ms, left_ms=left_ms)
    lock_up_when_sent_ms = 7_000 + sent_ms * lock
    assert before_up_ms <= lock_up_when_sent_ms + left_ms


def heard(*readings: tuple[int, int]) -> LeastUptime:
    """Return what is known after (uptime, when it arrived)."""
    least = LeastUptime()
    for up_ms, received_ms in readings:
        least.hear(UptimeReading(up_ms=up_ms, received_ms=received_ms))
    return least


def test_of_an_uptime_the_age_is_known_by_an_earlier_word() -> None:
    assert LeastUptime().age_ms(1_000, 5_000) == 0
    assert heard((1_000, 5_000)).age_ms(1_000, 5_000) == 0
    assert heard((1_000, 5_000)).age_ms(1_000, 35_000) == 30_000 - 6
    assert heard((1_000, 5_000)).age_ms(2_000_000, 35_000) == 0


def test_attack_words_held_back_together_make_none_of_them_younger() -> None:
    least = heard((1_000, 1_000), (2_000, 42_000), (3_000, 42_000))
    assert least.age_ms(3_000, 42_000) == 39_000 - 9


def test_attack_held_back_words_wait_for_the_end_of_a_window_and_the_best_of_it_still_counts() -> None:
    end_ms = 1_000 + LEAST_WINDOW_MS
    least = heard((1_000, 1_000), (90_000, 90_000), (end_ms - 40_000, end_ms), (end_ms - 39_000, end_ms))
    assert least.age_ms(end_ms - 39_000, end_ms) >= 38_900


def test_a_lock_whose_clock_runs_slow_is_not_taken_at_its_word_of_long_ago() -> None:
    least = LeastUptime()
    for minute in range(24 * 60):  # one in a hundred: an oscillator without a crystal
        least.hear(UptimeReading(up_ms=minute * 59_400, received_ms=minute * 60_000))
    assert least.age_ms(1_439 * 59_400, 1_439 * 60_000) < 3_000


@given(
    delays_ms=st.lists(st.integers(0, 45_000), min_size=1, max_size=12),
    gateway_ppm=st.integers(-100, 100),
    lock_ppm=st.integers(-100, 100),
    said_ms=st.integers(0, 200_000),
)
def test_no_word_is_taken_for_older_than_it_is(
    delays_ms: list[int], gateway_ppm: int, lock_ppm: int, said_ms: int
) -> None:
    gateway, lock = 1 + gateway_ppm / 1e6, 1 + lock_ppm / 1e6
    words = sorted((index * 15_000 + delay_ms, index * 15_000) for index, delay_ms in enumerate(delays_ms))
    least = heard(*((int(said * lock), -int(-arrived * gateway // 1)) for arrived, said in words))
    now_ms = max(arrived for arrived, _ in words) + said_ms
    age_ms = least.age_ms(int(said_ms * lock), int(now_ms * gateway))
    assert age_ms <= now_ms - said_ms + now_ms * 3e-4 + 2
