"""How often a lock may be connected to."""

from __future__ import annotations

from gatewayd.link.budget import CONNECT_BURST, CONNECT_REFILL_MS, CONNECTS_PER_DAY_MAX, ConnectBudget

DAY_MS = 24 * 3_600_000


def test_a_burst_is_free_and_then_one_connection_a_refill() -> None:
    budget = ConnectBudget(5)
    for _ in range(CONNECT_BURST):
        assert budget.wait_ms(5) == 0
        budget.spend(5)
    assert (budget.left(5), budget.wait_ms(5)) == (0, CONNECT_REFILL_MS)
    assert budget.wait_ms(5 + CONNECT_REFILL_MS - 1) == 1
    assert budget.wait_ms(5 + CONNECT_REFILL_MS) == 0


def test_who_obeys_never_exceeds_the_days_count() -> None:
    budget, now_ms, count = ConnectBudget(0), 0, 0
    while now_ms <= DAY_MS:
        budget.spend(now_ms)
        count += 1
        now_ms += budget.wait_ms(now_ms)
    assert CONNECTS_PER_DAY_MAX - 2 <= count <= CONNECTS_PER_DAY_MAX + 1


def test_what_is_permitted_beyond_the_budget_leaves_no_debt_that_shuts_a_door() -> None:
    budget = ConnectBudget(0)
    for _ in range(10 * CONNECT_BURST):
        budget.spend(0)
    assert budget.wait_ms(0) == CONNECT_REFILL_MS


def test_an_idle_budget_fills_up_and_no_further() -> None:
    budget = ConnectBudget(0)
    budget.spend(0)
    assert budget.left(100 * DAY_MS) == CONNECT_BURST


def test_the_hours_count_forgets_what_is_older() -> None:
    budget = ConnectBudget(0)
    budget.spend(0)
    budget.spend(1)
    assert [budget.hour_count(at) for at in (1, 3_599_999, 3_600_000, 3_600_001)] == [2, 2, 1, 0]
