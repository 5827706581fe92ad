"""What the firmware writes down: records with the lock's own clock, and what happens when the log is full."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_protocol.lock_log import IMPORTANCE, RESULT_MAX, Importance, LogRecord, RecordType, genesis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.flash import CommandMemory, Flash, Value

KEPT_RESERVE_DIVISOR: Final = 4
"""The last quarter of the log is for records that are never folded: a stranger at the door can't fill it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A record before it has a number and a time."""

    type: RecordType
    actor: bytes | None = None
    cmd_id: bytes | None = None
    result: int | None = None


class Diary:
    """The log of one boot. `up_ms` is the lock's uptime."""

    def __init__(self, flash: Flash, up_ms: Callable[[], int], *, boot: int) -> None:
        self.boot = boot
        """Number of this boot, also while the flash has not heard of it."""
        self._flash = flash
        self._up_ms = up_ms
        self._wall_offset_ms: int | None = None

    @property
    def wall_s(self) -> int | None:
        """UTC seconds, None before the clock was set."""
        return None if self._wall_offset_ms is None else (self._up_ms() + self._wall_offset_ms) // 1_000

    def set_wall(self, lo_s: int, hi_s: int) -> None:
        """Take the middle of the interval as the time."""
        self._wall_offset_ms = (lo_s + hi_s) * 500 - self._up_ms()

    def write(
        self,
        *notes: Note,
        values: Mapping[str, Value] | None = None,
        command: CommandMemory | None = None,
        last_seq_as: Sequence[str] = (),
    ) -> int:
        """Make records, values and what is known of a command durable in one write; return the last record's number.

        `command` and the values named in `last_seq_as` get that number too; the record must be one that is never
        folded.

        Raises:
            PowerLostError: all of it is there, or nothing.
        """
        kept = self._admit(notes)
        folded_count = self._flash.values.folded_count + len(notes) - len(kept)
        if folded_count and self._room(Importance.ROUTINE) > len(kept):
            kept.insert(0, Note(type=RecordType.GAP, result=min(folded_count, RESULT_MAX)))
            folded_count = 0
        changes: dict[str, Value] = dict(values or {})
        if folded_count != self._flash.values.folded_count:
            changes["folded_count"] = folded_count
        last_seq = self._flash.last_seq + len(kept)
        changes |= dict.fromkeys(last_seq_as, last_seq)
        self._flash.write(
            records=[self._record(note, seq) for seq, note in enumerate(kept, start=self._flash.last_seq + 1)],
            values=changes,
            command=None if command is None else replace(command, log_seq=last_seq),
            prune_to_seq=last_seq - self._flash.log_count_max,
        )
        return last_seq

    def begin_anew(self, log_id: bytes, *notes: Note, values: Mapping[str, Value]) -> None:
        """Forget the log and begin another one with these records, in one write.

        Raises:
            PowerLostError: all of it is there, or nothing.
        """
        fresh: dict[str, Value] = {
            "log_id": log_id,
            "pruned_seq": 0,
            "pruned_head": genesis(log_id),
            "copied_seq": 0,
            "received_seq": 0,
        }
        self._flash.write(
            records=[self._record(note, seq) for seq, note in enumerate(notes, start=1)],
            values={**fresh, "folded_count": 0, **values},
        )

    def _admit(self, notes: Sequence[Note]) -> list[Note]:
        kept: list[Note] = []
        for note in notes:
            importance = IMPORTANCE[note.type]
            # A full log never stops a movement: what proves one is written even over the oldest record.
            if importance is Importance.KEPT or self._room(importance) > len(kept):
                kept.append(note)
        return kept

    def _room(self, importance: Importance) -> int:
        """How many records of this class fit without dropping one that the gateway does not have."""
        count_max = self._flash.log_count_max
        if importance is not Importance.KEPT:
            count_max -= count_max // KEPT_RESERVE_DIVISOR
        return count_max - (self._flash.last_seq - max(self._flash.values.copied_seq, self._flash.values.pruned_seq))

    def _record(self, note: Note, seq: int) -> bytes:
        return LogRecord(
            seq=seq,
            boot=self.boot,
            up_s=self._up_ms() // 1_000,
            wall_s=self.wall_s,
            type=note.type,
            actor=note.actor,
            cmd_id=note.cmd_id,
            result=note.result,
        ).to_bytes()
