from __future__ import annotations

from gatewayd.uplink.pace import Pace
from gatewayd.uplink.patience import Patience


def test_a_burst_is_allowed_and_then_one_each_interval() -> None:
    pace = Pace(burst=3, interval_s=2)
    assert [pace.allows(100) for _ in range(4)] == [True, True, True, False]
    assert not pace.allows(101.9)
    assert pace.allows(102)
    assert not pace.allows(102)


def test_a_full_bucket_holds_no_more_than_its_burst() -> None:
    pace = Pace(burst=2, interval_s=1)
    assert [pace.allows(1e9) for _ in range(3)] == [True, True, False]


def test_waits_double_up_to_the_cap_and_begin_anew_after_a_reset() -> None:
    patience = Patience(min_s=1, max_s=5)
    assert [patience.next_s() for _ in range(5)] == [1, 2, 4, 5, 5]
    patience.reset()
    assert patience.next_s() == 1
