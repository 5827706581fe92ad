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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, dataclass_transform

from firmware_protocol import cbor
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.shapes import (
    UINT_MAX,
    Choice,
    Codec,
    CodeNumber,
    Flags,
    Many,
    Name,
    Octets,
    Row,
    Text,
    Truth,
    Uint,
    malformed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from firmware_protocol.cbor import Value

__all__ = [
    "UINT_MAX",
    "Choice",
    "CodeNumber",
    "Codec",
    "Flags",
    "Many",
    "Name",
    "Octets",
    "Row",
    "Text",
    "Truth",
    "Uint",
    "WireField",
    "WireMap",
    "malformed",
    "octets",
    "uint",
    "wire",
    "wire_field",
]

_REQUIRED: Final = object()
T = TypeVar("T")
Path = int | tuple[int, ...]


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
            if known_count < len(branch):  # a further map that is missing is told when its turn comes
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
