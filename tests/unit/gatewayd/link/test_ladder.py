"""Which rung of the recovery ladder is taken when."""

from __future__ import annotations

import itertools

import pytest

from gatewayd.link.ladder import (
    ADAPTER_RUNGS,
    FORGET_AFTER_COUNT,
    ROUND_PAUSE_MS_FIRST,
    ROUND_PAUSE_MS_MAX,
    RUNG_GAP_MS,
    UNAVAILABLE_GAP_MS,
    Ladder,
    LockRungs,
    round_pause_ms,
)
from gatewayd.link.radio import RadioCode, Rung

SILENT = RadioCode.NOT_FOUND


def climb(ladder: Ladder, until_ms: int, code: str = SILENT, *, from_ms: int = 0) -> list[tuple[int, Rung]]:
    """Ask each second and take what is due."""
    taken = []
    for now_ms in range(from_ms, until_ms, 1_000):
        rung = ladder.next_rung(now_ms, code)
        if rung is not None:
            ladder.note_taken(now_ms, rung, code, done=True)
            taken.append((now_ms, rung))
    return taken


def test_the_ladder_is_climbed_one_rung_a_gap_and_then_it_is_told_that_nothing_helps() -> None:
    ladder = Ladder(0)
    assert climb(ladder, 4 * RUNG_GAP_MS) == [(RUNG_GAP_MS * step, rung) for step, rung in enumerate(ADAPTER_RUNGS, 1)]
    assert not ladder.failed
    assert ladder.next_rung(4 * RUNG_GAP_MS, SILENT) is None
    assert ladder.failed


def test_rounds_go_on_for_ever_with_pauses_that_double_to_an_hour() -> None:
    day_ms = 24 * 3_600_000
    taken = climb(Ladder(0), 3 * day_ms)
    starts = [now_ms for now_ms, rung in taken if rung is Rung.POWER_CYCLE]
    gaps = [after - before - 3 * RUNG_GAP_MS for before, after in itertools.pairwise(starts)]
    assert gaps[:2] == [ROUND_PAUSE_MS_FIRST, 2 * ROUND_PAUSE_MS_FIRST]
    assert set(gaps[3:]) == {ROUND_PAUSE_MS_MAX}
    assert len(taken) <= 3 * 3 * 24


def test_a_proof_ends_the_climb_and_says_what_helped() -> None:
    ladder = Ladder(0)
    climb(ladder, 2 * RUNG_GAP_MS + 1)
    assert ladder.note_proof(100_000) is Rung.RESET
    assert (ladder.helped_counts[Rung.RESET], ladder.helped_counts[Rung.POWER_CYCLE]) == (1, 0)
    assert ladder.next_rung(100_000 + RUNG_GAP_MS - 1, SILENT) is None
    assert ladder.note_proof(100_001) is None


def test_what_helped_last_is_tried_first() -> None:
    ladder = Ladder(0)
    climb(ladder, 2 * RUNG_GAP_MS + 1)
    ladder.note_proof(100_000)
    again = climb(ladder, 100_000 + 4 * RUNG_GAP_MS, from_ms=100_000)
    assert [rung for _, rung in again] == [Rung.RESET, Rung.POWER_CYCLE, Rung.RESTART]


def test_a_rung_that_cannot_be_taken_makes_room_for_the_next_at_once() -> None:
    ladder = Ladder(0)
    assert ladder.next_rung(RUNG_GAP_MS, SILENT) is Rung.POWER_CYCLE
    ladder.note_taken(RUNG_GAP_MS, Rung.POWER_CYCLE, SILENT, done=False)
    assert ladder.next_rung(RUNG_GAP_MS, SILENT) is Rung.RESET
    assert ladder.taken_counts.total() == 0


def test_a_host_that_says_that_there_is_no_radio_is_not_waited_for_as_long() -> None:
    ladder = Ladder(0)
    assert ladder.next_rung(UNAVAILABLE_GAP_MS - 1, RadioCode.UNAVAILABLE) is None
    assert ladder.next_rung(UNAVAILABLE_GAP_MS, RadioCode.UNAVAILABLE) is Rung.POWER_CYCLE


def test_a_bluez_that_hangs_is_restarted_first() -> None:
    assert Ladder(0).next_rung(UNAVAILABLE_GAP_MS, RadioCode.HOST_HANGS) is Rung.RESTART


def test_an_adapter_that_is_off_is_switched_on_at_once_and_then_ever_more_seldom() -> None:
    ladder = Ladder(0)
    taken = climb(ladder, 24 * 3_600_000, RadioCode.POWERED_OFF)
    assert taken[0] == (0, Rung.POWER_CYCLE)
    assert [now_ms for now_ms, _ in taken[:4]] == [UNAVAILABLE_GAP_MS * step for step in (0, 1, 3, 7)]
    assert len(taken) < 40
    ladder.note_proof(10**9)
    assert ladder.next_rung(10**9, RadioCode.POWERED_OFF) is Rung.POWER_CYCLE


def test_a_pause_after_a_lock_that_was_long_away_does_not_keep_an_adapter_off() -> None:
    ladder = Ladder(0)
    climb(ladder, 10 * 3_600_000)
    assert ladder.next_rung(10 * 3_600_000, RadioCode.POWERED_OFF) is Rung.POWER_CYCLE


@pytest.mark.parametrize(
    ("failure_count", "code", "expected"),
    [
        (FORGET_AFTER_COUNT - 1, RadioCode.CONNECT_TIMEOUT, None),
        (FORGET_AFTER_COUNT, RadioCode.CONNECT_TIMEOUT, Rung.FORGET),
        (1, RadioCode.GATT_FAILED, Rung.FORGET),  # services that are not the lock's: nothing else mends them
        (9, RadioCode.UNAVAILABLE, None),  # there is nobody to tell
        (9, RadioCode.POWERED_OFF, None),
    ],
)
def test_a_lock_is_forgotten_by_the_host_after_its_second_failure(
    failure_count: int, code: str, expected: Rung | None
) -> None:
    assert LockRungs().due(0, failure_count=failure_count, code=code) is expected


def test_a_lock_is_forgotten_once_a_round() -> None:
    rungs = LockRungs()
    rungs.note_taken(0)
    assert rungs.due(round_pause_ms(1) - 1, failure_count=9, code=SILENT) is None
    assert rungs.due(round_pause_ms(1), failure_count=9, code=SILENT) is Rung.FORGET
    rungs.note_proof()
    assert rungs.due(1, failure_count=2, code=SILENT) is Rung.FORGET
