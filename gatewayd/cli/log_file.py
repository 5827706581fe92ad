"""A journal as a file of lines: what `gatewayd log export` writes, for whoever keeps, searches or checks it elsewhere.

One JSON object a line. First the head: `{"carelock_log": 1, …}` with size, root, pruned part and the signed objects
that name its keys; then each remembered checkpoint with its receipt; then each entry, its exact text and leaf hash.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.errors import ProtocolError
from firmware_protocol.merkle import Frontier
from gatewayd.errors import GatewayError
from gatewayd.journal.copies import LeafCopy, LogCopy
from gatewayd.journal.journal import SignedAt, SignedCheckpoint
from gatewayd.store.inspection import StoredTrust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO, TypeVar

    T = TypeVar("T")

VERSION: Final = 1
LINE_SIZE_MAX: Final = 65_536
"""Longest line, in bytes: an entry of 8 KiB with every character escaped."""
_HEAD: Final = b'{"carelock_log":'


class LogFileError(GatewayError):
    """Not such a file, or a part of one."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__("log.malformed", f"{path}:{number}: not a line of an exported journal; export it again")


def is_export(path: Path) -> bool:
    """Tell whether a file begins as an export does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_HEAD)) == _HEAD


def to_lines(copy: LogCopy, trust: StoredTrust) -> Iterator[str]:
    """Return the lines of a journal; its entries are read as they are asked for."""
    yield _line(
        {
            "carelock_log": VERSION,
            "log_id": copy.log_id.hex(),
            "size": copy.size,
            "root": _text(copy.root),
            "before": _text(copy.before.to_bytes()),
            "received": copy.received,
            "keyset": _text(trust.keyset),
            "doors": [_text(door) for door in trust.doors],
        }
    )
    for each in copy.checkpoints:
        yield _line(
            {
                "checkpoint": each.size,
                "root": _text(each.root),
                "note": _text(each.note),
                "boot": each.signed_at.boot,
                "boottime_ms": each.signed_at.boottime_ms,
                "receipt": _text(each.receipt),
            }
        )
    for leaf in copy.leaves:
        yield _line({"entry": leaf.index, "leaf_hash": _text(leaf.hashed)} | _leaf_to_json(leaf.leaf))


def read_export(path: Path) -> tuple[LogCopy, StoredTrust]:
    """Return the journal in a file; its entries are read as they are asked for, once.

    Raises:
        LogFileError: at once for the head and the checkpoints, while reading for the entries.
        GatewayError: log.unreadable.
    """
    try:
        lines = _lines(path, path.open("rb"))
    except OSError as error:
        raise GatewayError("log.unreadable", f"{path}: {error.strerror}") from error
    head, checkpoints, first = {}, [], None
    for number, members in lines:
        if number == 1:
            head = members
        elif "checkpoint" in members:
            checkpoints.append(_strictly(path, number, lambda row=members: _checkpoint(row)))  # type: ignore[misc]  # a default
        else:
            first = (number, members)
            break
    copy = _strictly(path, 1, lambda: _copy(head, tuple(checkpoints), _leaves(path, first, lines)))
    trust = _strictly(path, 1, lambda: _trust(head))
    return copy, trust


def _copy(head: dict[str, Any], checkpoints: tuple[SignedCheckpoint, ...], leaves: Iterator[LeafCopy]) -> LogCopy:
    if head["carelock_log"] != VERSION:
        raise ValueError("another version")
    return LogCopy(
        log_id=bytes.fromhex(head["log_id"]),
        size=_count(head["size"]),
        root=_optional(head["root"]),
        before=Frontier.from_bytes(_bytes(head["before"])),
        leaves=leaves,
        checkpoints=checkpoints,
        received=_count(head["received"]),
    )


def _trust(head: dict[str, Any]) -> StoredTrust:
    return StoredTrust(keyset=_optional(head["keyset"]), doors=tuple(_bytes(door) for door in head["doors"]))


def _checkpoint(row: dict[str, Any]) -> SignedCheckpoint:
    return SignedCheckpoint(
        size=_count(row["checkpoint"]),
        root=_bytes(row["root"]),
        note=_bytes(row["note"]),
        signed_at=SignedAt(boot=_count(row["boot"]), boottime_ms=_count(row["boottime_ms"])),
        receipt=_optional(row["receipt"]),
    )


def _leaves(
    path: Path, first: tuple[int, dict[str, Any]] | None, lines: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[LeafCopy]:
    if first is not None:
        yield _strictly(path, first[0], lambda: _leaf(first[1]))
    for number, members in lines:
        yield _strictly(path, number, lambda row=members: _leaf(row))  # type: ignore[misc]  # a default


def _leaf(row: dict[str, Any]) -> LeafCopy:
    leaf = row["leaf"].encode() if "leaf" in row else _bytes(row["leaf_base64"])
    return LeafCopy(index=_count(row["entry"]), leaf=leaf, hashed=_optional(row["leaf_hash"]))


def _leaf_to_json(leaf: bytes) -> dict[str, str]:
    try:
        return {"leaf": leaf.decode()}
    except UnicodeDecodeError:  # altered bytes are evidence, and are exported as they are
        return {"leaf_base64": base64.b64encode(leaf).decode()}


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    with file:
        number = 0
        while line := file.readline(LINE_SIZE_MAX + 1):
            number += 1
            try:
                members = json.loads(line) if len(line) <= LINE_SIZE_MAX else None
            except (ValueError, RecursionError):
                members = None
            if not isinstance(members, dict):
                raise LogFileError(path, number)
            yield number, members


def _strictly(path: Path, number: int, read: Callable[[], T]) -> T:
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, ProtocolError):
        raise LogFileError(path, number) from None


def _line(members: dict[str, Any]) -> str:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


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
