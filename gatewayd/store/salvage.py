"""Goes on with what can still be read of a damaged store: a door must not stay shut because a card has rotted.

The damaged files are kept aside as they are. Signed objects are verified again when they are used, as ever;
counters skip what may have been used; the journal begins anew and names the old one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatewayd.store.creation import create_file
from gatewayd.store.database import Database, Opening
from gatewayd.store.entries import frontier_of
from gatewayd.store.faults import StoreError
from gatewayd.store.locks import SESSION_BLOCK_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayd.store.database import Row, Transaction

TABLES: Final = (
    *("signed_objects", "keysets", "authorities", "grants", "locks", "lock_homes", "lock_records", "commands"),
    *("grant_uses", "issued", "lockouts", "buckets", "alarms", "suspicions", "former_entries"),
)
"""Copied row by row; the journal's entries are carried over instead."""
SKIPPED_BLOCK_COUNT: Final = 2
"""Blocks of session counters that are skipped: the newest reservation may be what was lost."""
REASON: Final = "store.damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """What became of it."""

    aside: Path
    """Where the damaged file is now."""
    row_count: int
    """Rows that could be read."""


def salvage(path: Path, *, log_id: bytes) -> Salvaged:
    """Put the damaged store at `path` aside, and in its place one of what can be read of it.

    `log_id`: 16 random bytes, which stand for the old log where even its name is lost. A power cut in between
    leaves either the damaged store or the new one.

    Raises:
        StoreError: FULL, READ_ONLY, IO.
    """
    new = path.with_name(f"{path.name}.salvaged")
    for leftover in (new, *_logs_of(new)):
        leftover.unlink(missing_ok=True)
    create_file(new, log_id=log_id)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        row_count = _fill(new, _copy_of(path, Path(folder)))
    aside = next(each for each in _places_aside(path) if not os.path.lexists(each))
    for file, place in zip((*_logs_of(path), path), (*_logs_of(aside), aside), strict=True):
        with suppress(FileNotFoundError):
            file.rename(place)
    new.rename(path)
    return Salvaged(aside=aside, row_count=row_count)


def finish(path: Path) -> bool:
    """Put the new store in place where a power cut came between the two renamings; False where there is none."""
    new = path.with_name(f"{path.name}.salvaged")
    if os.path.lexists(path) or any(os.path.lexists(log) for log in _logs_of(path)) or not new.exists():
        return False
    new.rename(path)
    return True


def _places_aside(path: Path) -> Iterator[Path]:
    return (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))


def _logs_of(path: Path) -> tuple[Path, ...]:
    return tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))


def _copy_of(path: Path, folder: Path) -> Path:
    # SQLite folds the log into the copy; the damaged files themselves are evidence, and stay as they are.
    for file in (path, *_logs_of(path)):
        if file.is_file():
            shutil.copy(file, folder)
    return folder / path.name


def _fill(new: Path, damaged: Path) -> int:
    target = Database(new)
    try:
        source = _source(damaged)
        if source is None:  # not even a database any more
            target.run(lambda tx: _begin(tx, None))
            return 0
        try:
            return target.run(lambda tx: _fill_from(tx, source))
        finally:
            with suppress(StoreError):
                source.close()
    finally:
        target.close()


def _source(damaged: Path) -> Database | None:
    try:
        return Database(damaged, opening=Opening.SALVAGE)
    except StoreError:
        return None


def _fill_from(tx: Transaction, source: Database) -> int:
    heads = _readable(
        source, "SELECT log_id, log_size, frontier, received, boot, machine_boot, time_floor_ms FROM gateway"
    )
    head = heads[0] if heads else None
    received = _begin(tx, head)
    row_count = sum(_copy(tx, source, table) for table in TABLES)
    for index, leaf in _both_ways(source, "SELECT idx, leaf FROM entries", "idx"):
        if index >= received:
            tx.execute("INSERT OR IGNORE INTO former_entries VALUES (?, ?)", (index, leaf))
    tx.execute("DELETE FROM lock_records WHERE journal_index >= ?", (received,))
    tx.execute("UPDATE lock_records SET journal_index = -1")
    tx.execute("UPDATE locks SET session_reserved = session_reserved + ?", (SKIPPED_BLOCK_COUNT * SESSION_BLOCK_COUNT,))
    ((carried_count,),) = tx.execute("SELECT count(*) FROM former_entries")
    return int(row_count + carried_count)


def _begin(tx: Transaction, head: Row | None) -> int:
    """Let the journal be an empty rest of the one that was, and doubt it; return how much of that was received."""
    tx.execute("UPDATE gateway SET doubt = ?, repaired = 1", (REASON,))
    if head is None:
        return 0
    log_id, size, frontier, received, boot, machine_boot, floor_ms = head
    tx.execute("UPDATE gateway SET boot = ?, machine_boot = ?, time_floor_ms = ?", (boot, machine_boot, floor_ms))
    with suppress(StoreError):
        if frontier_of(frontier).size == size:
            tx.execute(
                "UPDATE gateway SET log_id = ?1, log_size = ?2, frontier = ?3, received = ?2, sent = ?2, oldest = ?2, "
                "oldest_frontier = ?3",
                (log_id, size, frontier),
            )
    return int(received)


def _copy(tx: Transaction, source: Database, table: str) -> int:
    known = {name for (_, name, *_) in tx.execute(f"PRAGMA table_info({table})")}
    named = [row[1] for row in _readable(source, f"PRAGMA table_info({table})") if row[1] in known]
    if not named:
        return 0
    columns = ", ".join(named)
    rows = _both_ways(source, f"SELECT {columns} FROM {table}", named[0])  # noqa: S608 - our own names
    places = ", ".join("?" * len(named))
    kept_count = 0
    for row in rows:
        with suppress(StoreError):  # what the schema does not allow has rotted
            tx.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", row)  # noqa: S608 - our own names
            kept_count += 1
    return kept_count


def _both_ways(source: Database, sql: str, key: str) -> Iterator[Row]:
    """Yield the rows up to the damage, and then from the other end down to it."""
    for order in ("ASC", "DESC"):
        try:
            yield from source.stream(f"{sql} ORDER BY {key} {order}")
        except StoreError:
            continue
        return


def _readable(source: Database, sql: str) -> list[Row]:
    rows: list[Row] = []
    with suppress(StoreError):
        rows.extend(source.stream(sql))
    return rows
