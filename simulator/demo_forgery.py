"""Scene 6, its end: somebody swaps the lock's memory for one with a rewritten past, and is found out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import LogRecord, RecordType
from simulator.demo_audit import RECORDED
from simulator.demo_promises import Promise
from simulator.demo_world import poll
from simulator.flash import Flash
from simulator.flash_media import MemoryMedium
from simulator.journal_leaf import read_leaf

if TYPE_CHECKING:
    from simulator.demo_stage import Stage
    from simulator.journal_leaf import Leaf

NOTICE_S_MAX: Final = 20.0
ALERT: Final = "carelock.alert.raised"
_OTHER_WAY: Final = {RecordType.KNOB_LOCKED: RecordType.KNOB_UNLOCKED}


async def past_is_rewritten(stage: Stage) -> None:
    """The lock comes back with its keys, and with a log that says something else than it has said before."""
    world = stage.world
    known_count = _count(stage, RECORDED)
    await world.lock.stop()
    world.lock_options = ("--address", world.lock_address)  # the memory is another one, the radio is not
    honest = world.files.lock_flash.read_bytes()
    world.files.lock_flash.write_bytes(rewritten(honest))
    await world.start_lock()
    noticed = await poll(lambda: _fork_is_alerted(stage), timeout_s=NOTICE_S_MAX)
    believed_count = _count(stage, RECORDED) - known_count
    held = noticed and believed_count == 0
    found = f"{'an alert' if noticed else 'no alert'}, {believed_count} of its records believed"
    stage.check(Promise.LOCK_CHAIN, held=held, detail=f"a rewritten past: {found}")
    stage.teller.scene(6, f"the lock's memory is swapped for one with another past: {found}")
    await world.lock.stop()
    world.files.lock_flash.write_bytes(honest)
    await world.start_lock()
    told = await poll(lambda: _is_more_than(stage, known_count), timeout_s=NOTICE_S_MAX)
    stage.check(Promise.LOCK_CHAIN, held=told, detail="the honest memory is back, and its log is not read on")
    stage.teller.scene(6, "the honest memory is put back, and its log is read on")


def rewritten(memory: bytes) -> bytes:
    """Return a lock's memory in which its newest turn of the knob went the other way, with a chain that fits."""
    flash = Flash(MemoryMedium(memory))
    flash.load()
    records = list(flash.records_from(flash.first_seq, flash.log_count_max))
    for index in reversed(range(len(records))):
        record = LogRecord.from_bytes(records[index])
        if record.type in _OTHER_WAY:
            records[index] = dataclasses.replace(record, type=_OTHER_WAY[record.type]).to_bytes()
            break
    medium = MemoryMedium()
    forged = Flash(medium)
    forged.load()
    forged.write(values=dataclasses.asdict(flash.values))
    forged.write(records=records)
    return medium.read()


def _leaves(stage: Stage) -> list[Leaf]:
    raws = stage.world.look_at_central(lambda store: [store.leaves(log.gateway_id, log.log_id) for log in store.logs()])
    return [read_leaf(raw) for log in raws or () for raw in log]


def _count(stage: Stage, kind: str) -> int:
    return sum(leaf.type == kind for leaf in _leaves(stage))


async def _is_more_than(stage: Stage, count: int) -> bool:
    return _count(stage, RECORDED) > count


async def _fork_is_alerted(stage: Stage) -> bool:
    return any(leaf.type == ALERT and leaf.data["code"] == Code.LOG_FORK.dotted for leaf in _leaves(stage))
