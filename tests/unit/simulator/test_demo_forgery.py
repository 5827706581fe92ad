from __future__ import annotations

from firmware_protocol.lock_log import LogRecord, RecordType
from simulator.demo_forgery import rewritten
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium


def record(seq: int, kind: RecordType) -> bytes:
    return LogRecord(seq=seq, boot=1, up_s=0, wall_s=None, type=kind, actor=None, cmd_id=None, result=None).to_bytes()


def loaded(memory: bytes) -> Flash:
    flash = Flash(MemoryMedium(memory))
    flash.load()
    return flash


def memory_with(*kinds: RecordType) -> bytes:
    medium = MemoryMedium()
    flash = Flash(medium)
    flash.load()
    flash.format(bytes(range(16)))
    flash.write(
        records=[record(seq, kind) for seq, kind in enumerate(kinds, start=1)],
        values={"boot": 3, "session_ctr": 65, "copied_seq": 2},
    )
    return medium.read()


def test_the_newest_turn_of_the_knob_is_turned_around() -> None:
    honest = memory_with(RecordType.KNOB_LOCKED, RecordType.BOOT, RecordType.KNOB_LOCKED, RecordType.DOOR_OPENED)
    forged = loaded(rewritten(honest))
    kinds = [LogRecord.from_bytes(each).type for each in forged.records_from(1, 10)]
    assert kinds == [
        RecordType.KNOB_LOCKED,
        RecordType.BOOT,
        RecordType.KNOB_UNLOCKED,
        RecordType.DOOR_OPENED,
    ]


def test_the_forged_chain_fits_itself_and_not_what_was_copied() -> None:
    honest = memory_with(RecordType.BOOT, RecordType.KNOB_LOCKED)
    before, after = loaded(honest), loaded(rewritten(honest))
    assert after.head_at(1) == before.head_at(1)
    assert after.head != before.head


def test_the_forged_memory_keeps_everything_else() -> None:
    honest = memory_with(RecordType.KNOB_LOCKED)
    assert loaded(rewritten(honest)).values == loaded(honest).values
