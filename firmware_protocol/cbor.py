"""Strict deterministic CBOR: one value, one encoding (docs/protocol.md §2, RFC 8949 §4.2.1).

cbor2 accepts duplicate keys, unsorted maps, non-minimal numbers, indefinite lengths and trailing
bytes, and builds a regular expression, a MIME message or a big number from a tag. So `decode` walks
the bytes first and refuses what the protocol has no use for; only then does cbor2 build the value,
and its re-encoding must be the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeAlias

import cbor2

from firmware_protocol.codes import Code
from firmware_protocol.constants import CBOR_DEPTH_MAX, CBOR_ITEM_COUNT_MAX
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

Tag: TypeAlias = cbor2.CBORTag

Value: TypeAlias = "int | bytes | str | bool | list[Value] | tuple[Value, ...] | dict[int, Value] | Tag | None"
"""What an object may hold. Decoded arrays are tuples; lists are for writing only."""

TAG_SIGN1: Final = 18
"""COSE_Sign1, RFC 9052 §2."""
TAG_SIGN: Final = 98
"""COSE_Sign, RFC 9052 §2. There is no third tag."""


class _Major(IntEnum):
    """Major types, RFC 8949 §3.1."""

    UINT = 0
    NEGATIVE = 1
    BYTES = 2
    TEXT = 3
    ARRAY = 4
    MAP = 5
    TAG = 6
    SIMPLE = 7


_CONTAINERS: Final = frozenset({_Major.ARRAY, _Major.MAP, _Major.TAG})
_SIMPLE_VALUES: Final = frozenset({0xF4, 0xF5, 0xF6})  # false, true, null
_SMALL_KEY_MAX: Final = 23
"""Keys are 0..23, -1..-24 and -70001: among these, RFC 7049's order of keys is RFC 8949's."""
_PRIVATE_KEY: Final = (_Major.NEGATIVE, 70_000)
"""-70001 as it stands in a head: CBOR writes a negative n as -1 - n."""
_ARGUMENT_MIN: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}
"""Smallest argument that needs the 1, 2, 4 or 8 further bytes of this additional information."""


def encode(value: Value) -> bytes:
    """Return the one encoding of `value`; `decode` accepts it and gives the value back.

    Raises:
        LocalProtocolError: a type, number, key, tag, depth or count that `decode` would refuse.
    """
    try:
        data = cbor2.dumps(value, canonical=True)
        _Scanner(data).scan()
    except (cbor2.CBOREncodeError, UnicodeEncodeError, RemoteProtocolError) as error:
        raise LocalProtocolError(f"not a value of the protocol: {error}") from error
    _frozen(value)  # cbor2 writes any sequence as an array of its items: a memoryview would pass as numbers
    return data


def decode(data: bytes, *, size_max: int) -> Value:
    """Return the value in `data`, which must be its one encoding and at most `size_max` bytes long.

    Raises:
        RemoteProtocolError: TOO_LARGE (bytes, items or depth) or MALFORMED (everything else).
    """
    if len(data) > size_max:
        raise RemoteProtocolError(Code.TOO_LARGE, f"{len(data)} bytes of CBOR, {size_max} allowed")
    _Scanner(data).scan()
    try:
        value = cbor2.loads(data)
    except cbor2.CBORDecodeError as error:  # all that the scan leaves: text that is not UTF-8
        raise _malformed("CBOR text is not UTF-8") from error
    if cbor2.dumps(value, canonical=True) != data:
        raise _malformed("CBOR map with unsorted or duplicate keys")
    return _frozen(value)


class _Scanner:
    """One pass over the bytes that builds nothing: structure, bounds, and what the protocol has no use for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0
        self._item_count = 0

    def scan(self) -> None:
        """Refuse anything but one item of allowed shape that fills the bytes."""
        self._item(depth=1)
        if self._offset != len(self._data):
            raise _malformed("bytes after the end of the CBOR item")

    def _item(self, depth: int) -> None:
        major, argument = self._head()
        if major in _CONTAINERS and depth > CBOR_DEPTH_MAX:
            raise RemoteProtocolError(Code.TOO_LARGE, f"CBOR nested deeper than {CBOR_DEPTH_MAX}")
        match major:
            case _Major.BYTES | _Major.TEXT:
                self._take(argument)
            case _Major.ARRAY:
                for _ in range(argument):
                    self._item(depth + 1)
            case _Major.MAP:
                for _ in range(argument):
                    self._key()
                    self._item(depth + 1)
            case _Major.TAG:
                if argument not in {TAG_SIGN1, TAG_SIGN}:
                    raise _malformed("CBOR tag that the protocol does not use")
                self._item(depth + 1)
            case _:  # numbers and simple values are all head
                pass

    def _key(self) -> None:
        major, argument = self._head()
        is_small = major in {_Major.UINT, _Major.NEGATIVE} and argument <= _SMALL_KEY_MAX
        if not is_small and (major, argument) != _PRIVATE_KEY:
            raise _malformed("CBOR map key that the protocol does not use")

    def _head(self) -> tuple[int, int]:
        """Read one head: its major type and its argument."""
        self._item_count += 1
        if self._item_count > CBOR_ITEM_COUNT_MAX:
            raise RemoteProtocolError(Code.TOO_LARGE, f"more than {CBOR_ITEM_COUNT_MAX} CBOR items")
        initial = self._take(1)[0]
        major, information = initial >> 5, initial & 0x1F
        if major == _Major.SIMPLE and initial not in _SIMPLE_VALUES:
            raise _malformed("CBOR float or simple value other than false, true and null")
        if information not in _ARGUMENT_MIN:
            if information >= min(_ARGUMENT_MIN):
                raise _malformed("CBOR of indefinite length or reserved form")
            return major, information
        argument = int.from_bytes(self._take(1 << (information - 24)), "big")
        if argument < _ARGUMENT_MIN[information]:
            raise _malformed("CBOR number that is longer than it need be")
        return major, argument

    def _take(self, size: int) -> bytes:
        end = self._offset + size
        if end > len(self._data):
            raise _malformed("CBOR ends too early")
        taken = self._data[self._offset : end]
        self._offset = end
        return taken


def _frozen(value: object) -> Value:
    """Return `value` with its arrays as tuples; its depth is already known to be small."""
    match value:
        case None | bool() | int() | bytes() | str():
            return value
        case list() | tuple():
            return tuple(_frozen(item) for item in value)
        case Mapping():  # cbor2 gives a frozen one inside a tag
            return {key: _frozen(item) for key, item in value.items()}
        case cbor2.CBORTag():
            return cbor2.CBORTag(value.tag, _frozen(value.value))
        case _:
            raise LocalProtocolError(f"{type(value).__name__} is not a value of the protocol")


def _malformed(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.MALFORMED, detail)
