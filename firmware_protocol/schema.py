"""CBOR maps with integer keys as frozen classes: one declaration, both directions (docs/protocol.md §2).

A class lists its fields once, each with its key and its shape::

    @wire
    class Pong(WireMap):
        up_ms: int = uint(0)

Reading is strict: a field that is missing, of another type, out of range or unknown is refused, and
so is a default that was spelled out, so that one value has exactly one encoding. A key may be a path:
`(-70001, 2)` is key 2 of the map under -70001.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self, TypeVar, dataclass_transform

from firmware_protocol import cbor
from firmware_protocol.codes import Code, UnknownCodeError
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from enum import IntEnum, IntFlag

    from firmware_protocol.cbor import Value

UINT_MAX: Final = 2**53 - 1
"""Largest number in any object: exact in JSON too, and 285 million years as seconds."""
_REQUIRED: Final = object()
T = TypeVar("T")
Path = int | tuple[int, ...]


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


_UINT: Final = Uint()
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
        number = _UINT.decode(value, where)
        member = _members(self.kind).get(number)
        if member is None:
            raise malformed(where, f"{number} is no {self.kind.__name__}")
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
        found = _sets(self.kind).get(_UINT.decode(value, where))
        if found is None:
            raise malformed(where, f"a bit that {self.kind.__name__} does not have")
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


@dataclass(frozen=True, slots=True)
class WireField:
    """Where a field stands and what shape it has."""

    name: str
    path: tuple[int, ...]
    codec: Codec
    default: object
    where: str
    """What an error calls it."""
    parent: tuple[int, ...]
    """The path to the map that it stands in."""
    key: int
    """Its key there."""


def wire_field(path: Path, codec: Codec, *, default: object = _REQUIRED) -> Any:  # noqa: ANN401 - a field specifier
    """Declare a field of any shape; with a default, the default is written by leaving the field out."""
    metadata = {"path": path if isinstance(path, tuple) else (path,), "codec": codec}
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def uint(path: Path, *, value_max: int = UINT_MAX, value_min: int = 0, default: object = _REQUIRED) -> Any:  # noqa: ANN401
    """Declare an unsigned integer."""
    return wire_field(path, Uint(value_max=value_max, value_min=value_min), default=default)


def octets(path: Path, size: int, *, default: object = _REQUIRED) -> Any:  # noqa: ANN401 - a field specifier
    """Declare a byte string of exactly `size` bytes."""
    return wire_field(path, Octets(size, size), default=default)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(wire_field, uint, octets))
def wire(cls: type[T]) -> type[T]:
    """Make a class with declared fields a frozen value."""
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    if not issubclass(made, WireMap):
        raise TypeError(f"{cls.__name__} is no WireMap")
    made.FIELDS = _declared(made)
    made.KEYS = _allowed_keys(made.FIELDS)
    made.PLANS = tuple(_plan(path, made.FIELDS, made.KEYS) for path in made.KEYS)
    return made


class WireMap:
    """Base of every class made by `wire`: payload bytes ⇄ value."""

    __slots__ = ()
    SIZE_MAX: ClassVar[int]
    """Longest encoding that is looked at, in bytes."""
    FIELDS: ClassVar[tuple[WireField, ...]]
    """What `wire` found declared."""
    KEYS: ClassVar[Mapping[tuple[int, ...], frozenset[int]]]
    """The keys that may stand in each map, by the path to it."""
    PLANS: ClassVar[tuple[_Plan, ...]]
    """The same, laid out for reading."""

    def to_bytes(self) -> bytes:
        """Encode deterministically.

        Raises:
            LocalProtocolError: a value that `from_bytes` would refuse.
        """
        tree: dict[int, Any] = {}
        for field in self.FIELDS:
            value = getattr(self, field.name)
            branch = tree
            for key in field.parent:
                branch = branch.setdefault(key, {})
            if field.default is _REQUIRED or value != field.default:
                branch[field.key] = field.codec.encode(value)
        data = cbor.encode_unread(tree)
        try:
            self.from_bytes(data)
        except RemoteProtocolError as error:
            raise LocalProtocolError(f"not to be sent: {error.detail}") from error
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read strictly.

        Raises:
            RemoteProtocolError: `data` is not the one encoding of such a value.
        """
        tree = cbor.decode(data, size_max=cls.SIZE_MAX)
        found: dict[str, object] = {}
        for plan in cls.PLANS:
            branch = _branch(tree, plan, cls.__name__)
            known_count = plan.branch_count
            for key, name, decode, where, default in plan.steps:
                if key in branch:
                    known_count += 1
                    found[name] = value = decode(branch[key], where)
                    if default is not _REQUIRED and value == default:
                        raise malformed(where, "a default must be left out")
                elif default is _REQUIRED:
                    raise malformed(where, "missing")
            if known_count != len(branch):
                raise malformed(cls.__name__, f"unknown fields {sorted(branch.keys() - cls.KEYS[plan.path])}")
        made = cls(**found)
        if problem := made.problem():
            raise malformed(cls.__name__, problem)
        return made

    def problem(self) -> str | None:
        """Say what is wrong between fields that are each right, or None."""
        return None


def _declared(kind: type[WireMap]) -> tuple[WireField, ...]:
    return tuple(
        WireField(
            name=field.name,
            path=field.metadata["path"],
            codec=field.metadata["codec"],
            default=_REQUIRED if field.default is dataclasses.MISSING else field.default,
            where=f"{kind.__name__}.{field.name}",
            parent=field.metadata["path"][:-1],
            key=field.metadata["path"][-1],
        )
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]  # `wire` has just made it a dataclass
    )


def _allowed_keys(fields: Sequence[WireField]) -> Mapping[tuple[int, ...], frozenset[int]]:
    allowed: dict[tuple[int, ...], set[int]] = {(): set()}
    for field in fields:
        for depth, key in enumerate(field.path):
            allowed.setdefault(field.path[:depth], set()).add(key)
    return {path: frozenset(keys) for path, keys in allowed.items()}


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one map of an object is read."""

    path: tuple[int, ...]
    """Where it stands."""
    branch_count: int
    """How many further maps stand in it."""
    steps: tuple[tuple[int, str, Callable[[Value, str], Any], str, object], ...]
    """Key, name, reader, what an error calls it, and default, of each field."""


def _plan(path: tuple[int, ...], fields: Sequence[WireField], paths: Iterable[tuple[int, ...]]) -> _Plan:
    return _Plan(
        path=path,
        branch_count=sum(other[:-1] == path for other in paths if other),
        steps=tuple((f.key, f.name, f.codec.decode, f.where, f.default) for f in fields if f.parent == path),
    )


def _branch(tree: Value, plan: _Plan, where: str) -> dict[int, Value]:
    for key in plan.path:
        if not isinstance(tree, dict) or key not in tree:
            raise malformed(where, f"field {key} is missing")
        tree = tree[key]
    if not isinstance(tree, dict):
        raise malformed(where, "not a map")
    return tree
