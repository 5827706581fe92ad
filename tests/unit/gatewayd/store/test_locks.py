"""Homes and counters of locks, and how far their logs are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.lock_log import LogPosition
from gatewayd.store import locks
from gatewayd.store.faults import StoreCode
from gatewayd.store.locks import SESSION_BLOCK_COUNT
from tests.support.store_rows import HOME, LOCK, OTHER_LOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.store.database import Transaction
    from tests.support.store_rows import Rows


def test_a_lock_home_outlives_a_restart(paired: Rows) -> None:
    paired.restart()
    assert paired.run(locks.load_lock_homes) == (HOME,)


def test_a_home_of_the_same_epoch_may_bring_another_door_and_keeps_the_counters(paired: Rows) -> None:
    paired.run(lambda tx: locks.next_command_seq(tx, LOCK))
    paired.run(lambda tx: locks.save_lock_home(tx, replace(HOME, door=b"renamed")))
    assert paired.run(locks.load_lock_homes)[0].door == b"renamed"
    assert paired.run(lambda tx: locks.next_command_seq(tx, LOCK)) == 2


def test_a_higher_owner_epoch_begins_the_counters_anew(paired: Rows) -> None:
    for _ in range(3):
        paired.run(lambda tx: locks.next_command_seq(tx, LOCK))
        paired.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
    paired.run(lambda tx: locks.save_lock_home(tx, replace(HOME, owner_epoch=4)))
    assert paired.run(lambda tx: locks.next_command_seq(tx, LOCK)) == 1
    assert paired.run(lambda tx: locks.reserve_session_ctr(tx, LOCK)) == 1


def test_attack_an_order_of_a_lower_owner_epoch_brings_no_old_counters_back(paired: Rows) -> None:
    old = replace(HOME, owner_epoch=2, pairing_order=b"old")
    assert paired.refusal(lambda tx: locks.save_lock_home(tx, old)) == StoreCode.OUTDATED
    assert paired.run(locks.load_lock_homes) == (HOME,)


def test_session_counters_rise_by_one_and_a_block_is_one_write(paired: Rows) -> None:
    reserve = partial(locks.reserve_session_ctr, lock_id=LOCK)
    assert paired.written(reserve)
    assert [paired.written(reserve) for _ in range(SESSION_BLOCK_COUNT - 1)] == [False] * (SESSION_BLOCK_COUNT - 1)
    assert paired.written(reserve)
    assert paired.run(reserve) == SESSION_BLOCK_COUNT + 2


@pytest.mark.parametrize("used", [1, SESSION_BLOCK_COUNT - 1, SESSION_BLOCK_COUNT])
def test_a_restart_skips_the_rest_of_the_block(paired: Rows, used: int) -> None:
    for _ in range(used):
        paired.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
    paired.restart()
    assert paired.run(lambda tx: locks.reserve_session_ctr(tx, LOCK)) == SESSION_BLOCK_COUNT + 1


def test_locks_count_for_themselves(paired: Rows) -> None:
    paired.run(lambda tx: locks.save_lock_home(tx, replace(HOME, lock_id=OTHER_LOCK)))
    paired.run(lambda tx: locks.next_command_seq(tx, LOCK))
    assert paired.run(lambda tx: locks.next_command_seq(tx, OTHER_LOCK)) == 1
    paired.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
    assert paired.run(lambda tx: locks.reserve_session_ctr(tx, OTHER_LOCK)) == 1


def test_a_command_number_is_never_given_twice_over_a_restart(paired: Rows) -> None:
    first = paired.run(lambda tx: locks.next_command_seq(tx, LOCK))
    paired.restart()
    assert (first, paired.run(lambda tx: locks.next_command_seq(tx, LOCK))) == (1, 2)


def test_a_command_number_of_a_transaction_that_failed_is_given_again(paired: Rows) -> None:
    def fail(tx: Transaction) -> None:
        locks.next_command_seq(tx, LOCK)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        paired.run(fail)
    assert paired.run(lambda tx: locks.next_command_seq(tx, LOCK)) == 1


@pytest.mark.parametrize(
    "work",
    [
        partial(locks.next_command_seq, lock_id=LOCK),
        partial(locks.reserve_session_ctr, lock_id=LOCK),
        partial(locks.version_floor, lock_id=LOCK),
        partial(locks.load_log_position, lock_id=LOCK),
        partial(locks.save_log_position, lock_id=LOCK, position=LogPosition.start(bytes(16))),
    ],
    ids=["command", "session", "version", "load position", "save position"],
)
def test_a_lock_that_was_never_paired_has_no_counters(rows: Rows, work: Callable[[Transaction], object]) -> None:
    assert rows.refusal(work) == StoreCode.MISUSE


def test_the_version_floor_never_falls(paired: Rows) -> None:
    floors = []
    for version in (0, 2, 1):
        paired.run(partial(locks.raise_version_floor, lock_id=LOCK, version=version))
        floors.append(paired.run(lambda tx: locks.version_floor(tx, LOCK)))
    assert floors == [0, 2, 2]


def test_commands_are_numbered_above_what_the_lock_has_seen_and_never_anew(paired: Rows) -> None:
    for seen in (7, 3):
        paired.run(partial(locks.raise_command_seq, lock_id=LOCK, command_seq=seen))
    assert paired.run(lambda tx: locks.next_command_seq(tx, LOCK)) == 8


def test_a_log_position_outlives_a_restart(paired: Rows) -> None:
    assert paired.run(lambda tx: locks.load_log_position(tx, LOCK)) is None
    position = LogPosition(log_id=b"l" * 16, seq=5, head=b"h" * 32)
    paired.run(lambda tx: locks.save_log_position(tx, LOCK, position))
    paired.restart()
    assert paired.run(lambda tx: locks.load_log_position(tx, LOCK)) == position


def receive(rows: Rows, received: int) -> None:
    rows.run(lambda tx: tx.execute("UPDATE gateway SET log_size = 100, received = ?", (received,)))


def note(rows: Rows, seq: int, index: int, log_id: bytes = b"log-a") -> None:
    rows.run(lambda tx: locks.note_lock_record(tx, LOCK, log_id, seq, index))


def received_seq(rows: Rows, log_id: bytes = b"log-a") -> int:
    return rows.run(lambda tx: locks.received_seq(tx, LOCK, log_id))


@pytest.mark.parametrize(("received", "seq"), [(0, 0), (10, 0), (11, 1), (12, 2), (20, 2), (21, 3), (100, 3)], ids=str)
def test_a_lock_may_prune_what_lies_below_the_received_mark(paired: Rows, received: int, seq: int) -> None:
    for each, index in ((1, 10), (2, 11), (3, 20)):
        note(paired, each, index)
    receive(paired, received)
    assert received_seq(paired) == seq


def test_records_that_are_received_are_folded_into_one_row(paired: Rows) -> None:
    for seq in range(1, 50):
        note(paired, seq, seq)
        receive(paired, seq + 1)
    assert received_seq(paired) == 49
    assert paired.run(lambda tx: tx.execute("SELECT count(*) FROM lock_records")) == [(2,)]


def test_another_log_of_the_same_lock_counts_for_itself_and_the_old_one_goes(paired: Rows) -> None:
    note(paired, 7, 1)
    receive(paired, 2)
    note(paired, 1, 2, b"log-b")
    assert received_seq(paired, b"log-b") == 0
    receive(paired, 3)
    assert received_seq(paired, b"log-b") == 1
    note(paired, 2, 3, b"log-b")
    assert received_seq(paired, b"log-a") == 0
