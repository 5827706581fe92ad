"""What happens to the log when nobody fetches it."""

from __future__ import annotations

from typing import Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import LogPosition, LogRecord, RecordType, verify_batch
from firmware_protocol.messages import ErrorRecord, LogAck, LogBatch, LogRead
from simulator.lock_diary import KEPT_RESERVE_DIVISOR
from tests.support.lock_bench import MOTOR_MS, Bench, BenchGateway

LOG_COUNT_MAX: Final = 40
ROOM_FOR_LESSER: Final = LOG_COUNT_MAX - LOG_COUNT_MAX // KEPT_RESERVE_DIVISOR


@pytest.fixture
def bench() -> Bench:
    return Bench(log_count_max=LOG_COUNT_MAX)


def records(bench: Bench) -> list[LogRecord]:
    return [LogRecord.from_bytes(each) for each in bench.flash.records_from(bench.flash.first_seq, 9_999)]


def turn_knob_until(bench: Bench, last_seq: int) -> None:
    while bench.flash.last_seq < last_seq:
        bench.mechanics.hand_turns_knob()


def acknowledge(gateway: BenchGateway, copied_seq: int, received_seq: int) -> None:
    gateway.session.send(LogAck(copied_seq=copied_seq, received_seq=received_seq))
    gateway.exchange()


def test_what_is_received_makes_room_and_only_when_room_is_needed(bench: Bench) -> None:
    gateway = bench.live()
    turn_knob_until(bench, ROOM_FOR_LESSER)
    acknowledge(gateway, ROOM_FOR_LESSER, ROOM_FOR_LESSER)
    assert bench.flash.first_seq == 1
    turn_knob_until(bench, LOG_COUNT_MAX)
    assert bench.flash.first_seq == 1
    bench.mechanics.hand_turns_knob()
    assert (bench.flash.first_seq, bench.flash.last_seq) == (2, LOG_COUNT_MAX + 1)
    gap = ErrorRecord(code=Code.LOG_GAP, may_have_executed=False)
    assert gateway.ask(LogRead(from_seq=1, count_max=16)) == gap


def test_nothing_that_was_not_copied_is_pruned_for_a_lesser_record(bench: Bench) -> None:
    turn_knob_until(bench, ROOM_FOR_LESSER)
    for _ in range(7):
        bench.mechanics.hand_turns_knob()
    assert (bench.flash.first_seq, bench.flash.last_seq) == (1, ROOM_FOR_LESSER)
    assert bench.flash.values.folded_count == 7


def test_what_found_no_room_is_counted_by_one_gap_as_soon_as_there_is_room(bench: Bench) -> None:
    turn_knob_until(bench, ROOM_FOR_LESSER)
    for _ in range(7):
        bench.mechanics.hand_turns_knob()
    gateway = bench.live()  # its SESSION record finds no room either
    acknowledge(gateway, 10, 0)
    bench.mechanics.hand_turns_knob()
    gap, knob = records(bench)[-2:]
    assert (gap.type, gap.result) == (RecordType.GAP, 8)
    assert knob.type is RecordType.KNOB_UNLOCKED or knob.type is RecordType.KNOB_LOCKED
    assert bench.flash.values.folded_count == 0


def test_what_was_folded_is_not_forgotten_by_a_power_cut(bench: Bench) -> None:
    turn_knob_until(bench, ROOM_FOR_LESSER)
    bench.mechanics.hand_turns_knob()
    bench.lock.power_cycle()
    assert bench.flash.values.folded_count == 1


def test_a_full_log_never_stops_a_movement_and_the_chain_goes_on(bench: Bench) -> None:
    turn_knob_until(bench, ROOM_FOR_LESSER)
    gateway = bench.live()
    for seq in range(1, 31):
        gateway.ask(gateway.command(seq))
        gateway.wait(MOTOR_MS)
    last = bench.flash.last_command
    assert last is not None
    assert (last.seq, last.code, last.log_seq) == (30, Code.DONE, bench.flash.last_seq)
    assert bench.flash.last_seq - bench.flash.first_seq + 1 == LOG_COUNT_MAX
    first_seq = bench.flash.first_seq
    batch = gateway.ask(LogRead(from_seq=first_seq, count_max=16))
    assert isinstance(batch, LogBatch)
    position = LogPosition(log_id=bench.flash.values.log_id, seq=first_seq - 1, head=bench.flash.head_at(first_seq - 1))
    verify_batch(position, from_seq=batch.from_seq, previous=batch.previous, records=batch.records)
