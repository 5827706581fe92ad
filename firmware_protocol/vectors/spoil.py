"""Values of the protocol made wrong in one thing at a time: what every reader must refuse (docs/protocol.md §2).

Everything follows from the declared fields: a new class has its bad cases from its first day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cbor2

from firmware_protocol import cbor
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.schema import Choice, CodeNumber, Flags, Many, Name, Octets, Row, Text, Truth, Uint
from firmware_protocol.tokens import ConfirmationKey, RoleTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from firmware_protocol.schema import Codec, WireField, WireMap

    Tree = dict[int, Any]

_HEAD_MAP: Final = 0xA0
_HEAD_MAP_LONG: Final = b"\xb8"
_HEAD_MAP_INDEFINITE: Final = b"\xbf"
_BREAK: Final = b"\xff"
_UNKNOWN_KEY: Final = 23
"""A key that CBOR's profile allows and no map of this version has."""
_KEY_NOT_ALLOWED: Final = 24
SIZE_ANY: Final = 1 << 20


class Spoiled(NamedTuple):
    """One bad encoding, and what is wrong with it."""

    name: str
    data: bytes


def is_required(field: WireField) -> bool:
    """Tell whether the field must be there."""
    return type(field.default) is object


def variants(value: WireMap) -> Iterator[tuple[str, bytes]]:
    """Yield further good encodings: each field that may be left out, left out or put in."""
    tree = _tree(value.to_bytes())
    for field in value.FIELDS:
        if is_required(field):
            continue
        changed = _copy(tree)
        branch = _branch(changed, field)
        is_there = field.key in branch
        if is_there:
            del branch[field.key]
        else:
            branch[field.key] = next(each for each in samples(field.codec) if not _is_default(field, each))
        data = _written(changed)
        if _is_read(type(value), data):
            yield f"{'without' if is_there else 'with'} {field.name}", data


def shapes(value: WireMap) -> Iterator[Spoiled]:
    """Yield encodings of another shape: a field missing, of another type or size, unknown, or spelled out."""
    tree = _tree(value.to_bytes())
    for path in type(value).KEYS:
        changed = _copy(tree)
        _at(changed, path)[_UNKNOWN_KEY] = 0
        yield Spoiled(
            f"unknown key {_UNKNOWN_KEY}{' in ' + '.'.join(map(str, path)) if path else ''}", _written(changed)
        )
    for field in value.FIELDS:
        for name, spoil in _field_faults(field, tree):
            changed = _copy(tree)
            spoil(_branch(changed, field))
            yield Spoiled(f"{field.name} {name}", _written(changed))


def changed(value: WireMap, change: Mapping[int, Any]) -> bytes:
    """Return the encoding with these top-level keys set, or taken out where None."""
    tree = {**_tree(value.to_bytes()), **change}
    return _written({key: each for key, each in tree.items() if each is not None})


def encodings(data: bytes) -> Iterator[Spoiled]:
    """Yield other encodings of the same map, and bytes that are none; `data` is a map of less than 24 entries."""
    entries = [cbor.encode(key) + _written(value) for key, value in _tree(data).items()]
    count = len(entries)
    yield Spoiled("a byte behind the end", data + b"\x00")
    yield Spoiled("cut short", data[:-1])
    yield Spoiled("nothing at all", b"")
    yield Spoiled("head longer than need be", _HEAD_MAP_LONG + bytes((count,)) + data[1:])
    yield Spoiled("indefinite length", _HEAD_MAP_INDEFINITE + data[1:] + _BREAK)
    yield Spoiled("an array", b"\x80")
    yield Spoiled("a tag around it", b"\xc6" + data)
    key_behind = cbor2.dumps(_KEY_NOT_ALLOWED) + b"\x00"
    yield Spoiled(f"key {_KEY_NOT_ALLOWED}", bytes((_HEAD_MAP + count + 1,)) + data[1:] + key_behind)
    if entries:
        duplicate = [entries[0], *entries]
        yield Spoiled("a key twice", bytes((_HEAD_MAP + count + 1,)) + b"".join(duplicate))
        first = next(iter(_tree(data)))
        yield Spoiled("a float", _with_entry(data, cbor.encode(first) + cbor2.dumps(1.5)))
        yield Spoiled("a key that is text", _with_entry(data, b"\x61\x30" + entries[0][1:]))
    if count > 1:
        yield Spoiled("keys out of order", data[:1] + b"".join([entries[1], entries[0], *entries[2:]]))


def _with_entry(data: bytes, entry: bytes) -> bytes:
    """Return the map with another first entry."""
    tree = _tree(data)
    rest = list(tree.items())[1:]
    return data[:1] + entry + b"".join(cbor.encode(key) + _written(value) for key, value in rest)


def _field_faults(field: WireField, tree: Tree) -> Iterator[tuple[str, Callable[[Tree], object]]]:
    if is_required(field):
        yield "missing", lambda branch: branch.pop(field.key)
    elif field.default is not None:
        spelled_out = field.codec.encode(field.default)
        yield "spelled out although it is the default", lambda branch: branch.update({field.key: spelled_out})
    yield "null", lambda branch: branch.update({field.key: None})
    carried = _branch(_copy(tree), field).get(field.key)
    for name, wrong in _wrong(field.codec, carried):
        yield name, lambda branch, wrong=wrong: branch.update({field.key: wrong})  # type: ignore[misc]


def _wrong(codec: Codec, carried: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - whatever the tree holds
    yield from _WRONG[type(codec)](codec, carried)


def _wrong_uint(codec: Any, _: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - one function a shape
    yield "true instead of a number", True
    yield "too large", codec.value_max + 1
    yield ("too small", codec.value_min - 1) if codec.value_min else ("negative", -1)


def _wrong_octets(codec: Any, _: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "text instead of bytes", "x" * max(codec.size_min, 1)
    if codec.size_min:
        yield "too short", bytes(codec.size_min - 1)
    yield "too long", bytes(codec.size_max + 1)


def _wrong_text(codec: Any, _: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "bytes instead of text", b"x"
    yield "empty", ""
    yield "too long", "x" * (codec.size_max + 1)
    yield "with a line break", "a\nb"
    yield "with a character that turns the line around", "a\u202eb"


def _wrong_name(_: Any, __: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "bytes instead of text", b"x"
    yield "empty", ""
    yield "too long", "x" * 33
    yield "with a capital", "Carer-17"


def _wrong_choice(codec: Any, _: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "a number without a meaning", max(codec.kind) + 1
    yield "true instead of a number", True


def _wrong_flags(codec: Any, _: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "a bit without a meaning", max(codec.kind) << 1
    yield "negative", -1


def _wrong_truth(_: Any, __: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "2", 2
    yield "true instead of 1", True


def _wrong_code(_: Any, __: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "a code that there is not", 0x7E
    yield "a code of two bytes", 0x0101


def _wrong_many(codec: Any, carried: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    item = carried[0] if carried else next(samples(codec.item))
    yield "its item instead of an array", item
    yield "too many", (item,) * (codec.count_max + 1)
    if codec.count_min:
        yield "too few", (item,) * (codec.count_min - 1)
    for name, wrong in _wrong(codec.item, item):
        yield f"with an item that is {name}", (wrong,)


def _wrong_row(codec: Any, carried: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "an array that is too short", tuple(carried[:-1])
    yield "an array that is too long", (*carried, 0)
    for place, part in enumerate(codec.parts):
        for name, wrong in _wrong(part, carried[place]):
            yield f"an array whose place {place} is {name}", (*carried[:place], wrong, *carried[place + 1 :])


def _wrong_confirmation_key(_: Any, carried: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    yield "bytes instead of a COSE_Key", carried[-2]
    yield "of another key type", carried | {1: 2}
    yield "with true as its key type", carried | {1: True}
    yield "of another curve", carried | {-1: 4}
    yield "with a kid", carried | {2: b"kid"}
    yield "without a curve", {1: 1, -2: carried[-2]}
    yield "too short", carried | {-2: carried[-2][:-1]}


def _wrong_role_table(_: Any, carried: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    number, (threshold, keys) = next(iter(carried.items()))
    yield "an array instead of a map", ()
    yield "with a role that there is not", carried | {8: (1, (bytes(32),))}
    yield "with a threshold of 0", carried | {number: (0, keys)}
    yield "with a threshold of 17", carried | {number: (17, keys)}
    yield "with a role of no keys", carried | {number: (threshold, ())}
    yield "with a key of 31 bytes", carried | {number: (threshold, (keys[0][:-1], *keys[1:]))}
    yield "with a role that is its keys alone", carried | {number: keys}


_WRONG: Final[Mapping[type[Any], Callable[[Any, Any], Iterator[tuple[str, Any]]]]] = {
    Uint: _wrong_uint,
    Octets: _wrong_octets,
    Text: _wrong_text,
    Name: _wrong_name,
    Choice: _wrong_choice,
    Flags: _wrong_flags,
    Truth: _wrong_truth,
    CodeNumber: _wrong_code,
    Many: _wrong_many,
    Row: _wrong_row,
    ConfirmationKey: _wrong_confirmation_key,
    RoleTable: _wrong_role_table,
}


def samples(codec: Any) -> Iterator[Any]:  # noqa: ANN401 - what CBOR carries
    """Yield two values of a shape that differ."""
    match codec:
        case Uint():
            yield from (codec.value_min, codec.value_min + 1)
        case Octets():
            yield from (b"\x5a" * codec.size_min, b"\x5a" * codec.size_max)
        case Choice() | Flags():
            yield from (int(each) for each in codec.kind)
        case _:
            raise TypeError(f"no sample of the shape {type(codec).__name__}")


def _is_default(field: WireField, carried: object) -> bool:
    return field.default is not None and carried == field.codec.encode(field.default)


def _is_read(kind: type[WireMap], data: bytes) -> bool:
    try:
        kind.from_bytes(data)
    except RemoteProtocolError:
        return False
    return True


def _tree(data: bytes) -> Tree:
    tree = cbor.decode(data, size_max=SIZE_ANY)
    if not isinstance(tree, dict):
        raise TypeError("not a map")
    return tree


def _copy(value: Any) -> Any:  # noqa: ANN401 - whatever the tree holds
    return {key: _copy(each) for key, each in value.items()} if isinstance(value, dict) else value


def _at(tree: Tree, path: tuple[int, ...]) -> Tree:
    for key in path:
        tree = tree[key]
    return tree


def _branch(tree: Tree, field: WireField) -> Tree:
    return _at(tree, field.parent)


def _written(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)
