"""The shapes of single values: CBOR ⇄ Python, strictly (docs/protocol.md §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from firmware_protocol.codes import Code, UnknownCodeError
from firmware_protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import IntEnum, IntFlag

    from firmware_protocol.cbor import Value

UINT_MAX: Final = 2**53 - 1
"""Largest number in any object: exact in JSON too, and 285 million years as seconds."""


def malformed(where: str, problem: str) -> RemoteProtocolError:
    """Return the error for a field that breaks its shape."""
    return RemoteProtocolError(Code.MALFORMED, f"{where}: {problem}")


class Codec(Protocol):
    """The shape of one value: CBOR ⇄ Python."""

    def encode(self, value: Any) -> Value:  # noqa: ANN401 - each codec narrows it
        """Return what CBOR carries."""

    def decode(self, value: Value, where: str) -> Any:  # noqa: ANN401 - each codec narrows it
        """Return the Python value.

        Raises:
            RemoteProtocolError: another type, or out of range.
        """


@dataclass(frozen=True, slots=True)
class Uint:
    """An unsigned integer within bounds, both included (booleans are not integers here)."""

    value_max: int = UINT_MAX
    value_min: int = 0

    def encode(self, value: int) -> Value:
        """Return the integer."""
        return int(value)

    def decode(self, value: Value, where: str) -> int:
        """Return the integer."""
        if type(value) is not int:  # of one type and no subtype: True is an int in Python, and no number here
            raise malformed(where, "not an integer")
        if not self.value_min <= value <= self.value_max:
            raise malformed(where, "number out of range")
        return value


@dataclass(frozen=True, slots=True)
class Octets:
    """A byte string of `size_min` to `size_max` bytes."""

    size_min: int
    size_max: int

    def encode(self, value: bytes) -> Value:
        """Return the bytes."""
        return value

    def decode(self, value: Value, where: str) -> bytes:
        """Return the bytes."""
        if type(value) is not bytes:
            raise malformed(where, "not a byte string")
        if not self.size_min <= len(value) <= self.size_max:
            raise malformed(where, "byte string too short or too long")
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """Printable text of 1 to `size_max` bytes; no control characters, so that no log line can be forged."""

    size_max: int

    def encode(self, value: str) -> Value:
        """Return the text."""
        return value

    def decode(self, value: Value, where: str) -> str:
        """Return the text."""
        if not isinstance(value, str):
            raise malformed(where, "not a text string")
        if not 1 <= len(value.encode()) <= self.size_max or not value.isprintable():
            raise malformed(where, "text empty, too long or not printable")
        return value


_TRUTH: Final = Uint(value_max=1)
_CODE: Final = Uint(value_max=0xFF)
_is_name: Final = re.compile(r"[a-z0-9-]{1,32}").fullmatch


@dataclass(frozen=True, slots=True)
class Name:
    """A pseudonymous name: 1 to 32 of `a-z 0-9 -`."""

    def encode(self, value: str) -> Value:
        """Return the name."""
        return value

    def decode(self, value: Value, where: str) -> str:
        """Return the name."""
        if not isinstance(value, str) or not _is_name(value):
            raise malformed(where, "a name is 1 to 32 of a-z, 0-9 and -")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """A member of an IntEnum, by its number."""

    kind: type[IntEnum]

    def encode(self, value: IntEnum) -> Value:
        """Return the number."""
        return int(value)

    def decode(self, value: Value, where: str) -> IntEnum:
        """Return the member."""
        member = _members(self.kind).get(value) if type(value) is int else None
        if member is None:
            raise malformed(where, f"no number of a {self.kind.__name__}")
        return member


@cache
def _members(kind: type[IntEnum]) -> Mapping[int, IntEnum]:
    """By number: calling the enum costs more than the rest of reading a field."""
    return {int(member): member for member in kind}


@cache
def _sets(kind: type[IntFlag]) -> Mapping[int, IntFlag]:
    """Every set of the bits, by its number; there are few bits."""
    return {number: kind(number) for number in range(sum(kind) + 1) if not number & ~sum(kind)}


@dataclass(frozen=True, slots=True)
class Flags:
    """A set of an IntFlag's bits, none of them unknown."""

    kind: type[IntFlag]

    def encode(self, value: IntFlag) -> Value:
        """Return the bits."""
        return int(value)

    def decode(self, value: Value, where: str) -> IntFlag:
        """Return the set."""
        found = _sets(self.kind).get(value) if type(value) is int else None
        if found is None:
            raise malformed(where, f"no bits, or a bit that {self.kind.__name__} does not have")
        return found


@dataclass(frozen=True, slots=True)
class Truth:
    """Yes or no, as 1 or 0."""

    def encode(self, value: bool) -> Value:  # noqa: FBT001 - it is the value itself
        """Return 0 or 1."""
        return int(value)

    def decode(self, value: Value, where: str) -> bool:
        """Return the truth value."""
        return bool(_TRUTH.decode(value, where))


@dataclass(frozen=True, slots=True)
class CodeNumber:
    """A row of the table of codes, by its wire number."""

    def encode(self, value: Code) -> Value:
        """Return the wire number."""
        return value.wire

    def decode(self, value: Value, where: str) -> Code:
        """Return the row."""
        try:
            return Code.from_wire(_CODE.decode(value, where))
        except UnknownCodeError:
            raise malformed(where, "unknown code") from None


@dataclass(frozen=True, slots=True)
class Many:
    """An array of `count_min` to `count_max` values of one shape."""

    item: Codec
    count_max: int
    count_min: int = 0

    def encode(self, value: tuple[Any, ...]) -> Value:
        """Return the array."""
        return tuple([self.item.encode(each) for each in value])

    def decode(self, value: Value, where: str) -> tuple[Any, ...]:
        """Return the values."""
        if not isinstance(value, tuple):
            raise malformed(where, "not an array")
        if not self.count_min <= len(value) <= self.count_max:
            raise malformed(where, "array too short or too long")
        return tuple([self.item.decode(each, where) for each in value])


@dataclass(frozen=True, slots=True)
class Row:
    """An array with a fixed place for each part; `build` makes the value, iteration takes it apart."""

    build: Callable[..., Any]
    parts: tuple[Codec, ...]

    def encode(self, value: tuple[Any, ...]) -> Value:
        """Return the array."""
        return tuple(codec.encode(part) for codec, part in zip(self.parts, value, strict=True))

    def decode(self, value: Value, where: str) -> Any:  # noqa: ANN401 - what `build` makes
        """Return the built value."""
        if not isinstance(value, tuple) or len(value) != len(self.parts):
            raise malformed(where, f"not an array of {len(self.parts)}")
        return self.build(*[codec.decode(part, where) for codec, part in zip(self.parts, value, strict=True)])
