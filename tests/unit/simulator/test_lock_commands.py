"""At most one movement a command, whatever is repeated, delayed or cut off; and honest answers afterwards."""

from __future__ import annotations

from typing import Final

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import LogRecord, RecordType
from firmware_protocol.messages import CommandAccepted, CommandQuery, CommandResult, ErrorRecord
from firmware_protocol.vocabulary import Action, Bolt
from simulator.flash import COMMAND_COUNT_MAX
from simulator.lock_commands import MOTOR_MS_MAX
from simulator.mechanics import MOTOR_MV_MIN, Cause
from tests.support.lock_bench import ACTOR, MOTOR_MS, Bench, BenchGateway, command_id, lock_command

CORR: Final = 7


def records(bench: Bench) -> list[LogRecord]:
    return [LogRecord.from_bytes(each) for each in bench.flash.records_from(bench.flash.first_seq, 9_999)]


def moves(bench: Bench, seq: int) -> int:
    return sum(movement.command_id == command_id(seq) for movement in bench.mechanics.movements)


def query(gateway: BenchGateway, seq: int) -> CommandResult:
    result = gateway.ask(CommandQuery(command_seq=seq), corr=99)
    assert isinstance(result, CommandResult)
    return result


def test_a_command_is_accepted_moves_the_bolt_once_and_is_told() -> None:
    bench = Bench()
    gateway = bench.live()
    accepted = gateway.ask(gateway.command(1), corr=CORR)
    assert accepted == CommandAccepted(command_seq=1, up_ms=bench.lock.up_ms)
    gateway.wait(MOTOR_MS)
    result = gateway.answers(CORR)[1]
    assert result == CommandResult(
        command_seq=1, code=Code.DONE, bolt=Bolt.UNLOCKED, log_seq=bench.flash.last_seq, up_ms=MOTOR_MS
    )
    assert [(record.type, record.actor, record.cmd_id, record.result) for record in records(bench)[-3:]] == [
        (RecordType.COMMAND_INTENT, ACTOR, command_id(1), None),
        (RecordType.UNLOCKED, ACTOR, command_id(1), None),
        (RecordType.COMMAND_RESULT, ACTOR, command_id(1), Code.DONE.wire),
    ]
    assert moves(bench, 1) == 1


def test_a_lock_that_is_locked_already_is_done_without_a_movement() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(1, action=Action.LOCK), corr=CORR)
    gateway.wait(MOTOR_MS)
    assert query(gateway, 1).code is Code.DONE
    assert bench.mechanics.movements == []


def test_the_intent_is_durable_before_the_gateway_hears_of_it() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(1), corr=CORR)
    again = Bench()
    again.flash = bench.flash
    again.flash.load()
    assert again.flash.last_command is not None
    assert again.flash.last_command.code is Code.PERMITTED


@pytest.mark.parametrize("before_ms", [0, 1], ids=["at before_up_ms", "one millisecond before it"])
def test_attack_a_command_that_was_held_back_is_too_late(before_ms: int) -> None:
    bench = Bench()
    gateway = bench.live()
    answer = gateway.ask(gateway.command(1, before_ms=before_ms), corr=CORR)
    gateway.wait(MOTOR_MS)
    if before_ms:
        assert isinstance(answer, CommandAccepted)
    else:
        assert answer == ErrorRecord(code=Code.TOO_LATE, may_have_executed=False)
    assert moves(bench, 1) == before_ms


def test_attack_the_same_command_again_does_not_move_the_bolt_again() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(1), corr=CORR)
    gateway.wait(MOTOR_MS)
    gateway.ask(gateway.command(2, action=Action.LOCK), corr=CORR)
    gateway.wait(MOTOR_MS)
    assert gateway.ask(gateway.command(1), corr=CORR) == ErrorRecord(code=Code.DUPLICATE, may_have_executed=True)
    gateway.wait(MOTOR_MS)
    assert (moves(bench, 1), bench.mechanics.bolt) == (1, Bolt.LOCKED)


def test_attack_a_lower_number_with_a_fresh_id_is_superseded() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(5), corr=CORR)
    gateway.wait(MOTOR_MS)
    late = lock_command(4, before_up_ms=bench.lock.up_ms + 1_000)
    same = lock_command(5, id_seq=6, before_up_ms=bench.lock.up_ms + 1_000)
    for command in (late, same):
        assert gateway.ask(command, corr=CORR) == ErrorRecord(code=Code.SUPERSEDED, may_have_executed=False)


@pytest.mark.parametrize("age", [COMMAND_COUNT_MAX, COMMAND_COUNT_MAX + 1], ids=["among the last 256", "older"])
def test_attack_a_known_id_under_a_fresh_number_is_refused_while_it_is_remembered(age: int) -> None:
    bench = Bench()
    gateway = bench.live()
    for seq in range(1, age + 1):
        gateway.ask(gateway.command(seq, action=Action.LOCK), corr=CORR)
        gateway.wait(1)
    replay = lock_command(age + 1, id_seq=1, before_up_ms=bench.lock.up_ms + 1_000)
    answer = gateway.ask(replay, corr=CORR)
    if age == COMMAND_COUNT_MAX:
        assert answer == ErrorRecord(code=Code.DUPLICATE, may_have_executed=True)
    else:
        assert isinstance(answer, CommandAccepted)


def test_a_second_command_while_the_motor_runs_is_busy_and_its_number_stays_free() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(1), corr=CORR)
    answer = gateway.ask(gateway.command(2, action=Action.LOCK), corr=8)
    assert answer == ErrorRecord(code=Code.BUSY, may_have_executed=False)
    gateway.wait(MOTOR_MS)
    assert isinstance(gateway.ask(gateway.command(2, action=Action.LOCK), corr=9), CommandAccepted)


def test_a_query_tells_running_done_skipped_and_never_seen_apart() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(3), corr=CORR)
    running = query(gateway, 3)
    assert (running.code, running.bolt, running.log_seq) == (Code.PERMITTED, Bolt.UNLOCKING, bench.flash.last_seq)
    gateway.wait(MOTOR_MS)
    assert (query(gateway, 3).code, query(gateway, 3).log_seq) == (Code.DONE, bench.flash.last_seq)
    for seq in (2, 4):
        assert (query(gateway, seq).code, query(gateway, seq).log_seq) == (Code.FAILED, None)


@pytest.mark.parametrize(("seq", "code"), [(1, Code.MAY_HAVE_EXECUTED), (2, Code.DONE)], ids=["forgotten", "kept"])
def test_a_query_for_a_command_that_was_forgotten_claims_nothing(seq: int, code: Code) -> None:
    bench = Bench()
    gateway = bench.live()
    for each in range(1, COMMAND_COUNT_MAX + 2):
        gateway.ask(gateway.command(each, action=Action.LOCK), corr=CORR)
        gateway.wait(1)
    assert query(gateway, seq).code is code


def test_a_jam_is_blocked_and_recorded() -> None:
    bench = Bench()
    gateway = bench.live()
    bench.mechanics.jam()
    gateway.ask(gateway.command(1), corr=CORR)
    gateway.wait(MOTOR_MS)
    result = gateway.heard(CommandResult)[0]
    assert (result.code, result.bolt) == (Code.MOTOR_BLOCKED, Bolt.JAMMED)
    assert [record.type for record in records(bench)[-2:]] == [RecordType.JAMMED, RecordType.COMMAND_RESULT]


def test_a_stroke_that_does_not_end_is_cut_off() -> None:
    bench = Bench(motor_ms=MOTOR_MS_MAX + 1)
    gateway = bench.live()
    gateway.ask(gateway.command(1), corr=CORR)
    gateway.wait(MOTOR_MS_MAX)
    result = gateway.heard(CommandResult)[0]
    assert (result.code, result.bolt) == (Code.MOTOR_TIMEOUT, Bolt.UNKNOWN)
    assert not bench.mechanics.is_motor_busy


def test_an_empty_battery_is_told_and_warned_of_once() -> None:
    bench = Bench()
    gateway = bench.live()
    bench.mechanics.drain_battery(MOTOR_MV_MIN - 1)
    for seq in (1, 2):
        gateway.ask(gateway.command(seq), corr=CORR)
        gateway.wait(MOTOR_MS)
        assert query(gateway, seq).code is Code.LOW_VOLTAGE
    assert [record.type for record in records(bench)].count(RecordType.LOW_BATTERY) == 1


def test_a_link_lost_in_mid_stroke_loses_the_answer_and_not_the_truth() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(1), corr=CORR)
    bench.lock.drop_gateway()
    bench.scheduler.advance(MOTOR_MS)
    gateway = bench.live()
    assert (gateway.status.command_seq, gateway.status.command_code) == (1, Code.DONE)
    assert query(gateway, 1).code is Code.DONE


def write_count_of_a_command() -> int:
    bench = Bench()
    gateway = bench.live()
    before = bench.medium.write_count
    gateway.ask(gateway.command(1), corr=CORR)
    gateway.wait(MOTOR_MS)
    return bench.medium.write_count - before


WRITES: Final = range(1, write_count_of_a_command() + 1)


@pytest.mark.parametrize("kept_size", [0, 1, 20, None], ids=["nothing", "a byte", "a torn entry", "all of it"])
@pytest.mark.parametrize("write", WRITES)
def test_a_power_loss_at_any_write_leaves_at_most_one_movement_and_an_honest_answer(
    write: int, kept_size: int | None
) -> None:
    bench = Bench()
    gateway = bench.live()
    bench.medium.lose_power_at_write(write, kept_size=kept_size)
    command = gateway.command(1)
    gateway.session.send(command, corr=CORR)
    gateway.exchange()
    bench.scheduler.advance(MOTOR_MS)
    assert not bench.lock.is_powered
    assert not gateway.pipe.is_open
    bench.restart()

    gateway = bench.live()
    result = query(gateway, 1)
    if result.code is Code.FAILED:
        assert moves(bench, 1) == 0
    elif result.code is Code.DONE:
        assert moves(bench, 1) == 1
    else:
        assert result.code is Code.MAY_HAVE_EXECUTED
        assert result.log_seq is not None
        assert records(bench)[result.log_seq - 1].result == Code.MAY_HAVE_EXECUTED.wire
    assert gateway.status.command_code is result.code

    # Attack: the same command comes again after the power cut.
    moved = moves(bench, 1)
    gateway.ask(lock_command(1, before_up_ms=bench.lock.up_ms + 1_000), corr=CORR)
    gateway.wait(MOTOR_MS)
    assert moves(bench, 1) == (1 if result.code is Code.FAILED else moved) <= 1


@pytest.mark.parametrize("after_ms", [0, 1, MOTOR_MS // 2, MOTOR_MS - 1, MOTOR_MS])
def test_a_power_loss_at_any_moment_of_the_stroke_is_told_as_what_it_is(after_ms: int) -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(1), corr=CORR)
    bench.scheduler.advance(after_ms)
    bench.lock.power_cycle()
    bench.scheduler.advance(MOTOR_MS)
    is_done = after_ms == MOTOR_MS
    assert query(bench.live(), 1).code is (Code.DONE if is_done else Code.MAY_HAVE_EXECUTED)
    assert bench.mechanics.bolt is (Bolt.UNLOCKED if is_done else Bolt.UNKNOWN)
    assert moves(bench, 1) == 1


def test_a_hand_on_the_knob_in_mid_stroke_ends_it_and_both_are_told() -> None:
    bench = Bench()
    gateway = bench.live()
    gateway.ask(gateway.command(1), corr=CORR)
    bench.scheduler.advance(MOTOR_MS // 2)
    bench.mechanics.hand_turns_knob()
    gateway.exchange()
    assert query(gateway, 1).code is Code.DONE
    assert [movement.cause for movement in bench.mechanics.movements] == [Cause.MOTOR, Cause.HAND]
    kinds = [record.type for record in records(bench)[-4:]]
    assert kinds == [
        RecordType.COMMAND_INTENT,
        RecordType.KNOB_UNLOCKED,
        RecordType.UNLOCKED,
        RecordType.COMMAND_RESULT,
    ]
