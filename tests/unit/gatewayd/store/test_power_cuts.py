"""Power is cut, calls fail: what the store said is there, whole, and no number is given twice."""

from __future__ import annotations

import pytest

from tests.support.failing_calls import Failure, fail_each_call
from tests.support.power_cuts import cut_often


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_10_000_power_cuts_lose_nothing_that_was_acknowledged_and_double_no_number() -> None:
    assert cut_often(seed=1, cut_count=10_000) >= 10_000


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 6))
def test_100_000_power_cuts_lose_nothing_that_was_acknowledged_and_double_no_number(seed: int) -> None:
    assert cut_often(seed=seed, cut_count=25_000) >= 25_000


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("failure", list(Failure))
def test_whichever_call_of_the_disk_fails_nothing_acknowledged_is_lost(failure: Failure) -> None:
    assert fail_each_call(failure) > 100
