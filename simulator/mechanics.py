"""Bolt, door leaf, motor, battery, and the hands of the people who live there: the physical truth.

The firmware drives the motor and reads the sensors; a test, or the demo, is the hands and the jam. Nothing here
knows of protocols, and nothing here ends with the firmware's power but the motor's run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.vocabulary import Bolt, DoorLeaf

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.seams import Scheduler, Timer

MOTOR_MS: Final = 1_200
"""What a stroke takes, in milliseconds, unless told otherwise."""
BATTERY_MV: Final = 6_000
"""Four fresh cells."""
BATTERY_STROKE_MV: Final = 0.05
"""What a stroke costs: some 30,000 of them on one set."""
MOTOR_MV_MIN: Final = 4_200
"""Below it the motor can't turn."""
_MOVING: Final = {Bolt.LOCKED: Bolt.LOCKING, Bolt.UNLOCKED: Bolt.UNLOCKING}


@unique
class Cause(StrEnum):
    """Who moved the bolt."""

    MOTOR = "motor"
    HAND = "hand"


@unique
class Sensed(StrEnum):
    """What a sensor reports, beside what can be read at any time."""

    BOLT_TURNED_BY_HAND = "bolt_turned_by_hand"
    DOOR_OPENED = "door_opened"
    DOOR_CLOSED = "door_closed"
    TAMPERED = "tampered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One movement of the bolt, noted when it begins: one that was cut short or blocked counts as well."""

    at_ms: int
    cause: Cause
    command_id: bytes | None
    """16 bytes where the motor did it."""
    start: Bolt
    target: Bolt


@dataclass(slots=True, kw_only=True)
class _Run:
    target: Bolt
    timer: Timer
    on_stopped: Callable[[Code], None]


class Mechanics:
    """One lock in one door."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        motor_ms: int = MOTOR_MS,
        bolt: Bolt = Bolt.LOCKED,
        door: DoorLeaf = DoorLeaf.CLOSED,
        battery_mv: float = BATTERY_MV,
    ) -> None:
        self.motor_ms = motor_ms
        self.bolt = bolt
        self.door = door
        self.tampered = False
        self.movements: list[Movement] = []
        self.on_sensed: Callable[[Sensed], None] | None = None
        """The firmware's interrupt line; nobody listens while it has no power."""
        self.on_changed: Callable[[], None] | None = None
        """Called after every change, and for a movement before the motor turns: whoever keeps the truth listens."""
        self._scheduler = scheduler
        self._battery_mv = battery_mv
        self._is_jammed = False
        self._is_slipping = False
        self._run: _Run | None = None

    # What the firmware has.

    @property
    def battery_mv(self) -> int:
        """Open-circuit voltage, in millivolts."""
        return int(self._battery_mv)

    @property
    def is_motor_busy(self) -> bool:
        """Whether the motor turns."""
        return self._run is not None

    def drive(self, target: Bolt, command_id: bytes, on_stopped: Callable[[Code], None]) -> None:
        """Turn the motor until the bolt is at `target`, LOCKED or UNLOCKED; `on_stopped` says how that went, once.

        DONE (also, without a movement, when the bolt is there already), MOTOR_BLOCKED or LOW_VOLTAGE.

        Raises:
            RuntimeError: the firmware's own fault, the motor turns already.
        """
        if self._run is not None:
            raise RuntimeError("the motor turns already")
        if self.bolt is target:
            self._start(target, 0, on_stopped, Code.DONE)
            return
        if self._battery_mv < MOTOR_MV_MIN:
            self._start(target, 0, on_stopped, Code.LOW_VOLTAGE)
            return
        self._battery_mv -= BATTERY_STROKE_MV
        self._move(_MOVING[target], Cause.MOTOR, target, command_id)
        if self._is_jammed:
            self._start(target, self.motor_ms // 2, on_stopped, Code.MOTOR_BLOCKED)
        else:
            self._start(target, self.motor_ms, on_stopped, Code.DONE)

    def cut_motor(self) -> None:
        """Take the motor's power away: the bolt stays where it is, which nobody knows, and `on_stopped` never comes."""
        run, self._run = self._run, None
        if run is not None:
            run.timer.cancel()
            if self.bolt is _MOVING[run.target]:
                self.bolt = Bolt.UNKNOWN
            self._changed()

    # What hands do.

    def hand_turns_knob(self) -> None:
        """Turn the inside thumb-turn: withdraw the bolt, or throw it when it is withdrawn. Works always.

        Against the running motor the hand wins, and what it wants is out.
        """
        target = Bolt.LOCKED if self.bolt is Bolt.UNLOCKED else Bolt.UNLOCKED
        self._move(target, Cause.HAND, target, None)
        run, self._run = self._run, None
        if run is not None:
            run.timer.cancel()
        self._sense(Sensed.BOLT_TURNED_BY_HAND)
        if run is not None:
            run.on_stopped(Code.DONE if target is run.target else Code.MOTOR_BLOCKED)

    def door_opens(self) -> bool:
        """Pull the door; it stays where it is, and this is False, unless it was closed and the bolt is withdrawn."""
        if self.door is DoorLeaf.OPEN or self.bolt is not Bolt.UNLOCKED:
            return False
        self.door = DoorLeaf.OPEN
        self._changed()
        self._sense(Sensed.DOOR_OPENED)
        return True

    def door_closes(self) -> bool:
        """Push the door; it stays open, and this is False, unless it was open and the bolt is withdrawn."""
        if self.door is not DoorLeaf.OPEN or self.bolt is not Bolt.UNLOCKED:
            return False
        self.door = DoorLeaf.CLOSED
        self._changed()
        self._sense(Sensed.DOOR_CLOSED)
        return True

    # What goes wrong.

    def jam(self) -> None:
        """Block the bolt's way for the motor until `free`."""
        self._is_jammed = True

    def slip(self) -> None:
        """Part the motor from the bolt until `free`: it turns, says that it is done, and the bolt is where it was."""
        self._is_slipping = True

    def free(self) -> None:
        """End the jam; a bolt that is stuck half way stays there until something moves it."""
        self._is_jammed = self._is_slipping = False

    def tamper(self) -> None:
        """Open the housing; that it was opened stays known."""
        self.tampered = True
        self._changed()
        self._sense(Sensed.TAMPERED)

    def drain_battery(self, battery_mv: int) -> None:
        """Let the battery fall to `battery_mv`."""
        self._battery_mv = battery_mv

    def _start(self, target: Bolt, delay_ms: int, on_stopped: Callable[[Code], None], code: Code) -> None:
        timer = self._scheduler.call_later(delay_ms, lambda: self._stop(code))
        self._run = _Run(target=target, timer=timer, on_stopped=on_stopped)

    def _stop(self, code: Code) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        if code is Code.DONE:
            slipped = self._is_slipping and self.bolt is _MOVING[run.target]
            self.bolt = self.movements[-1].start if slipped else run.target
        elif code is Code.MOTOR_BLOCKED:
            self.bolt = Bolt.JAMMED
        self._changed()
        run.on_stopped(code)

    def _move(self, bolt: Bolt, cause: Cause, target: Bolt, command_id: bytes | None) -> None:
        movement = Movement(
            at_ms=self._scheduler.now_ms(), cause=cause, command_id=command_id, start=self.bolt, target=target
        )
        self.movements.append(movement)
        self.bolt = bolt
        self._changed()

    def _changed(self) -> None:
        if self.on_changed is not None:
            self.on_changed()

    def _sense(self, sensed: Sensed) -> None:
        if self.on_sensed is not None:
            self.on_sensed(sensed)
