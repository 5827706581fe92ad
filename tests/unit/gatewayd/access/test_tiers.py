"""Which tier the evidence supports."""

from __future__ import annotations

from firmware_protocol.vocabulary import Tier
from gatewayd.access.tiers import tier_of
from gatewayd.timekeeping import TimeInterval
from tests.support.homes import NOW_S, TestHome

HOME = TestHome.make()
TRUSTED = TimeInterval(lo_ms=NOW_S * 1_000, hi_ms=NOW_S * 1_000)
STATE = HOME.state()


def at(lo_s: int) -> TimeInterval:
    return TimeInterval(lo_ms=lo_s * 1_000, hi_ms=lo_s * 1_000)


def test_a_state_within_its_next_update_is_fresh_and_stale_after_it() -> None:
    assert tier_of(time=at(STATE.exp_s - 1), state=STATE, suspect=False) is Tier.FRESH
    assert tier_of(time=at(STATE.exp_s), state=STATE, suspect=False) is Tier.STALE


def test_no_state_at_all_is_stale() -> None:
    assert tier_of(time=TRUSTED, state=None, suspect=False) is Tier.STALE


def test_untrusted_time_is_cold_however_fresh_the_state() -> None:
    assert tier_of(time=TimeInterval(lo_ms=0), state=STATE, suspect=False) is Tier.COLD


def test_a_second_holder_of_our_keys_is_suspect_whatever_else_is_known() -> None:
    assert tier_of(time=TRUSTED, state=STATE, suspect=True) is Tier.SUSPECT


def test_an_interval_too_wide_to_be_trusted_is_cold_although_it_has_two_ends() -> None:
    assert tier_of(time=TimeInterval(lo_ms=0, hi_ms=120_001), state=STATE, suspect=False) is Tier.COLD


def test_a_state_of_this_very_second_is_fresh_and_one_dated_ahead_is_not() -> None:
    assert tier_of(time=at(STATE.iat_s), state=STATE, suspect=False) is Tier.FRESH
    assert tier_of(time=at(STATE.iat_s - 1), state=STATE, suspect=False) is Tier.STALE
