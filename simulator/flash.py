"""The lock's durable memory: its log, its counters, and what it remembers of commands.

The medium holds entries, `u32 length ‖ u32 CRC-32 ‖ CBOR`, big-endian. An entry is one write of the firmware
and counts whole or not at all: a record and the counter that goes with it can't part. What a power loss tore is
the last entry, and loading drops it. Everything is read once, at load; afterwards writes change RAM and medium alike.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import cbor2

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import chain, genesis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.flash_media import Medium

COMMAND_COUNT_MAX: Final = 256
"""So many command ids, the newest, are refused a second time; of so many commands the outcome is remembered."""
LOG_COUNT_MAX: Final = 1_024
"""Most records in the log, as a lock's flash of 128 KiB holds them."""
COMPACTION_SIZE: Final = 512 * 1_024
"""The medium is rewritten when it has grown to so many bytes: five times a full log."""
_HEADER_SIZE: Final = 8


class FlashDamagedError(Exception):
    """An entry before the last is not what was written: no power loss does that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandMemory:
    """What became of one command of this owner epoch."""

    seq: int
    command_id: bytes
    code: Code
    """PERMITTED from the intent until the result."""
    log_seq: int
    """The newest record that tells of it."""


@dataclass(slots=True, kw_only=True)
class Values:
    """The small values; these defaults are a blank flash."""

    log_id: bytes = b""
    boot: int = 0
    owner_epoch: int = 0
    session_ctr: int = 0
    copied_seq: int = 0
    received_seq: int = 0
    folded_count: int = 0
    """Records that found no room and that no GAP has told of yet."""
    pruned_seq: int = 0
    """Records up to this one are gone from the lock."""
    pruned_head: bytes = b""
    """The chain's hash up to there."""
    gateway_key: bytes = b""
    """The owner's X25519 key; empty: the lock belongs to nobody."""
    gateway_id: bytes = b""
    owner_seq: int = 1
    """The first record that the owner may read."""
    former_key: bytes = b""
    """The owner before, in its slot; empty: there is none."""
    former_id: bytes = b""
    former_session_ctr: int = 0
    former_owner_seq: int = 1
    former_last_seq: int = 0
    """The last record that the former owner may read."""
    version_floor: int = 0
    """The highest protocol version that a gateway has confirmed."""
    keyset: bytes = b""
    state: bytes = b""
    authorities: tuple[bytes, ...] = ()
    time_floor_s: int = 0
    """UTC has come so far: signatures say so."""
    alone_id: bytes = b""
    """The command that the lock decided alone and that has no result yet."""
    alone_actor: bytes = b""
    command_ids: tuple[bytes, ...] = field(default=())
    """Of the last `COMMAND_COUNT_MAX` commands that reached the log, in any owner epoch, oldest first."""


Value = int | bytes | tuple[bytes, ...]
_VALUE_NAMES: Final = frozenset(each.name for each in fields(Values))


class Flash:
    """The memory on `medium`. Nothing is there before `load`, which also starts it over after a power loss."""

    def __init__(self, medium: Medium, *, log_count_max: int = LOG_COUNT_MAX) -> None:
        self.log_count_max = log_count_max
        self.values = Values()
        self._medium = medium
        self._commands: dict[int, CommandMemory] = {}
        self._records: list[bytes] = []
        self._heads: list[bytes] = []
        self._size = 0

    def load(self) -> None:
        """Read the medium, and cut off what a power loss tore.

        Raises:
            FlashDamagedError: it is not the work of a power loss.
        """
        self.values, self._commands, self._records, self._heads = Values(), {}, [], []
        data = self._medium.read()
        self._size = 0
        while (size := _entry_size(data, self._size)) is not None:
            start, self._size = self._size + _HEADER_SIZE, self._size + size
            self._apply(*cbor2.loads(data[start : self._size]))
        if self._size < len(data):
            self._medium.cut(self._size)

    @property
    def first_seq(self) -> int:
        """The oldest record that is still there; one more than `last_seq` when none is."""
        return self.values.pruned_seq + 1

    @property
    def last_seq(self) -> int:
        """The newest record; 0 before any."""
        return self.values.pruned_seq + len(self._records)

    @property
    def head(self) -> bytes:
        """The chain's hash over everything up to `last_seq`."""
        return self.head_at(self.last_seq)

    @property
    def last_command(self) -> CommandMemory | None:
        """The newest command of this owner epoch."""
        return self._commands[max(self._commands)] if self._commands else None

    def command(self, seq: int) -> CommandMemory | None:
        """Return what is remembered of command `seq` of this owner epoch."""
        return self._commands.get(seq)

    def remembers_since(self, seq: int) -> bool:
        """Tell whether no command from `seq` on can have been forgotten."""
        return len(self._commands) < COMMAND_COUNT_MAX or seq >= min(self._commands)

    def head_at(self, seq: int) -> bytes:
        """Return the chain's hash up to record `seq`, which is `first_seq - 1` to `last_seq`."""
        if seq == self.values.pruned_seq:
            return self.values.pruned_head
        return self._heads[seq - self.first_seq]

    def records_from(self, seq: int, count_max: int) -> tuple[bytes, ...]:
        """Return at most `count_max` records from `seq` on, which is not below `first_seq`."""
        start = seq - self.first_seq
        return tuple(self._records[start : start + count_max])

    def format(self, log_id: bytes) -> None:
        """Begin a log on a blank flash.

        Raises:
            PowerLostError: the flash is still blank, or already not.
        """
        self.write(values={"log_id": log_id, "pruned_head": genesis(log_id)})

    def write(
        self,
        *,
        records: Sequence[bytes] = (),
        values: Mapping[str, Value] | None = None,
        command: CommandMemory | None = None,
        prune_to_seq: int = 0,
    ) -> None:
        """Make all of this durable at once.

        A new `owner_epoch` in `values` forgets the commands of the one before (their ids stay); a new `log_id`, the
        records. Pruning comes before the records are added.

        Raises:
            PowerLostError: it is durable as a whole, or not at all.
        """
        changes: dict[str, Any] = dict(values or {})
        if prune_to_seq > self.values.pruned_seq:
            changes |= {"pruned_seq": prune_to_seq, "pruned_head": self.head_at(prune_to_seq)}
        commands = [] if command is None else [_command_row(command)]
        entry = _entry(list(records), changes, commands)
        self._medium.append(entry)
        self._size += len(entry)
        self._apply(list(records), changes, commands)
        if self._size > COMPACTION_SIZE:
            self._compact()

    def _compact(self) -> None:
        snapshot = _entry(self._records, asdict(self.values), [_command_row(each) for each in self._commands.values()])
        self._medium.replace(snapshot)
        self._size = len(snapshot)

    def _apply(self, records: list[bytes], changes: dict[str, Any], commands: list[list[Any]]) -> None:
        if "owner_epoch" in changes:
            self._commands.clear()
        if "log_id" in changes:
            self._records, self._heads = [], []
        elif "pruned_seq" in changes:
            count = changes["pruned_seq"] - self.values.pruned_seq
            del self._records[:count], self._heads[:count]
        for name in _VALUE_NAMES & changes.keys():
            value = changes[name]
            setattr(self.values, name, tuple(value) if isinstance(value, list) else value)
        for record in records:
            self._heads.append(chain(self.head, record))
            self._records.append(record)
        for row in commands:
            self._remember(CommandMemory(seq=row[0], command_id=row[1], code=Code.from_wire(row[2]), log_seq=row[3]))

    def _remember(self, command: CommandMemory) -> None:
        if command.command_id not in self.values.command_ids:
            self.values.command_ids = (*self.values.command_ids, command.command_id)[-COMMAND_COUNT_MAX:]
        self._commands[command.seq] = command
        if len(self._commands) > COMMAND_COUNT_MAX:
            del self._commands[min(self._commands)]


def _command_row(command: CommandMemory) -> list[Any]:
    return [command.seq, command.command_id, command.code.wire, command.log_seq]


def _entry(records: list[bytes], changes: dict[str, Any], commands: list[list[Any]]) -> bytes:
    body = cbor2.dumps([records, changes, commands])
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def _entry_size(data: bytes, start: int) -> int | None:
    """Return the size of the whole entry at `start`, header included, or None where a torn one, or none, stands."""
    if len(data) - start < _HEADER_SIZE:
        return None
    size = _HEADER_SIZE + int.from_bytes(data[start : start + 4], "big")
    end = start + size
    if end > len(data):
        return None
    crc = int.from_bytes(data[start + 4 : start + _HEADER_SIZE], "big")
    if zlib.crc32(data[start + _HEADER_SIZE : end]) == crc:
        return size
    if end == len(data):
        return None
    raise FlashDamagedError(f"the entry at byte {start} is not what was written")
