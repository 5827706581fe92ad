from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt, DoorLeaf
from simulator.door_file import keep_door
from simulator.lock_control import LINE_SIZE_MAX, LockControl, serve_control
from simulator.mechanics import Mechanics
from tests.support.lock_bench import MOTOR_MS, Bench, command_id
from tests.support.manual_scheduler import ManualScheduler

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def control(bench: Bench) -> LockControl:
    return LockControl(bench.lock)


def test_hands_say_whether_the_door_let_them(bench: Bench, control: LockControl) -> None:
    assert control.answer(b'{"do": "door_open"}') == {"done": False}
    assert control.answer(b'{"do": "knob"}') == {"done": True}
    assert control.answer(b'{"do": "door_open"}') == {"done": True}
    assert (bench.mechanics.bolt, bench.mechanics.door) == (Bolt.UNLOCKED, DoorLeaf.OPEN)


def test_the_truth_is_told(bench: Bench, control: LockControl) -> None:
    gateway = bench.live()
    gateway.ask(gateway.command(1))
    gateway.wait(MOTOR_MS)
    truth = control.answer(b'{"get": "truth"}')
    assert truth == json.loads(json.dumps(truth))
    assert (truth["bolt"], truth["door"], truth["connected"], truth["powered"]) == ("unlocked", "closed", True, True)
    assert (truth["boot"], truth["command_seq"], truth["command_code"]) == (1, 1, Code.DONE.dotted)
    [movement] = truth["movements"]
    assert (movement["cause"], movement["command_id"]) == ("motor", command_id(1).hex())
    assert (truth["log"]["first_seq"], truth["log"]["last_seq"]) == (1, bench.flash.last_seq)
    assert truth["log"]["head"] == bench.flash.head.hex()


def test_the_whole_log_can_be_read(bench: Bench, control: LockControl) -> None:
    log = control.answer(b'{"get": "log"}')
    assert log == {"first_seq": 1, "records": [each.hex() for each in bench.flash.records_from(1, 99)]}


def test_a_power_cycle_is_a_power_cycle(bench: Bench, control: LockControl) -> None:
    bench.live()
    assert control.answer(b'{"do": "power_cycle"}') == {"done": True}
    assert (bench.lock.is_live, bench.flash.values.boot) == (False, 2)


@pytest.mark.parametrize("line", [b"", b"\xff", b"5", b'{"do": "dance"}', b'{"get": 7}', b'{"do": ["knob"]}'])
def test_what_cannot_be_understood_is_an_error(line: bytes, control: LockControl) -> None:
    assert list(control.answer(line)) == ["error"]


async def test_the_socket_answers_line_by_line(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with await serve_control(bench.lock, path):
        reader, writer = await asyncio.open_unix_connection(path)
        for line, answer in [(b'{"do": "knob"}\n', {"done": True}), (b'{"do": "door_open"}\n', {"done": True})]:
            writer.write(line)
            assert json.loads(await reader.readline()) == answer
        writer.write(b"x" * (2 * LINE_SIZE_MAX) + b"\n")
        assert await reader.readline() == b""
        writer.close()


def test_the_door_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "door"
    scheduler = ManualScheduler()
    mechanics = Mechanics(scheduler, motor_ms=MOTOR_MS)
    keep_door(mechanics, path)
    mechanics.hand_turns_knob()
    mechanics.door_opens()
    mechanics.tamper()
    again = Mechanics(scheduler)
    keep_door(again, path)
    assert (again.bolt, again.door, again.tampered) == (Bolt.UNLOCKED, DoorLeaf.OPEN, True)
    assert again.movements == mechanics.movements


def test_a_stroke_that_the_process_did_not_survive_was_a_movement_to_nobody_knows_where(tmp_path: Path) -> None:
    path = tmp_path / "door"
    mechanics = Mechanics(ManualScheduler(), motor_ms=MOTOR_MS)
    keep_door(mechanics, path)
    mechanics.drive(Bolt.UNLOCKED, command_id(1), lambda _code: None)
    again = Mechanics(ManualScheduler())
    keep_door(again, path)
    assert again.bolt is Bolt.UNKNOWN
    assert [movement.command_id for movement in again.movements] == [command_id(1)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bolt": "gone"}'])
def test_another_file_is_no_door(text: str, tmp_path: Path) -> None:
    path = tmp_path / "door"
    path.write_text(text)
    with pytest.raises(ValueError, match=r".*"):
        keep_door(Mechanics(ManualScheduler()), path)
