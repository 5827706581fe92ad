"""The CBOR of docs/protocol.md §2, written from the document: one value, one encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PRIVATE_KEY = -70001
KEYS = {*range(24), *range(-24, 0), PRIVATE_KEY}
TAGS = {18, 98}
ITEMS_MAX = 512
DEPTH_MAX = 8


class NotCborError(ValueError):
    """What §2 refuses."""


@dataclass(frozen=True)
class Tagged:
    number: int
    value: Any


def head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for information, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | information]) + argument.to_bytes(size, "big")
    raise NotCborError("a number beyond 64 bits")


def encode(value: Any) -> bytes:
    match value:
        case None | True | False:
            return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case _:
            return _encode_container(value)


def _encode_container(value: Any) -> bytes:
    match value:
        case list():
            return head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            entries = sorted((encode(key), encode(each)) for key, each in value.items())
            return head(5, len(entries)) + b"".join(key + each for key, each in entries)
        case Tagged():
            return head(6, value.number) + encode(value.value)
        case _:
            raise NotCborError(f"no CBOR for {type(value).__name__}")


def decode(data: bytes) -> Any:
    """Decode, encode again and compare (§2.1): depth, items and tags are bounded on the way."""
    value, rest, items = _item(data, DEPTH_MAX)
    if rest or items > ITEMS_MAX:
        raise NotCborError("bytes behind the end, or too many items")
    if encode(value) != data:
        raise NotCborError("another encoding of the same value")
    return value


def _item(data: bytes, depth: int) -> tuple[Any, bytes, int]:
    if not data:
        raise NotCborError("cut short")
    major, information = data[0] >> 5, data[0] & 31
    if major == 7:
        if information not in {20, 21, 22}:
            raise NotCborError("a float or another simple value")
        return {20: False, 21: True, 22: None}[information], data[1:], 1
    argument, rest = _argument(information, data[1:])
    if major < 2:
        return (argument if major == 0 else -1 - argument), rest, 1
    if major < 4:
        if len(rest) < argument:
            raise NotCborError("cut short")
        taken = rest[:argument]
        return (taken if major == 2 else taken.decode()), rest[argument:], 1
    if depth == 0 or (major == 6 and argument not in TAGS):
        raise NotCborError("too deep, or another tag")
    if major == 6:
        value, rest, items = _item(rest, depth - 1)
        return Tagged(argument, value), rest, items + 1
    return _many(major, argument, rest, depth - 1)


def _many(major: int, count: int, rest: bytes, depth: int) -> tuple[Any, bytes, int]:
    found: list[Any] = []
    items = 1
    for _ in range(count * (2 if major == 5 else 1)):
        if items > ITEMS_MAX:
            raise NotCborError("too many items")
        value, rest, more = _item(rest, depth)
        found.append(value)
        items += more
    if major == 4:
        return found, rest, items
    keys = found[::2]
    if not all(isinstance(key, int) and not isinstance(key, bool) and key in KEYS for key in keys):
        raise NotCborError("a key that maps do not have")
    return dict(zip(keys, found[1::2], strict=True)), rest, items


def _argument(information: int, rest: bytes) -> tuple[int, bytes]:
    if information < 24:
        return information, rest
    if information > 27:
        raise NotCborError("an indefinite length")
    size = 1 << information - 24
    if len(rest) < size:
        raise NotCborError("cut short")
    return int.from_bytes(rest[:size], "big"), rest[size:]
