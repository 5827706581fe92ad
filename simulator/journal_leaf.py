"""One leaf of a gateway's journal as its readers see it: CloudEvents in JSON, bytes that the tree names (§13)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import ID_SIZE
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.vocabulary import LOG_ID_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAF_SIZE_MAX: Final = 16_384
"""Longest leaf that a reader takes, in bytes."""
INDEX_MAX: Final = 2**53 - 1
_SOURCE_PARTS: Final = 3
_LOCK_SOURCE_PARTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a leaf says of itself. Whether it belongs to the tree, only a checkpoint tells."""

    raw: bytes
    gateway_id: bytes
    log_id: bytes
    index: int
    lock_id: bytes | None
    type: str
    data: Mapping[str, Any]


def read_leaf(raw: bytes) -> Leaf:
    """Read `raw`.

    Raises:
        RemoteProtocolError: TOO_LARGE or MALFORMED.
    """
    if len(raw) > LEAF_SIZE_MAX:
        raise RemoteProtocolError(Code.TOO_LARGE, f"leaf of {len(raw)} bytes")
    try:
        event = json.loads(raw)
        log_id, _, index = event["id"].partition("/")
        gateway_id, lock_id = _source(event["source"])
        leaf = Leaf(
            raw=raw,
            gateway_id=gateway_id,
            log_id=_octets(log_id, LOG_ID_SIZE),
            index=_index(index),
            lock_id=lock_id,
            type=str(event["type"]),
            data=dict(event["data"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RemoteProtocolError(Code.MALFORMED, "not a leaf of a journal") from error
    return leaf


def _source(source: str) -> tuple[bytes, bytes | None]:
    parts = source.split("/")
    if parts[:2] != ["", "gateways"] or len(parts) not in {_SOURCE_PARTS, _LOCK_SOURCE_PARTS}:
        raise ValueError("a source of another form")
    gateway_id = _octets(parts[2], ID_SIZE)
    if len(parts) == _SOURCE_PARTS:
        return gateway_id, None
    if parts[3] != "locks":
        raise ValueError("a source of another form")
    return gateway_id, _octets(parts[4], ID_SIZE)


def _octets(text: str, size: int) -> bytes:
    octets = bytes.fromhex(text)
    if octets.hex() != text or len(octets) != size:
        raise ValueError("an id of another form")
    return octets


def _index(text: str) -> int:
    index = int(text)
    if str(index) != text or not 0 <= index <= INDEX_MAX:
        raise ValueError("an index of another form")
    return index
