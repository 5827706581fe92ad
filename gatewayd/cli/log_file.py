"""A journal as a file of lines: what `gatewayd log export` writes, for whoever keeps, searches or checks it elsewhere.

One JSON object a line. First the head: `{"carelock_log": 1, …}` with size, root, pruned part and the signed objects
that name its keys; then each remembered checkpoint with its receipt; then each entry, its exact text and leaf hash.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.errors import ProtocolError
from firmware_protocol.merkle import Frontier
from gatewayd.errors import GatewayError
from gatewayd.journal.copies import LeafCopy, LogCopy
from gatewayd.journal.journal import SignedAt, SignedCheckpoint
from gatewayd.journal.json_values import bytes_of, count_of, optional_bytes_of, optional_text_of, text_of
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
_STORE_HEAD_SIZE: Final = 16
"""Bytes with which a SQLite file begins: text, and then a zero."""
_TEXT: Final = re.compile(rb"[\t\n\r -~]+")


class LogFileError(GatewayError):
    """Not such a file, or a part of one."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__("log.malformed", f"{path}:{number}: not a line of an exported journal; export it again")


def is_export(path: Path) -> bool:
    """Tell whether a file begins as an export does.

    Raises:
        GatewayError: log.unreadable.
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError as error:
        raise GatewayError("log.unreadable", f"{path}: {error.strerror}") from error


def refuse_other_file(path: Path) -> None:
    """Refuse a file of text that is no export. What is not text may be a damaged store, and is read as one.

    Raises:
        GatewayError: log.malformed, log.unreadable.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_STORE_HEAD_SIZE)
    except OSError as error:
        raise GatewayError("log.unreadable", f"{path}: {error.strerror}") from error
    if _TEXT.fullmatch(start):
        raise GatewayError("log.malformed", f"{path}: neither a store nor what gatewayd log export writes")


def to_lines(copy: LogCopy, trust: StoredTrust) -> Iterator[str]:
    """Return the lines of a journal; its entries are read as they are asked for."""
    yield _line(
        {
            "carelock_log": VERSION,
            "log_id": copy.log_id.hex(),
            "size": copy.size,
            "root": optional_text_of(copy.root),
            "before": text_of(copy.before.to_bytes()),
            "received": copy.received,
            "keyset": optional_text_of(trust.keyset),
            "doors": [text_of(door) for door in trust.doors],
        }
    )
    for each in copy.checkpoints:
        yield _line(
            {
                "checkpoint": each.size,
                "root": text_of(each.root),
                "note": text_of(each.note),
                "boot": each.signed_at.boot,
                "boottime_ms": each.signed_at.boottime_ms,
                "receipt": optional_text_of(each.receipt),
            }
        )
    for leaf in copy.leaves:
        yield _line({"entry": leaf.index, "leaf_hash": optional_text_of(leaf.hashed)} | _leaf_to_json(leaf.leaf))


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
        size=count_of(head["size"]),
        root=optional_bytes_of(head["root"]),
        before=Frontier.from_bytes(bytes_of(head["before"])),
        leaves=leaves,
        checkpoints=checkpoints,
        received=count_of(head["received"]),
    )


def _trust(head: dict[str, Any]) -> StoredTrust:
    return StoredTrust(keyset=optional_bytes_of(head["keyset"]), doors=tuple(bytes_of(door) for door in head["doors"]))


def _checkpoint(row: dict[str, Any]) -> SignedCheckpoint:
    return SignedCheckpoint(
        size=count_of(row["checkpoint"]),
        root=bytes_of(row["root"]),
        note=bytes_of(row["note"]),
        signed_at=SignedAt(boot=count_of(row["boot"]), boottime_ms=count_of(row["boottime_ms"])),
        receipt=optional_bytes_of(row["receipt"]),
    )


def _leaves(
    path: Path, first: tuple[int, dict[str, Any]] | None, lines: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[LeafCopy]:
    if first is not None:
        yield _strictly(path, first[0], lambda: _leaf(first[1]))
    for number, members in lines:
        yield _strictly(path, number, lambda row=members: _leaf(row))  # type: ignore[misc]  # a default


def _leaf(row: dict[str, Any]) -> LeafCopy:
    leaf = row["leaf"].encode() if "leaf" in row else bytes_of(row["leaf_base64"])
    return LeafCopy(index=count_of(row["entry"]), leaf=leaf, hashed=optional_bytes_of(row["leaf_hash"]))


def _leaf_to_json(leaf: bytes) -> dict[str, str]:
    try:
        return {"leaf": leaf.decode()}
    except UnicodeDecodeError:  # altered bytes are evidence, and are exported as they are
        return {"leaf_base64": text_of(leaf)}


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
