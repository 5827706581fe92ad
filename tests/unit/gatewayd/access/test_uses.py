"""Uses of a grant: single ones, episodes, the one an hour that is always left, and what is given back."""

from __future__ import annotations

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.signed import open_signed
from firmware_protocol.tokens import Grant
from firmware_protocol.vocabulary import OfflineClass
from gatewayd.access.uses import NEVER_USED, SINGLE, Use, Uses, give_back, judge_uses, use
from tests.support.homes import NOW_S, PROVIDER, TestHome

HOME = TestHome.make()
NOW_MS = NOW_S * 1_000
MINUTE_MS = 60_000


def grant(use_count_max: int | None, offline_class: OfflineClass = OfflineClass.RESPONDER) -> Grant:
    signed = HOME.office.grant(
        HOME.home, PROVIDER, "anna", now_s=NOW_S, use_count_max=use_count_max, offline_class=offline_class
    )
    return open_signed(Grant, signed, bytes(HOME.office.signing_key(f"provider-{PROVIDER}").verify_key))


ONCE = grant(1)


def test_a_single_use_is_a_movement() -> None:
    visit = grant(2, OfflineClass.SHIFT)
    assert judge_uses(visit, Uses(count=1), NOW_MS) is None
    assert use(visit, Uses(count=1), NOW_MS) == Use(after=Uses(count=2), name=SINGLE)
    assert judge_uses(visit, Uses(count=2), NOW_MS) is Code.USES_SPENT


def test_unlimited_uses_are_not_counted() -> None:
    assert judge_uses(grant(None), Uses(count=99), NOW_MS) is None
    assert use(grant(None), Uses(), NOW_MS) is None


def test_a_spent_shift_grant_gets_none_an_hour() -> None:
    spent = Uses(count=1, episode_ms=NOW_MS - 90 * MINUTE_MS)
    assert judge_uses(grant(1, OfflineClass.SHIFT), spent, NOW_MS) is Code.USES_SPENT


@pytest.mark.parametrize(
    ("age_ms", "code"),
    [
        pytest.param(0, None, id="the episode begins"),
        pytest.param(15 * MINUTE_MS - 1, None, id="its last millisecond"),
        pytest.param(15 * MINUTE_MS, Code.USES_SPENT, id="it is over"),
        pytest.param(60 * MINUTE_MS - 1, Code.USES_SPENT, id="almost an hour"),
        pytest.param(60 * MINUTE_MS, None, id="the one that is always left"),
        pytest.param(-1, Code.USES_SPENT, id="a clock that went back"),
    ],
)
def test_an_episode_is_15_minutes_and_one_an_hour_is_always_left(age_ms: int, code: Code | None) -> None:
    uses = Uses(count=1, episode_ms=NOW_MS - age_ms, movement_count=1)
    assert judge_uses(ONCE, uses, NOW_MS) is code


def test_all_movements_of_an_episode_are_one_use() -> None:
    uses = Uses()
    for after_ms in (0, 5 * MINUTE_MS, 14 * MINUTE_MS):
        taken = use(ONCE, uses, NOW_MS + after_ms)
        assert taken is not None
        assert taken.name == NOW_MS
        uses = taken.after
    assert uses == Uses(count=1, episode_ms=NOW_MS, movement_count=3)
    later = use(ONCE, uses, NOW_MS + 15 * MINUTE_MS)
    assert later == Use(
        after=Uses(count=2, episode_ms=NOW_MS + 15 * MINUTE_MS, movement_count=1), name=NOW_MS + 15 * MINUTE_MS
    )


def test_a_single_use_that_did_not_move_is_given_back() -> None:
    assert give_back(Uses(count=2), SINGLE) == Uses(count=1)
    assert give_back(Uses(), SINGLE) == Uses()


def test_an_episode_is_given_back_when_nothing_in_it_has_moved() -> None:
    both = Uses(count=3, episode_ms=NOW_MS, movement_count=2)
    one = give_back(both, NOW_MS)
    assert one == Uses(count=3, episode_ms=NOW_MS, movement_count=1)
    assert give_back(one, NOW_MS) == Uses(count=2)


def test_attack_nothing_is_given_back_to_an_episode_that_has_moved_since() -> None:
    newer = Uses(count=3, episode_ms=NOW_MS, movement_count=1)
    assert give_back(newer, NOW_MS - 20 * MINUTE_MS) == newer


def test_a_responder_whose_spent_grant_never_opened_an_episode_is_refused() -> None:
    assert judge_uses(grant(0), Uses(), NOW_MS) is Code.USES_SPENT


def test_the_only_episode_that_did_not_move_leaves_none() -> None:
    assert give_back(Uses(count=1, episode_ms=7, movement_count=1), 7) == Uses(count=0)
    assert give_back(Uses(count=0, episode_ms=7, movement_count=1), 7) == Uses(count=0)


def test_a_movement_that_was_the_only_one_and_never_happened_leaves_a_grant_that_was_never_used() -> None:
    for used in (grant(2, OfflineClass.SHIFT), ONCE):
        taken = use(used, NEVER_USED, NOW_MS)
        assert taken is not None
        assert give_back(taken.after, taken.name) == Uses(count=0, episode_ms=None, movement_count=0) == NEVER_USED
