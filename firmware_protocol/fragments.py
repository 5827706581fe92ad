"""Messages to and from attribute values of any ATT MTU (docs/protocol.md §7).

Byte 0 of a value is `kkFLssss`: kind, FIRST, LAST, and a sequence number modulo 16 that starts at 0
in each direction when the link comes up. FIRST adds the total length of the message, two bytes,
big-endian. One message at a time: nothing interleaves, and ATT neither loses nor reorders, so
whatever does not fit is an attack or a bug and ends the link.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import MESSAGE_SIZE_MAX, REASSEMBLY_MS_MAX, VALUE_SIZE_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

VALUE_SIZE_MIN: Final = 4
"""Header, length and one byte: the shortest value in which every FIRST carries something."""

_FIRST: Final = 0x20
_LAST: Final = 0x10
_SEQ_MASK: Final = 0x0F
_KIND_SHIFT: Final = 6
_LENGTH_SIZE: Final = 2


@unique
class FragmentKind(IntEnum):
    """What a message is; the number is the two topmost bits of each of its fragments."""

    RECORD = 0
    HANDSHAKE = 1
    PLAIN = 2


_KIND_RESERVED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One whole message, 1 to 2,048 bytes."""

    kind: FragmentKind
    data: bytes


class Fragmenter:
    """The sending direction of one link: messages in, attribute values out."""

    def __init__(self, value_size_max: int) -> None:
        """Start at sequence number 0.

        Args:
            value_size_max: longest value that the link carries, in bytes (ATT MTU - 3); more than
                512 is used as 512, because BlueZ cuts longer values silently.

        Raises:
            LocalProtocolError: less than 4.
        """
        if value_size_max < VALUE_SIZE_MIN:
            raise LocalProtocolError(f"a value of {value_size_max} bytes has no room for a fragment")
        self._value_size = min(value_size_max, VALUE_SIZE_MAX)
        self._seq = 0

    def fragment(self, kind: FragmentKind, message: bytes) -> tuple[bytes, ...]:
        """Return the values that carry `message`, to be sent in this order with nothing between them.

        Raises:
            LocalProtocolError: the message is empty or longer than 2,048 bytes.
        """
        if not 1 <= len(message) <= MESSAGE_SIZE_MAX:
            raise LocalProtocolError(f"a message of {len(message)} bytes, 1 to {MESSAGE_SIZE_MAX} allowed")
        values = []
        rest = len(message).to_bytes(_LENGTH_SIZE, "big") + message
        flags = _FIRST
        while rest:
            chunk, rest = rest[: self._value_size - 1], rest[self._value_size - 1 :]
            flags |= 0 if rest else _LAST
            values.append(bytes([kind << _KIND_SHIFT | flags | self._seq]) + chunk)
            self._seq = self._seq + 1 & _SEQ_MASK
            flags = 0
        return tuple(values)


@dataclass(slots=True, kw_only=True)
class _Partial:
    """A message of which LAST has not come yet."""

    kind: FragmentKind
    size: int
    deadline_ms: int
    data: bytearray


class Reassembler:
    """The receiving direction of one link: attribute values in, messages out.

    After an error it is dead: the link must be dropped, and a new one starts with a new object.
    """

    def __init__(self) -> None:
        """Expect sequence number 0 and FIRST."""
        self._seq = 0
        self._partial: _Partial | None = None
        self._is_dead = False

    @property
    def deadline_ms(self) -> int | None:
        """Last moment at which the message in progress may be completed; None between messages."""
        return None if self._partial is None else self._partial.deadline_ms

    def check(self, now_ms: int) -> None:
        """Refuse to wait any longer.

        Raises:
            RemoteProtocolError: the message in progress is past its deadline.
            LocalProtocolError: an error came before.
        """
        self._refuse_if_dead()
        if self._partial is not None and now_ms > self._partial.deadline_ms:
            raise self._malformed(f"message not complete after {REASSEMBLY_MS_MAX} ms")

    def receive_value(self, value: bytes, now_ms: int) -> Message | None:
        """Return the message that `value` completes, or None while more of it is to come.

        Raises:
            RemoteProtocolError: MALFORMED: a value that cannot stand here; drop the link.
            LocalProtocolError: an error came before.
        """
        self.check(now_ms)
        if not 1 <= len(value) <= VALUE_SIZE_MAX:
            raise self._malformed(f"value of {len(value)} bytes")
        header = value[0]
        if header >> _KIND_SHIFT == _KIND_RESERVED:
            raise self._malformed("reserved kind of fragment")
        if header & _SEQ_MASK != self._seq:
            raise self._malformed("fragment out of sequence")
        self._seq = self._seq + 1 & _SEQ_MASK
        kind = FragmentKind(header >> _KIND_SHIFT)
        if header & _FIRST:
            partial, chunk = self._start(kind, value, now_ms)
        else:
            partial, chunk = self._continue(kind), value[1:]
        return self._append(partial, chunk, is_last=bool(header & _LAST))

    def _start(self, kind: FragmentKind, value: bytes, now_ms: int) -> tuple[_Partial, bytes]:
        if self._partial is not None:
            raise self._malformed("FIRST in the middle of a message")
        if len(value) < 1 + _LENGTH_SIZE:
            raise self._malformed("FIRST without a length")
        size = int.from_bytes(value[1 : 1 + _LENGTH_SIZE], "big")
        if not 1 <= size <= MESSAGE_SIZE_MAX:
            raise self._malformed(f"message of {size} bytes")
        deadline_ms = now_ms + REASSEMBLY_MS_MAX
        partial = _Partial(kind=kind, size=size, deadline_ms=deadline_ms, data=bytearray())
        return partial, value[1 + _LENGTH_SIZE :]

    def _continue(self, kind: FragmentKind) -> _Partial:
        if self._partial is None:
            raise self._malformed("fragment of a message that has not begun")
        if kind is not self._partial.kind:
            raise self._malformed("kind changed in the middle of a message")
        return self._partial

    def _append(self, partial: _Partial, chunk: bytes, *, is_last: bool) -> Message | None:
        if not chunk:
            raise self._malformed("fragment that carries nothing")
        partial.data += chunk
        if len(partial.data) > partial.size:
            raise self._malformed("more bytes than FIRST announced")
        if is_last != (len(partial.data) == partial.size):
            raise self._malformed("LAST too early or too late")
        if not is_last:
            self._partial = partial
            return None
        self._partial = None
        return Message(kind=partial.kind, data=bytes(partial.data))

    def _refuse_if_dead(self) -> None:
        if self._is_dead:
            raise LocalProtocolError("this direction has failed before: the link must be dropped")

    def _malformed(self, detail: str) -> RemoteProtocolError:
        self._is_dead = True
        self._partial = None
        return RemoteProtocolError(Code.MALFORMED, detail)
