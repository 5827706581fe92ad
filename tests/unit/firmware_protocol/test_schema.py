"""The machinery of declared maps: every shape on both sides of its bounds, every way to spell a map otherwise."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from firmware_protocol import cbor
from firmware_protocol.codes import Code
from firmware_protocol.errors import LocalProtocolError, RemoteProtocolError
from firmware_protocol.schema import (
    UINT_MAX,
    Choice,
    CodeNumber,
    Flags,
    Many,
    Name,
    Octets,
    Row,
    Text,
    Truth,
    Uint,
    WireMap,
    octets,
    uint,
    wire,
    wire_field,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_protocol.schema import Codec


class Colour(IntEnum):
    RED = 1
    BLUE = 5


class Powers(IntFlag):
    READ = 1
    WRITE = 2


# ------------------------------------------------------------------------------------------------- shapes of one value

ACCEPTED: dict[str, tuple[Codec, Any, Any]] = {
    "smallest number": (Uint(value_min=2, value_max=5), 2, 2),
    "largest number": (Uint(value_min=2, value_max=5), 5, 5),
    "largest number of all": (Uint(), UINT_MAX, UINT_MAX),
    "nothing": (Uint(), 0, 0),
    "shortest bytes": (Octets(1, 3), b"a", b"a"),
    "longest bytes": (Octets(1, 3), b"abc", b"abc"),
    "no bytes": (Octets(0, 3), b"", b""),
    "one letter": (Text(size_max=4), "a", "a"),
    "as many bytes as allowed": (Text(size_max=4), "åä", "åä"),
    "text with a space": (Text(size_max=8), "lgh 1001", "lgh 1001"),
    "a name of every kind of character": (Name(), "az-09", "az-09"),
    "the longest name": (Name(), "a" * 32, "a" * 32),
    "a choice": (Choice(Colour), 5, Colour.BLUE),
    "no flag": (Flags(Powers), 0, Powers(0)),
    "all flags": (Flags(Powers), 3, Powers.READ | Powers.WRITE),
    "no": (Truth(), 0, False),
    "yes": (Truth(), 1, True),
    "a code": (CodeNumber(), 0x44, Code.EXPIRED),
    "fewest items": (Many(Uint(), count_min=1, count_max=2), (1,), (1,)),
    "most items": (Many(Uint(), count_min=1, count_max=2), (1, 2), (1, 2)),
    "no items": (Many(Uint(), count_max=2), (), ()),
    "a row": (Row(lambda number, name: (number, name), (Uint(), Name())), (1, "a"), (1, "a")),
}


@pytest.mark.parametrize(("codec", "carried", "value"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_value_within_its_bounds_comes_and_goes(codec: Codec, carried: Any, value: Any) -> None:
    read = codec.decode(carried, "it")
    assert read == value
    assert type(read) is type(value)
    written = codec.encode(value)
    assert written == carried
    assert type(written) is type(carried)


REFUSED: dict[str, tuple[Codec, Any]] = {
    "number below": (Uint(value_min=2, value_max=5), 1),
    "number above": (Uint(value_min=2, value_max=5), 6),
    "number above all": (Uint(), UINT_MAX + 1),
    "negative number": (Uint(), -1),
    "true as a number": (Uint(), True),
    "false as a number": (Uint(), False),
    "bytes as a number": (Uint(), b"\x01"),
    "null as a number": (Uint(), None),
    "bytes too short": (Octets(1, 3), b""),
    "bytes too long": (Octets(1, 3), b"abcd"),
    "text as bytes": (Octets(1, 3), "abc"),
    "numbers as bytes": (Octets(1, 3), (1, 2)),
    "empty text": (Text(size_max=4), ""),
    "text of one byte too many": (Text(size_max=3), "åä"),
    "text with a line feed": (Text(size_max=8), "a\nb"),
    "text with an escape": (Text(size_max=8), "\x1b[2J"),
    "text that turns its direction": (Text(size_max=8), "a\u202eb"),
    "bytes as text": (Text(size_max=4), b"a"),
    "empty name": (Name(), ""),
    "name too long": (Name(), "a" * 33),
    "name in capitals": (Name(), "Carer"),
    "name with a slash": (Name(), "a/b"),
    "name with a wildcard": (Name(), "a+"),
    "name that only looks like letters": (Name(), "а"),  # noqa: RUF001 - the Cyrillic letter is the attack
    "a choice that there is not": (Choice(Colour), 2),
    "a choice by its name": (Choice(Colour), "RED"),
    "true as a choice": (Choice(Colour), True),
    "an unknown flag": (Flags(Powers), 4),
    "a negative set of flags": (Flags(Powers), -1),
    "two as a truth": (Truth(), 2),
    "CBOR's true as a truth": (Truth(), True),
    "a code that there is not": (CodeNumber(), 0x07),
    "a code above a byte": (CodeNumber(), 0x100),
    "too few items": (Many(Uint(), count_min=1, count_max=2), ()),
    "too many items": (Many(Uint(), count_min=1, count_max=2), (1, 2, 3)),
    "one bad item": (Many(Uint(), count_max=2), (1, b"")),
    "a map as an array": (Many(Uint(), count_max=2), {0: 1}),
    "bytes as an array": (Many(Uint(), count_max=2), b"\x01"),
    "a row too short": (Row(lambda *parts: parts, (Uint(), Uint())), (1,)),
    "a row too long": (Row(lambda *parts: parts, (Uint(), Uint())), (1, 2, 3)),
    "a row with a bad part": (Row(lambda *parts: parts, (Uint(), Uint())), (1, "2")),
    "a map as a row": (Row(lambda *parts: parts, (Uint(), Uint())), {0: 1, 1: 2}),
}


@pytest.mark.parametrize(("codec", "carried"), REFUSED.values(), ids=REFUSED)
def test_a_value_of_another_type_or_out_of_bounds_is_refused(codec: Codec, carried: Any) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(carried, "Thing.field")
    assert caught.value.code is Code.MALFORMED
    assert caught.value.detail.startswith("Thing.field: ")


# ----------------------------------------------------------------------------------------------------- declared maps


@wire
class Parcel(WireMap):
    SIZE_MAX: ClassVar[int] = 64

    weight_g: int = uint(0, value_min=1)
    label: bytes = octets(2, 4)
    floor: int = uint(3, default=2)
    size: int = uint((-70_001, 0))
    fragile: bool = wire_field((-70_001, 1), Truth(), default=False)
    lot: int | None = uint((8, 1), default=None)

    def problem(self) -> str | None:
        return "too heavy for its size" if self.weight_g > self.size else None


PARCEL = Parcel(weight_g=5, label=b"abcd", size=7)
TREE: dict[int, Any] = {0: 5, 2: b"abcd", 8: {}, -70_001: {0: 7}}


def read(tree: Any) -> Parcel:
    return Parcel.from_bytes(cbor.encode(tree))


def with_changes(**changes: Any) -> dict[int, Any]:
    """Return TREE with `at_0=…` for key 0; `private_0=…` for key 0 below -70001; Ellipsis takes a key away."""
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in TREE.items()}
    for name, value in changes.items():
        kind, _, key = name.partition("_")
        branch = tree[-70_001] if kind == "private" else tree
        if value is ...:
            del branch[int(key)]
        else:
            branch[int(key)] = value
    return tree


def test_a_map_has_one_encoding_and_comes_back() -> None:
    assert PARCEL.to_bytes().hex() == "a4000502446162636408a03a00011170a10007"
    assert read(TREE) == PARCEL


def test_fields_that_differ_from_their_default_are_written() -> None:
    parcel = Parcel(weight_g=5, label=b"abcd", floor=0, size=7, fragile=True, lot=9)
    tree = {0: 5, 2: b"abcd", 3: 0, 8: {1: 9}, -70_001: {0: 7, 1: 1}}
    assert cbor.decode(parcel.to_bytes(), size_max=64) == tree
    assert read(tree) == parcel


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PARCEL.weight_g = 6  # type: ignore[misc]  # that is the point


OTHER_MAPS: dict[str, Any] = {
    "a default spelled out": with_changes(at_3=2),
    "a default spelled out inside": with_changes(private_1=0),
    "null for a field left out": with_changes(at_3=None),
    "an unknown key": with_changes(at_1=0),
    "an unknown negative key": {**TREE, -1: 0},
    "an unknown key inside": with_changes(private_2=0),
    "a missing field": with_changes(at_0=...),
    "a missing field inside": with_changes(private_0=...),
    "a missing map inside": {key: value for key, value in TREE.items() if key != -70_001},
    "a missing map of defaults inside": {key: value for key, value in TREE.items() if key != 8},
    "a field of another type": with_changes(at_2="abcd"),
    "a field out of range": with_changes(at_0=0),
    "an array for the map inside": {**TREE, -70_001: (7,)},
    "a number for the map inside": {**TREE, -70_001: 7},
    "the field one level too high": {0: 5, 2: b"abcd", 8: {}, -70_001: {}, 1: 7},
    "an array for the map": (5, b"abcd", 7),
    "bytes for the map": b"abcd",
    "a tag around the map": cbor.Tag(18, TREE),
    "a tag around a field": with_changes(at_2=cbor.Tag(18, b"abcd")),
    "an empty map": {},
    "null": None,
    "fields that do not fit each other": with_changes(at_0=8),
}


@pytest.mark.parametrize("tree", OTHER_MAPS.values(), ids=OTHER_MAPS)
def test_any_other_map_is_refused(tree: Any) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read(tree)
    assert caught.value.code is Code.MALFORMED
    assert caught.value.detail.startswith("Parcel")


def test_fields_that_just_fit_each_other_are_read() -> None:
    assert read(with_changes(at_0=7)).weight_g == 7


def test_a_map_longer_than_its_class_allows_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Parcel.from_bytes(b"\xff" * 65)
    assert caught.value.code is Code.TOO_LARGE
    with pytest.raises(RemoteProtocolError) as caught:
        Parcel.from_bytes(b"\xff" * 64)
    assert caught.value.code is Code.MALFORMED


UNREADABLE: dict[str, Callable[[], Parcel]] = {
    "out of range": lambda: Parcel(weight_g=0, label=b"abcd", size=7),
    "negative": lambda: Parcel(weight_g=5, label=b"abcd", floor=-1, size=7),
    "too short": lambda: Parcel(weight_g=5, label=b"abc", size=7),
    "fields that do not fit each other": lambda: Parcel(weight_g=8, label=b"abcd", size=7),
    "another type": lambda: Parcel(weight_g=5, label="abcd", size=7),  # type: ignore[arg-type]  # that is the point
}


@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE)
def test_what_nobody_could_read_is_our_own_mistake_and_is_not_written(make: Callable[[], Parcel]) -> None:
    with pytest.raises(LocalProtocolError):
        make().to_bytes()


def test_only_a_wire_map_may_be_declared_as_one() -> None:
    with pytest.raises(TypeError, match="Loose is no WireMap"):

        @wire
        class Loose:
            weight_g: int = uint(0)


def test_a_map_knows_its_fields_and_the_keys_of_each_level() -> None:
    assert [(field.name, field.path) for field in Parcel.FIELDS] == [
        ("weight_g", (0,)),
        ("label", (2,)),
        ("floor", (3,)),
        ("size", (-70_001, 0)),
        ("fragile", (-70_001, 1)),
        ("lot", (8, 1)),
    ]
    assert dict(Parcel.KEYS) == {(): {0, 2, 3, 8, -70_001}, (-70_001,): {0, 1}, (8,): {1}}
