from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.constants import UP_MS_ANSWER_AGE_MS_MAX
from gatewayd.link.uptime import UptimeReading

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
