from __future__ import annotations

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt, DoorLeaf
from simulator.mechanics import MOTOR_MV_MIN, Cause, Mechanics, Movement, Sensed
from tests.support.manual_scheduler import ManualScheduler

COMMAND = bytes(16)
MOTOR_MS = 1_000


@pytest.fixture
def scheduler() -> ManualScheduler:
    return ManualScheduler()


@pytest.fixture
def mechanics(scheduler: ManualScheduler) -> Mechanics:
    return Mechanics(scheduler, motor_ms=MOTOR_MS)


def test_a_stroke_takes_its_time_and_is_one_movement(mechanics: Mechanics, scheduler: ManualScheduler) -> None:
    codes: list[Code] = []
    mechanics.drive(Bolt.UNLOCKED, COMMAND, codes.append)
    scheduler.advance(MOTOR_MS - 1)
    assert (mechanics.bolt, mechanics.is_motor_busy, codes) == (Bolt.UNLOCKING, True, [])
    scheduler.advance(1)
    assert (mechanics.bolt, mechanics.is_motor_busy, codes) == (Bolt.UNLOCKED, False, [Code.DONE])
    assert mechanics.movements == [
        Movement(at_ms=0, cause=Cause.MOTOR, command_id=COMMAND, start=Bolt.LOCKED, target=Bolt.UNLOCKED)
    ]


def test_a_bolt_that_is_there_already_does_not_move(mechanics: Mechanics, scheduler: ManualScheduler) -> None:
    codes: list[Code] = []
    mechanics.drive(Bolt.LOCKED, COMMAND, codes.append)
    assert codes == []
    scheduler.advance(0)
    assert (codes, mechanics.movements) == ([Code.DONE], [])


def test_a_jam_stops_the_stroke_half_way_and_a_freed_bolt_moves_again(
    mechanics: Mechanics, scheduler: ManualScheduler
) -> None:
    codes: list[Code] = []
    mechanics.jam()
    mechanics.drive(Bolt.UNLOCKED, COMMAND, codes.append)
    scheduler.advance(MOTOR_MS // 2)
    assert (mechanics.bolt, codes) == (Bolt.JAMMED, [Code.MOTOR_BLOCKED])
    mechanics.free()
    mechanics.drive(Bolt.UNLOCKED, COMMAND, codes.append)
    scheduler.advance(MOTOR_MS)
    assert (mechanics.bolt, codes) == (Bolt.UNLOCKED, [Code.MOTOR_BLOCKED, Code.DONE])


@pytest.mark.parametrize(
    ("battery_mv", "code"), [(MOTOR_MV_MIN, Code.DONE), (MOTOR_MV_MIN - 1, Code.LOW_VOLTAGE)], ids=["enough", "too low"]
)
def test_the_motor_needs_a_battery(
    battery_mv: int, code: Code, mechanics: Mechanics, scheduler: ManualScheduler
) -> None:
    codes: list[Code] = []
    mechanics.drain_battery(battery_mv)
    mechanics.drive(Bolt.UNLOCKED, COMMAND, codes.append)
    scheduler.advance(MOTOR_MS)
    assert codes == [code]
    assert len(mechanics.movements) == (code is Code.DONE)


def test_a_motor_without_power_leaves_the_bolt_nobody_knows_where(
    mechanics: Mechanics, scheduler: ManualScheduler
) -> None:
    codes: list[Code] = []
    mechanics.drive(Bolt.UNLOCKED, COMMAND, codes.append)
    scheduler.advance(MOTOR_MS // 2)
    mechanics.cut_motor()
    scheduler.advance(MOTOR_MS)
    assert (mechanics.bolt, codes, len(mechanics.movements)) == (Bolt.UNKNOWN, [], 1)


def test_hands_turn_the_knob_both_ways(mechanics: Mechanics) -> None:
    sensed: list[Sensed] = []
    bolts: list[Bolt] = []
    mechanics.on_sensed = sensed.append
    for _ in range(2):
        mechanics.hand_turns_knob()
        bolts.append(mechanics.bolt)
    assert bolts == [Bolt.UNLOCKED, Bolt.LOCKED]
    assert sensed == [Sensed.BOLT_TURNED_BY_HAND] * 2
    assert [movement.cause for movement in mechanics.movements] == [Cause.HAND] * 2


@pytest.mark.parametrize(
    ("start", "target", "code"),
    [(Bolt.LOCKED, Bolt.UNLOCKED, Code.DONE), (Bolt.UNLOCKED, Bolt.LOCKED, Code.MOTOR_BLOCKED)],
    ids=["they want the same", "they want the opposite"],
)
def test_egress_works_against_a_running_motor(
    start: Bolt, target: Bolt, code: Code, scheduler: ManualScheduler
) -> None:
    mechanics = Mechanics(scheduler, motor_ms=MOTOR_MS, bolt=start)
    codes: list[Code] = []
    mechanics.drive(target, COMMAND, codes.append)
    scheduler.advance(MOTOR_MS // 2)
    mechanics.hand_turns_knob()
    scheduler.advance(MOTOR_MS)
    assert (mechanics.bolt, codes) == (Bolt.UNLOCKED, [code])


def test_a_door_opens_and_closes_only_with_the_bolt_withdrawn(mechanics: Mechanics) -> None:
    assert not mechanics.door_opens()
    mechanics.hand_turns_knob()
    doors = [mechanics.door]
    assert mechanics.door_opens()
    doors.append(mechanics.door)
    assert not mechanics.door_opens()
    mechanics.hand_turns_knob()
    assert not mechanics.door_closes()
    mechanics.hand_turns_knob()
    assert mechanics.door_closes()
    doors.append(mechanics.door)
    assert doors == [DoorLeaf.CLOSED, DoorLeaf.OPEN, DoorLeaf.CLOSED]


def test_two_strokes_at_once_are_the_firmwares_own_fault(mechanics: Mechanics) -> None:
    mechanics.drive(Bolt.UNLOCKED, COMMAND, lambda _code: None)
    with pytest.raises(RuntimeError):
        mechanics.drive(Bolt.UNLOCKED, COMMAND, lambda _code: None)
