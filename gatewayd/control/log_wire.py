"""Pieces of a journal on the control socket: bytes ⇄ JSON, read back strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from firmware_protocol.errors import ProtocolError
from firmware_protocol.merkle import Frontier
from gatewayd.control.messages import ControlCode, ControlError
from gatewayd.journal.copies import LeafCopy
from gatewayd.journal.journal import SignedAt, SignedCheckpoint
from gatewayd.journal.json_values import bytes_of, count_of, optional_bytes_of, optional_text_of, text_of
from gatewayd.store.erasure import Erased
from gatewayd.store.inspection import LogHeader, StoredTrust

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def header_to_json(header: LogHeader) -> dict[str, Any]:
    """Return a header."""
    return {
        "log_id": header.log_id.hex(),
        "size": header.size,
        "root": text_of(header.root),
        "before": text_of(header.before),
        "received": header.received,
    }


def leaves_to_json(leaves: tuple[LeafCopy, ...]) -> dict[str, Any]:
    """Return a page of entries."""
    return {"entries": [[leaf.index, text_of(leaf.leaf), optional_text_of(leaf.hashed)] for leaf in leaves]}


def checkpoints_to_json(checkpoints: tuple[SignedCheckpoint, ...]) -> dict[str, Any]:
    """Return a page of checkpoints."""
    rows = [
        {
            "size": each.size,
            "root": text_of(each.root),
            "note": text_of(each.note),
            "boot": each.signed_at.boot,
            "boottime_ms": each.signed_at.boottime_ms,
            "receipt": optional_text_of(each.receipt),
        }
        for each in checkpoints
    ]
    return {"checkpoints": rows}


def trust_to_json(trust: StoredTrust) -> dict[str, Any]:
    """Return the signed objects."""
    return {"keyset": optional_text_of(trust.keyset), "doors": [text_of(door) for door in trust.doors]}


def header_from_json(answer: dict[str, Any]) -> LogHeader:
    """Return a header.

    Raises:
        ControlError: MALFORMED.
    """
    return _strictly(
        lambda: LogHeader(
            log_id=bytes.fromhex(answer["log_id"]),
            size=count_of(answer["size"]),
            root=bytes_of(answer["root"]),
            before=Frontier.from_bytes(bytes_of(answer["before"])).to_bytes(),
            received=count_of(answer["received"]),
        )
    )


def leaves_from_json(answer: dict[str, Any]) -> tuple[LeafCopy, ...]:
    """Return a page of entries.

    Raises:
        ControlError: MALFORMED.
    """
    return _strictly(
        lambda: tuple(
            LeafCopy(index=count_of(index), leaf=bytes_of(leaf), hashed=optional_bytes_of(hashed))
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
        lambda: StoredTrust(
            keyset=optional_bytes_of(answer["keyset"]), doors=tuple(bytes_of(door) for door in answer["doors"])
        )
    )


def erased_from_json(answer: dict[str, Any]) -> Erased:
    """Return what became of entries that were to be erased.

    Raises:
        ControlError: MALFORMED.
    """
    return _strictly(lambda: Erased(count=count_of(answer["count"]), waiting_count=count_of(answer["waiting_count"])))


def _checkpoint(row: dict[str, Any]) -> SignedCheckpoint:
    return SignedCheckpoint(
        size=count_of(row["size"]),
        root=bytes_of(row["root"]),
        note=bytes_of(row["note"]),
        signed_at=SignedAt(boot=count_of(row["boot"]), boottime_ms=count_of(row["boottime_ms"])),
        receipt=optional_bytes_of(row["receipt"]),
    )


def _strictly(read: Callable[[], T]) -> T:
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, ProtocolError):
        raise ControlError(ControlCode.MALFORMED, "an answer that this command does not understand") from None
