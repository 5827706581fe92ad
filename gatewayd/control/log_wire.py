"""Pieces of a journal on the control socket: bytes ⇄ JSON, read back strictly."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar

from firmware_protocol.errors import ProtocolError
from firmware_protocol.merkle import Frontier
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.journal.copies import LeafCopy
from gatewayd.journal.journal import SignedAt, SignedCheckpoint
from gatewayd.store.inspection import LogHeader, StoredTrust

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def header_to_json(header: LogHeader) -> dict[str, Any]:
    """Return a header."""
    return {
        "log_id": header.log_id.hex(),
        "size": header.size,
        "root": _text(header.root),
        "before": _text(header.before),
        "received": header.received,
    }


def leaves_to_json(leaves: tuple[LeafCopy, ...]) -> dict[str, Any]:
    """Return a page of entries."""
    return {"entries": [[leaf.index, _text(leaf.leaf), _text(leaf.hashed)] for leaf in leaves]}


def checkpoints_to_json(checkpoints: tuple[SignedCheckpoint, ...]) -> dict[str, Any]:
    """Return a page of checkpoints."""
    rows = [
        {
            "size": each.size,
            "root": _text(each.root),
            "note": _text(each.note),
            "boot": each.signed_at.boot,
            "boottime_ms": each.signed_at.boottime_ms,
            "receipt": _text(each.receipt),
        }
        for each in checkpoints
    ]
    return {"checkpoints": rows}


def trust_to_json(trust: StoredTrust) -> dict[str, Any]:
    """Return the signed objects."""
    return {"keyset": _text(trust.keyset), "doors": [_text(door) for door in trust.doors]}


def header_from_json(answer: dict[str, Any]) -> LogHeader:
    """Return a header.

    Raises:
        ControlError: MALFORMED.
    """
    return _strictly(
        lambda: LogHeader(
            log_id=bytes.fromhex(answer["log_id"]),
            size=_count(answer["size"]),
            root=_bytes(answer["root"]),
            before=Frontier.from_bytes(_bytes(answer["before"])).to_bytes(),
            received=_count(answer["received"]),
        )
    )


def leaves_from_json(answer: dict[str, Any]) -> tuple[LeafCopy, ...]:
    """Return a page of entries.

    Raises:
        ControlError: MALFORMED.
    """
    return _strictly(
        lambda: tuple(
            LeafCopy(index=_count(index), leaf=_bytes(leaf), hashed=_optional(hashed))
            for index, leaf, hashed in answer["entries"]
        )
    )


def checkpoints_from_json(answer: dict[str, Any]) -> tuple[SignedCheckpoint, ...]:
    """Return a page of checkpoints.

    Raises:
        ControlError: MALFORMED.
    """
    return _strictly(lambda: tuple(_checkpoint(row) for row in answer["checkpoints"]))


def trust_from_json(answer: dict[str, Any]) -> StoredTrust:
    """Return the signed objects.

    Raises:
        ControlError: MALFORMED.
    """
    return _strictly(
        lambda: StoredTrust(keyset=_optional(answer["keyset"]), doors=tuple(_bytes(door) for door in answer["doors"]))
    )


def _checkpoint(row: dict[str, Any]) -> SignedCheckpoint:
    return SignedCheckpoint(
        size=_count(row["size"]),
        root=_bytes(row["root"]),
        note=_bytes(row["note"]),
        signed_at=SignedAt(boot=_count(row["boot"]), boottime_ms=_count(row["boottime_ms"])),
        receipt=_optional(row["receipt"]),
    )


def _strictly(read: Callable[[], T]) -> T:
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, ProtocolError):
        raise ControlError(ControlCode.MALFORMED, "an answer that this command does not understand") from None


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


def _optional(value: str | None) -> bytes | None:
    return None if value is None else _bytes(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a count")
    return value
