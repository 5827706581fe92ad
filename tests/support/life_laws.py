"""The laws of the door over a lock's whole life: what moved the bolt, by the world's own record, against all logs.

The truth is what the bolt did, and who signed what; neither lock nor gateway is asked for it.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import CHALLENGE_AGE_MS_MAX
from firmware_protocol.lock_log import LogRecord, RecordType
from firmware_protocol.vocabulary import Bolt
from simulator.demo_audit import DECIDED, OUTCOME, RECORDED
from simulator.journal_leaf import read_leaf
from simulator.mechanics import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.journal_leaf import Leaf
    from simulator.mechanics import Movement
    from tests.support.life_world import LifeWorld

BY_COMMAND: Final = {RecordType.UNLOCKED: Bolt.UNLOCKED, RecordType.LOCKED: Bolt.LOCKED}
BY_HAND: Final = {RecordType.KNOB_UNLOCKED: Bolt.UNLOCKED, RecordType.KNOB_LOCKED: Bolt.LOCKED}


class LawKeeper:
    """Stands beside the bolt from the first day on. `breaches` says what was against the law, and when."""

    def __init__(self, world: LifeWorld) -> None:
        self._world = world
        self._seen_count = 0
        self.breaches: list[str] = []
        self.alone: set[bytes] = set()
        """Commands that the lock permitted while no gateway's session was up."""
        world.mechanics.on_changed = self._look

    def check(self, stage: str) -> None:
        """Fail where a law has been broken so far."""
        assert self.breaches == [], f"{stage}: {self.breaches}"

    def _look(self) -> None:
        """Judge a movement as it begins, before the motor turns."""
        movements = self._world.mechanics.movements
        while self._seen_count < len(movements):
            movement = movements[self._seen_count]
            self._seen_count += 1
            if movement.cause is Cause.MOTOR:
                self._judge(movement, movements[: self._seen_count - 1])

    def _judge(self, movement: Movement, earlier: Sequence[Movement]) -> None:
        now_s = asyncio.get_running_loop().time()
        command_id, signed_s = movement.command_id, None
        if command_id is not None:
            signed_s = self._world.signed.get(command_id)
        if command_id is None or signed_s is None:
            self._breach("law 1: the bolt moved for a command that nobody who may has signed", movement)
            return
        if any(each.command_id == command_id for each in earlier):
            self._breach("law 2: the bolt moved twice for one command", movement)
        if now_s - signed_s > CHALLENGE_AGE_MS_MAX / 1_000:
            self._breach(f"law 3: the bolt moved {now_s - signed_s:.1f} s after the command was signed", movement)
        intents = [each for each in lock_records(self._world) if each.type is RecordType.COMMAND_INTENT]
        if command_id not in {each.cmd_id for each in intents}:
            self._breach("law 1: the bolt moved before the lock had written that it would", movement)
        if not self._world.lock.is_live:
            self.alone.add(command_id)

    def _breach(self, what: str, movement: Movement) -> None:
        self.breaches.append(f"{what}: {movement}")


def lock_records(world: LifeWorld) -> list[LogRecord]:
    """Return what the lock itself still has."""
    flash = world.lock.flash
    return [LogRecord.from_bytes(raw) for raw in flash.records_from(flash.first_seq, flash.log_count_max)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Every command with a valid signature that was sent in a life, and how it was answered."""

    opened: Sequence[tuple[bytes, Code]]
    """Those of people who may, with the code of the end."""
    alone: set[bytes]
    """Those among them that the lock decided."""
    refused: Sequence[tuple[bytes, Code]]
    """Those of people who may not, refused by a gateway."""
    refused_alone: Sequence[tuple[bytes, Code]]
    """The same, refused by a lock that was alone."""


def audit(world: LifeWorld, account: Account, *, alarms: Sequence[str]) -> None:
    """Hold the central log against the lock, and both against what the world saw."""
    leaves = all_leaves(world)
    records = _told_of_homes(world)
    _check_ids(leaves)
    _check_copies(leaves, records)
    _check_movements(world.mechanics.movements, records)
    _check_decisions(leaves, records, account)
    assert sorted(alarm.code for alarm in world.central_store.alarms()) == sorted(alarms)


def all_leaves(world: LifeWorld) -> list[Leaf]:
    """Return everything that the central log holds under signed checkpoints, log by log in their order."""
    return [
        read_leaf(raw)
        for held in world.central_store.logs()
        for raw in world.central_store.leaves(held.gateway_id, held.log_id)
    ]


def _told_of_homes(world: LifeWorld) -> list[LogRecord]:
    """Return what the lock has written while it was somebody's: at the central log once, in order, and nothing else.

    What it writes between two homes is nobody's to read. The flash of this life never had to prune.
    """
    flash, store, lock_id = world.lock.flash, world.central_store, world.home.lock_id
    assert flash.first_seq == 1
    kept = flash.records_from(1, flash.log_count_max)
    told, is_owned = [], False
    for seq, raw in enumerate(kept, start=1):
        record = LogRecord.from_bytes(raw)
        is_owned = is_owned or record.type is RecordType.OWNER
        row = store.lock_record(lock_id, flash.values.log_id, seq)
        if not is_owned:
            assert row is None, f"somebody read record {seq}, which is nobody's"
            continue
        assert row is not None, f"record {seq} never came: {record}"
        assert (row.record, row.head) == (raw, flash.head_at(seq)), f"record {seq} is not the lock's"
        told.append(record)
        is_owned = record.type is not RecordType.RELEASED
    return told


def _check_ids(leaves: Sequence[Leaf]) -> None:
    names = Counter((leaf.log_id, leaf.index) for leaf in leaves)
    assert max(names.values()) == 1
    ends = {log_id: max(leaf.index for leaf in leaves if leaf.log_id == log_id) for log_id, _ in names}
    assert len(leaves) == sum(end + 1 for end in ends.values()), "a log with a hole"


def _check_copies(leaves: Sequence[Leaf], records: Sequence[LogRecord]) -> None:
    """Check that each record was told, and every time as the same: what differs is no copy."""
    told: dict[int, set[str]] = {}
    for leaf in leaves:
        if leaf.type == RECORDED:
            told.setdefault(leaf.data["seq"], set()).add(leaf.data["record"])
    assert {seq for seq, copies in told.items() if len(copies) > 1} == set()
    once = [LogRecord.from_bytes(base64.b64decode(copy)) for _, copies in sorted(told.items()) for copy in copies]
    assert once == list(records)


def _check_movements(movements: Sequence[Movement], records: Sequence[LogRecord]) -> None:
    by_command = [(record.cmd_id, BY_COMMAND[record.type]) for record in records if record.type in BY_COMMAND]
    assert by_command == [(each.command_id, each.target) for each in movements if each.cause is Cause.MOTOR]
    by_hand = [BY_HAND[record.type] for record in records if record.type in BY_HAND]
    assert by_hand == [each.target for each in movements if each.cause is Cause.HAND]
    results = [record.cmd_id for record in records if record.type is RecordType.COMMAND_RESULT]
    assert results == [command_id for command_id, _ in by_command]
    intents = [record.cmd_id for record in records if record.type is RecordType.COMMAND_INTENT]
    assert intents == results


def _check_decisions(leaves: Sequence[Leaf], records: Sequence[LogRecord], account: Account) -> None:
    """Check that each answer has one decision, and that what a gateway permitted stands before what the lock did."""
    by_gateways = [(command_id, code) for command_id, code in account.opened if command_id not in account.alone]
    expected = [*by_gateways, *account.refused]
    decided = [leaf for leaf in leaves if leaf.type == DECIDED]
    assert Counter(map(_command_and_code, decided)) == Counter(
        (command_id.hex(), (Code.PERMITTED if code is Code.DONE else code).dotted) for command_id, code in expected
    )
    outcomes = Counter(_command_and_code(leaf) for leaf in leaves if leaf.type == OUTCOME)
    assert outcomes == Counter((command_id.hex(), code.dotted) for command_id, code in by_gateways)
    refused_alone = [(record.cmd_id, record.result) for record in records if record.type is RecordType.REFUSED]
    assert refused_alone == [(command_id, code.wire) for command_id, code in account.refused_alone]
    permitted = {
        leaf.data["command_id"]: place for place, leaf in enumerate(leaves) if leaf in decided and _permits(leaf)
    }
    for place, leaf in enumerate(leaves):
        if leaf.type == RECORDED and leaf.data["kind"] == "command_intent":
            command_id = leaf.data["command_id"]
            assert (command_id in permitted) != (bytes.fromhex(command_id) in account.alone)
            assert permitted.get(command_id, -1) < place, "the lock acted before the gateway had written its decision"


def _command_and_code(leaf: Leaf) -> tuple[str, str]:
    return leaf.data["command_id"], leaf.data["code"]


def _permits(leaf: Leaf) -> bool:
    return bool(leaf.data["code"] == Code.PERMITTED.dotted)
