"""The lock's hash-chained log: its records, its chain, and how a reader checks a batch (docs/protocol.md §12).

The lock writes with no gateway near. A reader holds a `LogPosition` per log and takes only batches that
continue it: a hole is LOG_GAP, another history is LOG_FORK, and in both cases nothing of the batch counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.constants import KID_SIZE
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.messages import RECORD_SIZE_MAX
from firmware_protocol.schema import Choice, Octets, Uint, malformed
from firmware_protocol.vocabulary import COMMAND_ID_SIZE, LOG_ID_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_protocol.cbor import Value
    from firmware_protocol.schema import Codec

CHAIN_DOMAIN: Final = b"carelock/ev1"
RESULT_MAX: Final = 0xFFFF
"""Largest `result`: a wire number of `codes.Code`, or a count (GAP)."""


@unique
class Importance(IntEnum):
    """What a lock stops recording first when its log fills up: the lowest class.

    A record once in the chain can't be taken out of its middle, so a class is folded as it arrives: counted, and
    told by one GAP as soon as there is room.
    """

    ROUTINE = 1
    """Says how the lock fares; includes REFUSED, which a stranger at the door can cause at will."""
    DOOR = 2
    """Who may have come or gone."""
    KEPT = 3
    """What proves the log itself, and what a command did (`at most once` rests on it): never folded."""


@unique
class RecordType(IntEnum):
    """What a record tells; numbers are fixed by docs/protocol.md §12."""

    BOOT = 1
    """The lock started; `boot` has just been raised."""
    OWNER = 2
    """A PairingOrder was accepted; earlier records belong to the earlier home."""
    RESET = 3
    """Factory reset; the first record of a new log."""
    TIME = 4
    """The wall clock was set."""
    SESSION = 5
    """A gateway's session was confirmed; `actor` is the gateway's kid."""
    RELEASED = 6
    """A DecommissionOrder was accepted: the lock belongs to nobody."""
    UNLOCKED = 10
    """The bolt was withdrawn by a command."""
    LOCKED = 11
    """The bolt was thrown by a command."""
    COMMAND_INTENT = 12
    """A command is about to move the bolt; durable before it does, so that its id can't act twice."""
    COMMAND_RESULT = 13
    """How that command went: `result` is the code's wire number."""
    KNOB_UNLOCKED = 20
    """Withdrawn with the inside thumb-turn."""
    KNOB_LOCKED = 21
    """Thrown with the inside thumb-turn."""
    KEY_UNLOCKED = 22
    """Withdrawn with a key in the cylinder."""
    KEY_LOCKED = 23
    """Thrown with a key in the cylinder."""
    AUTO_LOCKED = 24
    """Thrown by the lock's own timer."""
    DOOR_OPENED = 30
    """The door leaf left its frame."""
    DOOR_CLOSED = 31
    """The door leaf came home."""
    JAMMED = 40
    """The bolt met resistance and is neither in nor out."""
    LOW_BATTERY = 41
    """The battery passed the warning level; `result` is in millivolts."""
    TAMPER = 42
    """The housing was opened or shaken."""
    REFUSED = 50
    """The lock refused a command that it decided alone; `result` is the code's wire number."""
    GAP = 60
    """Records below KEPT that found no room in a full log; `result` is how many, at most RESULT_MAX."""


IMPORTANCE: Final[Mapping[RecordType, Importance]] = {
    RecordType.BOOT: Importance.KEPT,
    RecordType.OWNER: Importance.KEPT,
    RecordType.RESET: Importance.KEPT,
    RecordType.TIME: Importance.ROUTINE,
    RecordType.SESSION: Importance.ROUTINE,
    RecordType.RELEASED: Importance.KEPT,
    RecordType.UNLOCKED: Importance.DOOR,
    RecordType.LOCKED: Importance.DOOR,
    RecordType.COMMAND_INTENT: Importance.KEPT,
    RecordType.COMMAND_RESULT: Importance.KEPT,
    RecordType.KNOB_UNLOCKED: Importance.DOOR,
    RecordType.KNOB_LOCKED: Importance.DOOR,
    RecordType.KEY_UNLOCKED: Importance.DOOR,
    RecordType.KEY_LOCKED: Importance.DOOR,
    RecordType.AUTO_LOCKED: Importance.DOOR,
    RecordType.DOOR_OPENED: Importance.DOOR,
    RecordType.DOOR_CLOSED: Importance.DOOR,
    RecordType.JAMMED: Importance.DOOR,
    RecordType.LOW_BATTERY: Importance.ROUTINE,
    RecordType.TAMPER: Importance.DOOR,
    RecordType.REFUSED: Importance.ROUTINE,
    RecordType.GAP: Importance.KEPT,
}

_NAMES_COMMAND: Final = frozenset({RecordType.COMMAND_INTENT, RecordType.COMMAND_RESULT})
_STATES_RESULT: Final = frozenset({RecordType.COMMAND_RESULT, RecordType.REFUSED, RecordType.GAP})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One record, a CBOR array of these fields in this order."""

    seq: int
    """From 1, without a hole."""
    boot: int
    """Count of starts of the lock, from 0."""
    up_s: int
    """Whole seconds since that start."""
    wall_s: int | None
    """UTC seconds by the lock's clock, or None where it was never set since the start."""
    type: RecordType
    actor: bytes | None
    """Kid (8 bytes) of whoever signed for it, or None where nobody did."""
    cmd_id: bytes | None
    """The signer's command id, 16 bytes; always there in COMMAND_INTENT and COMMAND_RESULT."""
    result: int | None
    """Meaning by `type`; always there in COMMAND_RESULT, REFUSED and GAP."""

    def to_bytes(self) -> bytes:
        """Return the record as it is stored, sent and hashed.

        Raises:
            LocalProtocolError: `from_bytes` would refuse it.
        """
        data = cbor.encode(tuple(codec.encode(getattr(self, name)) for name, codec in _CODECS.items()))
        try:
            LogRecord.from_bytes(data)
        except RemoteProtocolError as error:
            raise LocalProtocolError(f"not a record: {error.detail}") from error
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read strictly.

        Raises:
            RemoteProtocolError: `data` is not the one encoding of a record.
        """
        row = cbor.decode(data, size_max=RECORD_SIZE_MAX)
        if not isinstance(row, tuple) or len(row) != len(_CODECS):
            raise malformed("LogRecord", f"not an array of {len(_CODECS)}")
        pairs = zip(_CODECS.items(), row, strict=True)
        record = cls(**{name: codec.decode(value, f"LogRecord.{name}") for (name, codec), value in pairs})
        if record.cmd_id is None and record.type in _NAMES_COMMAND:
            raise malformed("LogRecord.cmd_id", f"{record.type.name} without a command id")
        if record.result is None and record.type in _STATES_RESULT:
            raise malformed("LogRecord.result", f"{record.type.name} without a result")
        return record


@dataclass(frozen=True, slots=True)
class _OrNull:
    """A shape that may also be null."""

    codec: Codec

    def encode(self, value: object) -> Value:
        """Return what CBOR carries."""
        return None if value is None else self.codec.encode(value)

    def decode(self, value: Value, where: str) -> object:
        """Return the value, or None."""
        return None if value is None else self.codec.decode(value, where)


_CODECS: Final[Mapping[str, Codec]] = {
    "seq": Uint(value_min=1),
    "boot": Uint(),
    "up_s": Uint(),
    "wall_s": _OrNull(Uint()),
    "type": Choice(RecordType),
    "actor": _OrNull(Octets(KID_SIZE, KID_SIZE)),
    "cmd_id": _OrNull(Octets(COMMAND_ID_SIZE, COMMAND_ID_SIZE)),
    "result": _OrNull(Uint(value_max=RESULT_MAX)),
}


def genesis(log_id: bytes) -> bytes:
    """Return h_0 = SHA-256("carelock/ev1" ‖ log_id), which the first record (seq 1) continues."""
    return hashlib.sha256(CHAIN_DOMAIN + log_id).digest()


def chain(previous: bytes, record: bytes) -> bytes:
    """Return h_n = SHA-256("carelock/ev1" ‖ h_{n-1} ‖ record_n).

    With `previous` of 32 bytes, no record can make it collide with `genesis` of a 16-byte log id.
    """
    return hashlib.sha256(CHAIN_DOMAIN + previous + record).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPosition:
    """How far a reader holds one log of one lock."""

    log_id: bytes
    """16 bytes; another one is another log, from the start."""
    seq: int
    """Number of the last record held; 0 before any."""
    head: bytes
    """The chain's hash over all up to `seq`, 32 bytes."""

    @classmethod
    def start(cls, log_id: bytes) -> Self:
        """Return the position before the first record.

        Raises:
            LocalProtocolError: a log id of another size.
        """
        if len(log_id) != LOG_ID_SIZE:
            raise LocalProtocolError(f"a log id has {LOG_ID_SIZE} bytes")
        return cls(log_id=log_id, seq=0, head=genesis(log_id))


def verify_batch(
    position: LogPosition, *, from_seq: int, previous: bytes, records: Sequence[bytes]
) -> tuple[tuple[LogRecord, ...], LogPosition]:
    """Return the records of a batch that continues `position`, and the position after them.

    An empty batch that continues it is fine: nothing is new. That the batch is of this log (`log_id`)
    is for the caller to compare.

    Raises:
        RemoteProtocolError: LOG_GAP, when records are missing before or within the batch; LOG_FORK, when
            it starts at a record already held or continues another history; MALFORMED or TOO_LARGE, when
            a record is none.
    """
    if from_seq > position.seq + 1:
        raise RemoteProtocolError(Code.LOG_GAP, f"batch from {from_seq} after record {position.seq}")
    if from_seq <= position.seq:
        raise RemoteProtocolError(Code.LOG_FORK, f"batch from {from_seq}, already held up to {position.seq}")
    if previous != position.head:
        raise RemoteProtocolError(Code.LOG_FORK, f"batch does not continue the chain at record {position.seq}")
    parsed, head = [], position.head
    for seq, data in enumerate(records, start=from_seq):
        record = LogRecord.from_bytes(data)
        if record.seq != seq:
            raise RemoteProtocolError(Code.LOG_GAP, f"record {record.seq} in the place of {seq}")
        parsed.append(record)
        head = chain(head, data)
    after = LogPosition(log_id=position.log_id, seq=position.seq + len(parsed), head=head)
    return tuple(parsed), after
