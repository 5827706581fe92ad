"""Strict deterministic CBOR: one value, one encoding (docs/protocol.md §2, RFC 8949 §4.2.1).

cbor2 accepts duplicate keys, unsorted maps, non-minimal numbers, indefinite lengths and trailing
bytes, and builds a regular expression, a MIME message or a big number from a tag. So reading is done
here, in one pass that knows only what the protocol uses: whatever has a second encoding is refused
where it stands. cbor2 writes, and what it wrote must be readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import cbor2

from firmware_protocol.codes import Code
from firmware_protocol.constants import CBOR_DEPTH_MAX, CBOR_ITEM_COUNT_MAX, CBOR_MAP_COUNT_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

Tag: TypeAlias = cbor2.CBORTag

Value: TypeAlias = "int | bytes | str | bool | list[Value] | tuple[Value, ...] | dict[int, Value] | Tag | None"
"""What an object may hold. Decoded arrays are tuples; lists are for writing only."""

TAG_SIGN1: Final = 18
"""COSE_Sign1, RFC 9052 §2."""
TAG_SIGN: Final = 98
"""COSE_Sign, RFC 9052 §2. There is no third tag."""

# Major types, RFC 8949 §3.1. Plain numbers: an enum's members are looked up at each of some hundred items.
_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _, _SIMPLE = range(8)
_SIMPLE_VALUES: Final[Mapping[int, bool | None]] = {20: False, 21: True, 22: None}
_NEGATIVE_KEYS: Final[Mapping[int, int]] = {_NEGATIVE << 5 | number: -1 - number for number in range(24)}
"""The keys -1..-24, by the one byte that each is written in; 0..23 are written as themselves."""
_PRIVATE_KEY: Final = -70_001
_PRIVATE_KEY_ENCODED: Final = bytes.fromhex("3a00011170")
"""The only key of more than one byte. Keys ascend by their first byte: among these, RFC 7049's order is RFC 8949's."""
_ONE_BYTE: Final = 24
"""Additional information: one further byte holds the argument, and 24 is also the smallest that needs it."""
_LONG_ARGUMENTS: Final = {25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}
"""By additional information: how many further bytes hold the argument, and the smallest that needs so many."""
_SHORT_BYTES: Final = _BYTES << 5
"""Initial byte of an empty byte string; up to 23 bytes their number is added."""
_SHORT_BYTES_MAX: Final = _SHORT_BYTES + 23
_IMMEDIATE_MAX: Final = 23
"""Largest argument that stands in the initial byte itself."""


def encode(value: Value) -> bytes:
    """Return the one encoding of `value`; `decode` accepts it and gives the value back.

    Raises:
        LocalProtocolError: a type, number, key, tag, depth or count that `decode` would refuse.
    """
    data = encode_unread(value)
    try:
        _Reader(data, CBOR_ITEM_COUNT_MAX).read()
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"not a value of the protocol: {error}") from error
    _refuse_other_types(value)  # cbor2 writes any sequence as an array: a memoryview would pass as numbers
    return data


def encode_unread(value: Value) -> bytes:
    """Return what `encode` would, for a caller that reads it back itself before anybody else does.

    Raises:
        LocalProtocolError: CBOR has no such value.
    """
    try:
        return cbor2.dumps(value, canonical=True)
    except (cbor2.CBOREncodeError, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"not a value of the protocol: {error}") from error


def encode_bytes(data: bytes) -> bytes:
    """Return what `encode` would for one byte string, without its detours.

    Raises:
        LocalProtocolError: more than 65,535 bytes.
    """
    size = len(data)
    if size <= _IMMEDIATE_MAX:
        return bytes((_BYTES << 5 | size,)) + data
    if size <= 0xFF:  # noqa: PLR2004 - one byte
        return bytes((_BYTES << 5 | 24, size)) + data
    if size > 0xFFFF:  # noqa: PLR2004 - two bytes
        raise LocalProtocolError("a byte string beyond any object")
    return bytes((_BYTES << 5 | 25,)) + size.to_bytes(2, "big") + data


def decode(data: bytes, *, size_max: int) -> Value:
    """Return the value in `data`, which must be its one encoding and at most `size_max` bytes long.

    Raises:
        RemoteProtocolError: TOO_LARGE (bytes, items or depth) or MALFORMED (everything else).
    """
    if len(data) > size_max:
        raise RemoteProtocolError(Code.TOO_LARGE, f"{len(data)} bytes of CBOR, {size_max} allowed")
    return _Reader(data, min(CBOR_ITEM_COUNT_MAX, size_max // 2)).read()


class _Reader:
    """One pass over the bytes. Sizes and counts are believed only as far as there are bytes for them.

    It runs three times for each bundle, so the path of a number or a byte string is one function, written out.
    """

    __slots__ = ("_data", "_items_left", "_maps_left", "_offset", "_size")

    def __init__(self, data: bytes, item_count_max: int) -> None:
        self._data = data
        self._size = len(data)
        self._offset = 0
        self._items_left = item_count_max - 1
        self._maps_left = CBOR_MAP_COUNT_MAX

    def read(self) -> Value:
        """Return the one item that fills the bytes."""
        try:
            value = self._item(CBOR_DEPTH_MAX)
        except IndexError:  # every item begins with a byte that has to be there
            raise _cut_short() from None
        if self._offset != self._size:
            raise _malformed("bytes after the end of the CBOR item")
        return value

    def _item(self, levels_left: int) -> Value:  # noqa: C901, PLR0911, PLR0912 - one case a major type, in one call
        data, start = self._data, self._offset + 1
        initial = data[start - 1]
        if initial <= _IMMEDIATE_MAX:  # the commonest item: a small number
            self._offset = start
            return initial
        major, argument = initial >> 5, initial & 0x1F
        if argument > _IMMEDIATE_MAX and major != _SIMPLE:
            if argument == _ONE_BYTE:
                argument, end, argument_min = data[start], start + 1, _ONE_BYTE
            elif argument in _LONG_ARGUMENTS:
                size, argument_min = _LONG_ARGUMENTS[argument]
                end = start + size
                argument = int.from_bytes(data[start:end], "big")
            else:
                raise _malformed("CBOR of indefinite length or reserved form")
            if end > self._size:
                raise _cut_short()
            if argument < argument_min:
                raise _malformed("CBOR number that is longer than it need be")
            start = end
        if major == _BYTES:
            self._offset = end = start + argument
            if end > self._size:
                raise _cut_short()
            return data[start:end]
        self._offset = start
        if major == _UINT:
            return argument
        if major == _MAP:
            return self._map(argument, levels_left - 1)
        if major == _ARRAY:
            self._enter(argument, levels_left - 1)
            return tuple([self._item(levels_left - 1) for _ in range(argument)])
        if major == _TEXT:
            return self._text(argument)
        return self._rarer(major, argument, levels_left - 1)

    def _rarer(self, major: int, argument: int, levels_left: int) -> Value:
        if major == _NEGATIVE:
            return -1 - argument
        if major == _SIMPLE:
            return _simple(argument)
        if argument not in {TAG_SIGN1, TAG_SIGN}:
            raise _malformed("CBOR tag that the protocol does not use")
        self._enter(1, levels_left)
        return cbor2.CBORTag(argument, self._item(levels_left))

    def _map(self, count: int, levels_left: int) -> dict[int, Value]:
        self._enter(2 * count, levels_left)
        self._maps_left -= 1
        if self._maps_left < 0:  # two bytes that cost a dict: what a hostile input would be full of
            raise RemoteProtocolError(Code.TOO_LARGE, f"more than {CBOR_MAP_COUNT_MAX} CBOR maps")
        data, size, offset = self._data, self._size, self._offset
        entries: dict[int, Value] = {}
        previous = -1
        for _ in range(count):
            key = first = data[offset]
            if first <= previous:
                raise _malformed("CBOR map with unsorted or duplicate keys")
            previous = first
            if first <= _IMMEDIATE_MAX:
                offset += 1
            else:
                key, offset = self._rarer_key(first, offset)
            initial = data[offset]
            # Small numbers and short byte strings are most of what maps hold; `_item` would say the same of them.
            if initial <= _IMMEDIATE_MAX:
                entries[key] = initial
                offset += 1
            elif _SHORT_BYTES <= initial <= _SHORT_BYTES_MAX:
                end = offset + 1 + initial - _SHORT_BYTES
                if end > size:
                    raise _cut_short()
                entries[key] = data[offset + 1 : end]
                offset = end
            else:
                self._offset = offset
                entries[key] = self._item(levels_left)
                offset = self._offset
        self._offset = offset
        return entries

    def _rarer_key(self, first: int, offset: int) -> tuple[int, int]:
        """Return a key that is not 0..23, and where its value begins."""
        if first in _NEGATIVE_KEYS:
            return _NEGATIVE_KEYS[first], offset + 1
        end = offset + len(_PRIVATE_KEY_ENCODED)
        if end > self._size:
            raise _cut_short()
        if self._data[offset:end] != _PRIVATE_KEY_ENCODED:
            raise _malformed("CBOR map key that the protocol does not use")
        return _PRIVATE_KEY, end

    def _text(self, size: int) -> str:
        start = self._offset
        self._offset = end = start + size
        if end > self._size:
            raise _cut_short()
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError as error:
            raise _malformed("CBOR text is not UTF-8") from error

    def _enter(self, count: int, levels_left: int) -> None:
        """Go a level down, to so many further items, each of which needs a byte at least."""
        if levels_left < 0:
            raise RemoteProtocolError(Code.TOO_LARGE, f"CBOR nested deeper than {CBOR_DEPTH_MAX}")
        if count > self._size - self._offset:
            raise _cut_short()
        self._items_left -= count
        if self._items_left < 0:
            raise RemoteProtocolError(Code.TOO_LARGE, "more CBOR items than there may be")


def _simple(information: int) -> bool | None:
    if information not in _SIMPLE_VALUES:
        raise _malformed("CBOR float or simple value other than false, true and null")
    return _SIMPLE_VALUES[information]


def _refuse_other_types(value: object) -> None:
    match value:
        case None | bool() | int() | bytes() | str():
            return
        case list() | tuple():
            for item in value:
                _refuse_other_types(item)
        case Mapping():
            for item in value.values():
                _refuse_other_types(item)
        case cbor2.CBORTag():
            _refuse_other_types(value.value)
        case _:
            raise LocalProtocolError(f"{type(value).__name__} is not a value of the protocol")


def _cut_short() -> RemoteProtocolError:
    return _malformed("CBOR ends too early")


def _malformed(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.MALFORMED, detail)
