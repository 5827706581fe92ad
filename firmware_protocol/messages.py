"""The record types of the link: frozen values ⇄ `type u8 ‖ corr u16 ‖ CBOR` (docs/protocol.md §9).

`corr` is drawn by whoever asks, 1 to 65 535, and copied into every answer to it; an event carries 0.
Who may send what stands in `directions`; orders, couriers and time are in `errands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import CHALLENGE_SIZE, KID_SIZE, MESSAGE_SIZE_MAX, OBJECT_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.schema import (
    Choice,
    CodeNumber,
    Many,
    Octets,
    Truth,
    WireMap,
    malformed,
    octets,
    uint,
    wire,
    wire_field,
)
from firmware_protocol.vocabulary import COMMAND_ID_SIZE, HASH_SIZE, LOG_ID_SIZE, Action, Bolt, DoorLeaf

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_HASH_SIZE: Final = 16
"""A LOCK_CMD names the signed command by the first bytes of its SHA-256."""
LOG_BATCH_COUNT_MAX: Final = 16
RECORD_SIZE_MAX: Final = 96
"""Longest record of the lock's log, in bytes."""
RELAY_DATA_SIZE_MAX: Final = 1_980
_CORR_MAX: Final = 0xFFFF
_HEADER_SIZE: Final = 3


class Message(WireMap):
    """Base of every record."""

    __slots__ = ()
    SIZE_MAX = MESSAGE_SIZE_MAX
    TYPE: ClassVar[int]


@wire
class Confirm(Message):
    """Gateway: this session is number N; here is the time as I know it. The lock is inert before."""

    TYPE: ClassVar[int] = 0x01

    session_ctr: int = uint(0)
    utc_lo_s: int | None = uint(1, default=None)
    utc_hi_s: int | None = uint(2, default=None)
    """Both or neither: an interval that the gateway trusts."""

    def problem(self) -> str | None:
        """Half an interval is no interval."""
        return None if (self.utc_lo_s is None) == (self.utc_hi_s is None) else "half an interval"


@wire
class Ping(Message):
    """Either side: answer me."""

    TYPE: ClassVar[int] = 0x02


@wire
class Pong(Message):
    """The answer; a lock tells its uptime, a gateway 0."""

    TYPE: ClassVar[int] = 0x03

    up_ms: int = uint(0)


@wire
class Bye(Message):
    """Either side: I am closing this session now, for this reason."""

    TYPE: ClassVar[int] = 0x0F

    code: Code = wire_field(0, CodeNumber())


@wire
class StateGet(Message):
    """Gateway: how does the door stand?"""

    TYPE: ClassVar[int] = 0x10


@wire
class State(Message):
    """Lock: how the door stands, as an answer."""

    TYPE: ClassVar[int] = 0x11

    bolt: Bolt = wire_field(0, Choice(Bolt))
    door: DoorLeaf = wire_field(1, Choice(DoorLeaf))
    battery_mv: int = uint(2, value_max=65_535)
    motor_busy: bool = wire_field(3, Truth())
    tampered: bool = wire_field(4, Truth())
    up_ms: int = uint(5)
    """The lock's uptime when it looked."""


@wire
class StateEvent(State):
    """Lock: how the door stands, unasked."""

    TYPE: ClassVar[int] = 0x12


@wire
class LockCommand(Message):
    """Gateway: move the bolt, unless your uptime has reached `before_up_ms`."""

    TYPE: ClassVar[int] = 0x20

    command_seq: int = uint(0, value_min=1)
    """Rises by one with each command of an owner epoch, from 1; durable on both sides."""
    action: Action = wire_field(1, Choice(Action))
    command_hash: bytes = octets(2, COMMAND_HASH_SIZE)
    command_id: bytes = octets(3, COMMAND_ID_SIZE)
    actor_kid: bytes = octets(4, KID_SIZE)
    before_up_ms: int = uint(5)

    def problem(self) -> str | None:
        """The lock is told a movement: why somebody wants it never travels to the door."""
        return None if self.action is self.action.movement else "an action that is no movement"


@wire
class CommandAccepted(Message):
    """Lock: the command is in my log and the motor starts."""

    TYPE: ClassVar[int] = 0x21

    command_seq: int = uint(0)
    up_ms: int = uint(1)


@wire
class CommandResult(Message):
    """Lock: how a command went, also as the answer to a query.

    `code` is DONE, FAILED (the bolt did not move, also where the lock never saw the command), one of
    the `motor.*` codes, or PERMITTED while the motor still runs.
    """

    TYPE: ClassVar[int] = 0x22

    command_seq: int = uint(0)
    code: Code = wire_field(1, CodeNumber())
    bolt: Bolt = wire_field(2, Choice(Bolt))
    log_seq: int | None = uint(3, default=None)
    """The record of the lock's log that tells it."""
    up_ms: int = uint(4)


@wire
class CommandQuery(Message):
    """Gateway: what came of this command? Asked after a reconnect instead of sending it again."""

    TYPE: ClassVar[int] = 0x23

    command_seq: int = uint(0, value_min=1)


@wire
class LogRead(Message):
    """Gateway: give me your log from this record on."""

    TYPE: ClassVar[int] = 0x30

    from_seq: int = uint(0, value_min=1)
    count_max: int = uint(1, value_min=1, value_max=LOG_BATCH_COUNT_MAX)


@wire
class LogBatch(Message):
    """Lock: records in order, and the hash that the first of them continues."""

    TYPE: ClassVar[int] = 0x31

    log_id: bytes = octets(0, LOG_ID_SIZE)
    from_seq: int = uint(1, value_min=1)
    previous: bytes = octets(2, HASH_SIZE)
    records: tuple[bytes, ...] = wire_field(3, Many(Octets(1, RECORD_SIZE_MAX), count_max=LOG_BATCH_COUNT_MAX))
    more: bool = wire_field(4, Truth())


@wire
class LogAck(Message):
    """Gateway: up to here I hold your log durably; up to here the central log has signed for it."""

    TYPE: ClassVar[int] = 0x32

    copied_seq: int = uint(0)
    received_seq: int = uint(1)
    """The lock prunes only up to here."""

    def problem(self) -> str | None:
        """What the central log has, the gateway has had."""
        return "received beyond copied" if self.received_seq > self.copied_seq else None


@wire
class LogHeadRecord(Message):
    """Gateway: sign your head (no field). Lock: here it is (a signed LogHead)."""

    TYPE: ClassVar[int] = 0x33

    head: bytes | None = wire_field(0, Octets(1, OBJECT_SIZE_MAX), default=None)


@wire
class EventNotification(Message):
    """Lock: my log has grown to this record. A hint to read, never evidence."""

    TYPE: ClassVar[int] = 0x34

    log_seq: int = uint(0)


@wire
class RelayOpen(Message):
    """Lock: a phone is here; this is the challenge that I gave it."""

    TYPE: ClassVar[int] = 0x50

    channel: int = uint(0)
    """Rises with every phone connection of a session; never used twice in one."""
    challenge: bytes = octets(1, CHALLENGE_SIZE)
    up_ms: int = uint(2)


@wire
class RelayData(Message):
    """Either side: one whole message of the phone's, or for the phone."""

    TYPE: ClassVar[int] = 0x51

    channel: int = uint(0)
    data: bytes = wire_field(1, Octets(1, RELAY_DATA_SIZE_MAX))


@wire
class RelayClose(Message):
    """Either side: this channel is over."""

    TYPE: ClassVar[int] = 0x52

    channel: int = uint(0)
    code: Code = wire_field(1, CodeNumber())


@wire
class ErrorRecord(Message):
    """Either side: your request failed."""

    TYPE: ClassVar[int] = 0x7E

    code: Code = wire_field(0, CodeNumber())
    may_have_executed: bool = wire_field(1, Truth())


def encode_record(message: Message, corr: int) -> bytes:
    """Return the plaintext of a record.

    Raises:
        LocalProtocolError: `corr` is out of range.
    """
    if not 0 <= corr <= _CORR_MAX:
        raise LocalProtocolError("corr out of range")
    return bytes((message.TYPE,)) + corr.to_bytes(2, "big") + message.to_bytes()


def decode_record(data: bytes, accepted: Mapping[int, type[Message]]) -> tuple[int, Message]:
    """Return `(corr, message)` of a record's plaintext.

    Raises:
        RemoteProtocolError: too short, not for this direction (UNSUPPORTED_TYPE), or malformed.
    """
    if len(data) <= _HEADER_SIZE:
        raise malformed("record", "shorter than its header")
    kind = accepted.get(data[0])
    if kind is None:
        raise RemoteProtocolError(Code.UNSUPPORTED_TYPE, f"record type {data[0]:#04x}")
    return int.from_bytes(data[1:_HEADER_SIZE], "big"), kind.from_bytes(data[_HEADER_SIZE:])
