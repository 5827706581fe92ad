"""RFC 8949 appendix A as JSON: read exactly where the protocol allows it (docs/protocol.md §2), refused elsewhere.

Which rows the protocol allows, a general CBOR library says: it reads each row, and the row is one of ours if its
value is made of ours and its bytes are their preferred encoding.
"""

from __future__ import annotations

from typing import Any, Final

import cbor2

from firmware_protocol import cbor
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vectors.tally import Tally

ROW_SIZE_MAX: Final = 1_024
_UINT64_COUNT: Final = 2**64
_PRIVATE_KEY: Final = -70_001
_SMALL: Final = 24


def judge(rows: list[dict[str, Any]]) -> Tally:
    """Run every row."""
    tally, read_count = Tally(), 0
    for row in rows:
        data = bytes.fromhex(row["hex"])
        value = _foreign(data)
        is_ours = row["roundtrip"] and _is_allowed(value)
        read_count += is_ours
        tally.judge(row["hex"], is_right=_is_read(data, value) if is_ours else _is_refused(data))
    tally.notes.append(f"{read_count} rows are of the protocol's profile and must be read; the others be refused")
    return tally


def _foreign(data: bytes) -> object:
    """Return what a general library reads; where RFC 8949 made a row of RFC 7049 invalid, something not ours."""
    try:
        return cbor2.loads(data)
    except cbor2.CBORDecodeError:
        return cbor2.undefined


def _is_read(data: bytes, value: object) -> bool:
    try:
        read = cbor.decode(data, size_max=ROW_SIZE_MAX)
    except RemoteProtocolError:
        return False
    return _as_lists(read) == value and cbor.encode(read) == data


def _is_refused(data: bytes) -> bool:
    try:
        cbor.decode(data, size_max=ROW_SIZE_MAX)
    except RemoteProtocolError:
        return True
    return False


def _is_allowed(value: object) -> bool:
    match value:
        case None | bool() | bytes() | str():
            return True
        case int():
            return -_UINT64_COUNT <= value < _UINT64_COUNT
        case list():
            return all(map(_is_allowed, value))
        case dict():
            return all(map(_is_key, value)) and all(map(_is_allowed, value.values()))
        case _:
            return False


def _is_key(key: object) -> bool:
    return isinstance(key, int) and (-_SMALL <= key < _SMALL or key == _PRIVATE_KEY)


def _as_lists(value: cbor.Value) -> object:
    match value:
        case tuple() | list():
            return [_as_lists(each) for each in value]
        case dict():
            return {key: _as_lists(each) for key, each in value.items()}
        case _:
            return value
