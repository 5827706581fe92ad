"""Token buckets by themselves: whole numbers, and which one is empty."""

from __future__ import annotations

import pytest

from gatewayd.access.decide import decide
from gatewayd.access.limits import Bucket, Exhausted, buckets_for, take
from gatewayd.access.lockout import Lockout
from gatewayd.access.verdicts import Denied
from gatewayd.settings import LimitSettings
from tests.support.homes import NOW_S, TestHome

HOME = TestHome.make()
NOW_MS = NOW_S * 1_000


@pytest.mark.parametrize(("lock_burst", "half"), [(2, 1), (3, 1), (5, 2), (12, 6)])
def test_half_of_a_bucket_is_a_whole_number_and_at_least_one(lock_burst: int, half: int) -> None:
    signers, *_ = buckets_for(HOME.at_door(HOME.carer()), LimitSettings(lock_burst=lock_burst))
    assert (signers.burst, type(signers.burst)) == (half, int)


def test_the_empty_bucket_is_named_and_none_is_drawn_from() -> None:
    full, empty = (Bucket(key=key, burst=1, interval_ms=10) for key in ("full", "empty"))
    assert take((full, empty), {"empty": 105}, 100) == Exhausted(key="empty", retry_after_ms=5)
    assert take((full, empty), {"empty": 100}, 100) == {"full": 110, "empty": 110}


@pytest.mark.parametrize(("left_ms", "seconds"), [(1, 1), (999, 1), (1_000, 1), (1_001, 2), (10_000, 10)])
def test_whoever_waits_is_told_whole_seconds_and_never_too_few(left_ms: int, seconds: int) -> None:
    lockout = Lockout(refusal_count=9, last_ms=NOW_MS, until_ms=NOW_MS + left_ms)
    verdict = decide(HOME.at_door(HOME.carer()), HOME.facts(lockout=lockout))
    assert isinstance(verdict, Denied)
    assert (verdict.retry_after_s, type(verdict.retry_after_s)) == (seconds, int)
