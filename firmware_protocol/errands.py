"""Records beside the door: orders of ownership, couriers, time (docs/protocol.md §9, §18 and §20)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from firmware_protocol.constants import COURIER_CHUNK_SIZE_MAX, COURIER_OBJECT_SIZE_MAX, OBJECT_SIZE_MAX
from firmware_protocol.messages import Message
from firmware_protocol.schema import Choice, CodeNumber, Octets, octets, uint, wire, wire_field
from firmware_protocol.vocabulary import HASH_SIZE, Parcel

if TYPE_CHECKING:
    from firmware_protocol.codes import Code


@wire
class Courier(Message):
    """Either side: a piece of an object. A phone that sends none asks for such objects."""

    TYPE: ClassVar[int] = 0x53

    kind: Parcel = wire_field(0, Choice(Parcel))
    sha256: bytes | None = octets(1, HASH_SIZE, default=None)
    """Of the whole object: names it, and proves at the end that every piece is there."""
    offset: int = uint(2, default=0)
    """Bytes of the object before this piece. Where entries are asked for, the first index that is wanted."""
    total: int = uint(3, value_max=COURIER_OBJECT_SIZE_MAX, default=0)
    """Bytes of the whole object."""
    chunk: bytes = wire_field(4, Octets(1, COURIER_CHUNK_SIZE_MAX), default=b"")

    def problem(self) -> str | None:
        """A piece lies within its object; who asks sends none."""
        if self.sha256 is None:
            return "a piece of nothing" if self.chunk or self.total else None
        if not self.chunk or self.offset + len(self.chunk) > self.total:
            return "a piece beyond its object"
        return None


@wire
class CourierAck(Message):
    """Whoever received an object whole: what became of it. DONE also where it was held before."""

    TYPE: ClassVar[int] = 0x54

    sha256: bytes = octets(0, HASH_SIZE)
    code: Code = wire_field(1, CodeNumber())


@wire
class TimeGet(Message):
    """Gateway: what do you know of the time?"""

    TYPE: ClassVar[int] = 0x60


@wire
class TimeSet(Message):
    """Gateway: a receipt of the central log, which proves that the time has come so far."""

    TYPE: ClassVar[int] = 0x61

    receipt: bytes = wire_field(0, Octets(1, OBJECT_SIZE_MAX))


@wire
class TimeState(Message):
    """Lock: what it knows of the time, as the answer to both."""

    TYPE: ClassVar[int] = 0x62

    utc_lo_s: int = uint(0)
    """The time has come at least so far; 0 where nothing proves more."""
    utc_hi_s: int | None = uint(1, default=None)
    """None where no interval is held."""
    age_s: int | None = uint(2, default=None)
    """Since the interval was given; there with `utc_hi_s`."""
    up_ms: int = uint(3)

    def problem(self) -> str | None:
        """An interval has an age, and its ends in order."""
        if (self.utc_hi_s is None) != (self.age_s is None):
            return "half an interval"
        return "ends before it begins" if self.utc_hi_s is not None and self.utc_hi_s < self.utc_lo_s else None


@wire
class OwnerOrder(Message):
    """Gateway: a signed PairingOrder or DecommissionOrder. It takes effect with OwnerCommit and not before."""

    TYPE: ClassVar[int] = 0x79

    order: bytes = wire_field(0, Octets(1, OBJECT_SIZE_MAX))


@wire
class OwnerResult(Message):
    """Lock: PERMITTED, the order is here and may be committed; DONE, it has taken effect."""

    TYPE: ClassVar[int] = 0x7A

    code: Code = wire_field(0, CodeNumber())
    owner_epoch: int = uint(1)
    """Of the last order that took effect."""
    log_seq: int | None = uint(2, default=None)
    """The record that tells of it; with DONE."""
    head: bytes | None = wire_field(3, Octets(1, OBJECT_SIZE_MAX), default=None)
    """A signed LogHead that covers that record; with DONE."""

    def problem(self) -> str | None:
        """What has taken effect is in the log, and the lock has signed for it."""
        return None if (self.log_seq is None) == (self.head is None) else "half a proof"


@wire
class OwnerCommit(Message):
    """Gateway: let the order take effect."""

    TYPE: ClassVar[int] = 0x7B
