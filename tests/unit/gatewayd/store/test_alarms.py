"""Alarms end, also when the machine is started anew."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from gatewayd.store import alarms
from tests.support.store_rows import LOCK, OTHER_LOCK

if TYPE_CHECKING:
    from tests.support.store_rows import Rows


@pytest.mark.parametrize(("now_ms", "is_open"), [(0, True), (99, True), (100, False)])
def test_an_alarm_is_open_until_its_end(rows: Rows, now_ms: int, is_open: bool) -> None:  # noqa: FBT001 - a table column
    rows.run(lambda tx: alarms.open_alarm(tx, LOCK, b"ref", 100))
    rows.restart()
    assert rows.run(lambda tx: alarms.is_open(tx, LOCK, b"ref", now_ms)) is is_open


def test_an_alarm_is_for_its_lock_and_its_reference(rows: Rows) -> None:
    rows.run(lambda tx: alarms.open_alarm(tx, LOCK, b"ref", 100))
    others = ((OTHER_LOCK, b"ref"), (LOCK, b"fer"), (LOCK, None))
    assert [rows.run(partial(alarms.is_open, lock_id=lock, alarm_ref=ref, boottime_ms=0)) for lock, ref in others] == [
        False,
        False,
        False,
    ]


def test_a_closed_alarm_is_closed_and_closing_again_is_fine(rows: Rows) -> None:
    rows.run(lambda tx: alarms.open_alarm(tx, LOCK, b"ref", 100))
    for _ in range(2):
        rows.run(lambda tx: alarms.close_alarm(tx, LOCK, b"ref"))
    assert rows.run(alarms.load_alarms) == ()


def test_alarms_that_have_ended_are_pruned(rows: Rows) -> None:
    for number, until_ms in ((1, 99), (2, 100), (3, 101)):
        rows.run(partial(alarms.open_alarm, lock_id=LOCK, alarm_ref=bytes([number]), until_ms=until_ms))
    rows.run(lambda tx: alarms.prune_alarms(tx, 100))
    assert [alarm.until_ms for alarm in rows.run(alarms.load_alarms)] == [101]


def test_attack_a_reboot_does_not_let_an_old_alarm_stay_open(rows: Rows) -> None:
    # CLOCK_BOOTTIME begins anew: an alarm of a machine that ran for a month would be open for a month.
    rows.run(lambda tx: alarms.open_alarm(tx, LOCK, b"ref", 30 * 24 * 3_600_000))
    rows.run(alarms.forget_alarms)
    assert rows.run(alarms.load_alarms) == ()


def test_alarms_are_bounded_and_the_one_that_ends_first_goes(rows: Rows) -> None:
    for number in range(alarms.ALARM_COUNT_MAX + 1):
        rows.run(partial(alarms.open_alarm, lock_id=LOCK, alarm_ref=bytes([number]), until_ms=number))
    held = rows.run(alarms.load_alarms)
    assert len(held) == alarms.ALARM_COUNT_MAX
    assert held[0].until_ms == 1
