"""Objects in pieces: Couriers out of bytes, and bytes out of Couriers (docs/protocol.md §20)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_protocol.codes import Code
from firmware_protocol.constants import COURIER_CHUNK_SIZE_MAX, COURIER_OBJECT_SIZE_MAX
from firmware_protocol.errands import Courier
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_protocol.vocabulary import Parcel


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One whole object; its kind is the sender's word, its signature decides."""

    kind: Parcel
    sha256: bytes
    data: bytes


def pieces(kind: Parcel, data: bytes) -> Iterator[Courier]:
    """Yield the Couriers that carry an object, in order.

    Raises:
        LocalProtocolError: it is empty, or longer than 8 192 bytes.
    """
    if not 1 <= len(data) <= COURIER_OBJECT_SIZE_MAX:
        raise LocalProtocolError(f"an object of {len(data)} bytes is not for couriers")
    sha256 = hashlib.sha256(data).digest()
    for offset in range(0, len(data), COURIER_CHUNK_SIZE_MAX):
        chunk = data[offset : offset + COURIER_CHUNK_SIZE_MAX]
        yield Courier(kind=kind, sha256=sha256, offset=offset, total=len(data), chunk=chunk)


class CourierDesk:
    """Puts the pieces of one object after the other together. At most one object is in the making."""

    def __init__(self, *, size_max: int) -> None:
        """Take at most `size_max` bytes in all."""
        self._left = size_max
        self._first: Courier | None = None
        self._data = b""

    def take(self, piece: Courier) -> Delivery | None:
        """Take a piece that is one (its `sha256` is there); return the object that it completes.

        A piece at offset 0 begins an object, and forgets one that was not finished.

        Raises:
            RemoteProtocolError: TOO_LARGE, more than may come; MALFORMED, out of order or not what its hash says.
        """
        self._left -= len(piece.chunk)
        if self._left < 0:
            raise RemoteProtocolError(Code.TOO_LARGE, "more than couriers may bring")
        if piece.offset == 0:
            self._first, self._data = piece, b""
        first = self._first
        if first is None or not _continues(first, piece, len(self._data)):
            raise RemoteProtocolError(Code.MALFORMED, "a piece out of order")
        self._data += piece.chunk
        if len(self._data) < first.total:
            return None
        data, self._first, self._data = self._data, None, b""
        sha256 = hashlib.sha256(data).digest()
        if sha256 != first.sha256:
            raise RemoteProtocolError(Code.MALFORMED, "an object that is not what its hash says")
        return Delivery(kind=first.kind, sha256=sha256, data=data)


def _continues(first: Courier, piece: Courier, size: int) -> bool:
    return (piece.kind, piece.sha256, piece.total, piece.offset) == (first.kind, first.sha256, first.total, size)
