"""Commands to the bolt: each moves it at most once, whatever is repeated, delayed, or cut off in the middle.

What keeps that is the order: the intent is durable before the gateway hears of it and before the motor turns, and
what is in the flash, number or id, never moves the bolt again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import RecordType
from firmware_protocol.messages import CommandAccepted, CommandResult, ErrorRecord
from firmware_protocol.vocabulary import Action, Bolt
from simulator.flash import COMMAND_COUNT_MAX, CommandMemory
from simulator.lock_diary import Note

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.messages import LockCommand, Message
    from simulator.boot_clock import BootClock
    from simulator.flash import Flash, Value
    from simulator.lock_diary import Diary
    from simulator.mechanics import Mechanics
    from simulator.seams import Timer

MOTOR_MS_MAX: Final = 5_000
"""The firmware cuts the motor off after so long, in milliseconds: a stroke that does not end burns it."""
_TARGET: Final = {Action.UNLOCK: Bolt.UNLOCKED, Action.LOCK: Bolt.LOCKED}
_MOVED: Final = {Action.UNLOCK: RecordType.UNLOCKED, Action.LOCK: RecordType.LOCKED}


class CommandBook:
    """Obeys, refuses and remembers. `on_moved` is called when the bolt has begun or ceased to move."""

    def __init__(
        self, *, flash: Flash, diary: Diary, mechanics: Mechanics, clock: BootClock, on_moved: Callable[[], None]
    ) -> None:
        self._flash = flash
        self._diary = diary
        self._mechanics = mechanics
        self._clock = clock
        self._on_moved = on_moved
        self._timeout: Timer | None = None

    def obey(self, command: LockCommand, answer: Callable[[Message], None]) -> None:
        """Refuse with an ErrorRecord, or accept, move the bolt, and answer with the result."""
        refusal = self._refusal(command)
        if refusal is not None:
            answer(refusal)
            return
        intent = Note(type=RecordType.COMMAND_INTENT, actor=command.actor_kid, cmd_id=command.command_id)
        memory = CommandMemory(
            seq=command.command_seq, command_id=command.command_id, code=Code.PERMITTED, log_seq=self._flash.last_seq
        )
        self._diary.write(intent, command=memory)
        answer(CommandAccepted(command_seq=command.command_seq, up_ms=self._clock.up_ms()))

        def finished(code: Code) -> None:
            last = self._flash.last_command
            memory = None if last is None else replace(last, code=code)
            self._diary.write(*_story(command.action, command.command_id, command.actor_kid, code), command=memory)
            answer(self.result(command.command_seq))

        self._move(command.action, command.command_id, finished)

    def move_alone(
        self,
        action: Action,
        command_id: bytes,
        actor: bytes,
        *,
        accepted: Callable[[], None],
        finished: Callable[[Code], None],
    ) -> None:
        """Move the bolt by the lock's own decision; its id is durable before, and is never obeyed again."""
        ids = (*self._flash.values.command_ids, command_id)[-COMMAND_COUNT_MAX:]
        intent = Note(type=RecordType.COMMAND_INTENT, actor=actor, cmd_id=command_id)
        self._diary.write(intent, values={"command_ids": ids, "alone_id": command_id, "alone_actor": actor})
        accepted()

        def told(code: Code) -> None:
            self._diary.write(*_story(action, command_id, actor, code), values={"alone_id": b"", "alone_actor": b""})
            finished(code)

        self._move(action, command_id, told)

    def result(self, seq: int) -> CommandResult:
        """Say what became of a command, also of one that never came."""
        memory = self._flash.command(seq)
        if memory is not None:
            code = memory.code
        else:
            # Numbers rise: one that is neither remembered nor forgotten was never obeyed.
            code = Code.FAILED if self._flash.remembers_since(seq) else Code.MAY_HAVE_EXECUTED
        return CommandResult(
            command_seq=seq,
            code=code,
            bolt=self._mechanics.bolt,
            log_seq=None if memory is None else memory.log_seq,
            up_ms=self._clock.up_ms(),
        )

    def _refusal(self, command: LockCommand) -> ErrorRecord | None:
        if command.command_id in self._flash.values.command_ids:
            return ErrorRecord(code=Code.DUPLICATE, may_have_executed=True)
        last = self._flash.last_command
        if last is not None and command.command_seq <= last.seq:
            return ErrorRecord(code=Code.SUPERSEDED, may_have_executed=False)
        if self._clock.up_ms() >= command.before_up_ms:
            return ErrorRecord(code=Code.TOO_LATE, may_have_executed=False)
        if self._mechanics.is_motor_busy:
            return ErrorRecord(code=Code.BUSY, may_have_executed=False)
        return None

    def _move(self, action: Action, command_id: bytes, finished: Callable[[Code], None]) -> None:
        def finish(code: Code) -> None:
            if self._timeout is not None:
                self._timeout.cancel()
            finished(code)
            self._on_moved()

        def give_up() -> None:
            self._mechanics.cut_motor()
            finish(Code.MOTOR_TIMEOUT)

        self._timeout = self._clock.call_later(MOTOR_MS_MAX, give_up)
        self._mechanics.drive(_TARGET[action], command_id, lambda code: self._clock.turn(lambda: finish(code)))
        self._on_moved()


def unfinished(flash: Flash) -> tuple[tuple[Note, ...], dict[str, Value], CommandMemory | None]:
    """Return what a boot must write about commands in the middle of which the power went.

    Nobody knows how far the bolt came, and MAY_HAVE_EXECUTED says so.
    """
    notes: list[Note] = []
    values: dict[str, Value] = {}
    if flash.values.alone_id:
        notes.append(_result_note(flash.values.alone_id, Code.MAY_HAVE_EXECUTED, flash.values.alone_actor))
        values = {"alone_id": b"", "alone_actor": b""}
    last = flash.last_command
    if last is None or last.code is not Code.PERMITTED:
        return tuple(notes), values, None
    notes.append(_result_note(last.command_id, Code.MAY_HAVE_EXECUTED, None))
    return tuple(notes), values, replace(last, code=Code.MAY_HAVE_EXECUTED)


def _story(action: Action, command_id: bytes, actor: bytes, code: Code) -> tuple[Note, ...]:
    told = [Note(type=kind, actor=actor, cmd_id=command_id) for kind in _told(action, code)]
    return (*told, _result_note(command_id, code, actor))


def _told(action: Action, code: Code) -> tuple[RecordType, ...]:
    match code:
        case Code.DONE:
            return (_MOVED[action],)
        case Code.MOTOR_BLOCKED:
            return (RecordType.JAMMED,)
        case _:
            return ()


def _result_note(command_id: bytes, code: Code, actor: bytes | None) -> Note:
    return Note(type=RecordType.COMMAND_RESULT, actor=actor, cmd_id=command_id, result=code.wire)
