"""What is said in plain before any key is used (docs/protocol.md §8 and §11).

A plain message is `type u8 ‖ CBOR`. Both HELLOs become part of the Noise prologue, so that a flipped
bit in either ends the handshake. Everything else said in plain is a hint: it may cause back-off, it
never changes a state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import CHALLENGE_SIZE, PROLOGUE_LABEL
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.schema import (
    Choice,
    CodeNumber,
    Octets,
    Text,
    WireMap,
    malformed,
    octets,
    uint,
    wire,
    wire_field,
)
from firmware_protocol.vocabulary import LOG_ID_SIZE, Decider

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC: Final = b"CLK1"
HELLO_NONCE_SIZE: Final = 8
PLAIN_SIZE_MAX: Final = 128
VERSION_MAX: Final = 255


class PlainMessage(WireMap):
    """Base of every plain message."""

    __slots__ = ()
    SIZE_MAX = PLAIN_SIZE_MAX
    TYPE: ClassVar[int]


@wire
class GatewayHello(PlainMessage):
    """Gateway: these versions I speak."""

    TYPE: ClassVar[int] = 0x01

    magic: bytes = octets(0, len(MAGIC))
    version_min: int = uint(1, value_max=VERSION_MAX)
    version_max: int = uint(2, value_max=VERSION_MAX)
    capabilities: int = uint(3, value_max=0xFFFF_FFFF)
    nonce: bytes = octets(4, HELLO_NONCE_SIZE)

    def problem(self) -> str | None:
        """The magic is fixed and the range is one."""
        return None if self.magic == MAGIC and self.version_min <= self.version_max else "not a hello of ours"


@wire
class LockHello(PlainMessage):
    """Lock: these versions I speak."""

    TYPE: ClassVar[int] = 0x02

    version_min: int = uint(1, value_max=VERSION_MAX)
    version_max: int = uint(2, value_max=VERSION_MAX)
    capabilities: int = uint(3, value_max=0xFFFF_FFFF)
    boot_nonce: bytes = octets(4, HELLO_NONCE_SIZE)
    firmware: str = wire_field(5, Text(size_max=32))

    def problem(self) -> str | None:
        """The range is one."""
        return None if self.version_min <= self.version_max else "an empty range of versions"


@wire
class PhoneHello(PlainMessage):
    """Lock to phone: sign this challenge; this is who decides."""

    TYPE: ClassVar[int] = 0x03

    challenge: bytes = octets(0, CHALLENGE_SIZE)
    decider: Decider = wire_field(1, Choice(Decider))


@wire
class PlainClose(PlainMessage):
    """Either side of any pipe: I am hanging up. A hint."""

    TYPE: ClassVar[int] = 0x04

    code: Code = wire_field(0, CodeNumber())


@wire
class LockStatus(WireMap):
    """The payload of handshake message 2: where the lock stands, before anything is asked of it."""

    SIZE_MAX: ClassVar[int] = 256

    session_ctr: int = uint(0)
    """Highest session that the lock has confirmed in this owner epoch."""
    boot: int = uint(1)
    """How often the lock has started; rises by one."""
    up_ms: int = uint(2)
    log_id: bytes = octets(3, LOG_ID_SIZE)
    log_next_seq: int = uint(4)
    log_copied_seq: int = uint(5)
    log_received_seq: int = uint(6)
    command_seq: int = uint(7)
    """The last LOCK_CMD that reached the lock's log; 0 before any."""
    command_code: Code = wire_field(8, CodeNumber())
    """How that one went; FAILED before any."""
    epoch: bytes = wire_field(9, Octets(CHALLENGE_SIZE, CHALLENGE_SIZE), default=b"")
    """Of a lock with the VERIFY capability."""
    owner_epoch: int = uint(10, default=0)
    """Of the last order that took effect, whether it gave the lock an owner or took it; 0 before any."""
    log_owner_seq: int = uint(11, value_min=1, default=1)
    """The first record that this gateway may read: earlier ones belong to an earlier home."""
    keyset_version: int = uint(12, default=0)
    """Of the Keyset that the lock holds."""
    state_seq: int = uint(13, default=0)
    """Of the AuthorityState that the lock holds."""


FROM_GATEWAY_PLAIN: Final[Mapping[int, type[PlainMessage]]] = {k.TYPE: k for k in (GatewayHello, PlainClose)}
FROM_LOCK_PLAIN: Final[Mapping[int, type[PlainMessage]]] = {k.TYPE: k for k in (LockHello, PlainClose)}
TO_PHONE_PLAIN: Final[Mapping[int, type[PlainMessage]]] = {k.TYPE: k for k in (PhoneHello, PlainClose)}


def encode_plain(message: PlainMessage) -> bytes:
    """Return the bytes of a plain message."""
    return bytes((message.TYPE,)) + message.to_bytes()


def decode_plain(data: bytes, accepted: Mapping[int, type[PlainMessage]]) -> PlainMessage:
    """Return the plain message in `data`.

    Raises:
        RemoteProtocolError: empty, not expected here, or malformed.
    """
    if not data:
        raise malformed("plain", "empty")
    kind = accepted.get(data[0])
    if kind is None:
        raise RemoteProtocolError(Code.UNSUPPORTED_TYPE, f"plain type {data[0]:#04x}")
    return kind.from_bytes(data[1:])


def link_prologue(gateway_hello: bytes, lock_hello: bytes, *, label: bytes = PROLOGUE_LABEL) -> bytes:
    """Return the Noise prologue that binds both HELLOs as they were sent; a pairing has another `label`."""
    lengths = [len(hello).to_bytes(2, "big") for hello in (gateway_hello, lock_hello)]
    return label + lengths[0] + gateway_hello + lengths[1] + lock_hello


def common_version(*, own: tuple[int, int], other: tuple[int, int], floor: int) -> int:
    """Return the highest version that both ranges hold.

    Raises:
        RemoteProtocolError: VERSION: there is none, or it lies below the persisted floor (downgrade).
    """
    highest = min(own[1], other[1])
    if highest < max(own[0], other[0], floor):
        raise RemoteProtocolError(Code.VERSION, "no common version at or above the floor")
    return highest
