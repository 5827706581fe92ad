"""How much a store holds and whether it is whole: numbers, and not a word of what stands in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatewayd.store.database import Database, Opening
from gatewayd.store.log import SMALL_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gatewayd.store.database import Transaction

CHECK_COUNT_MAX: Final = 10
"""Faults after which a check of the whole file stops."""


ROW_COUNT_MAX: Final = 10_000
"""As far as rows are counted while a daemon serves doors with the store: a command that comes waits for so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCounts:
    """A store in numbers."""

    schema_version: int
    boot: int
    size: int
    """Entries that the journal ever had."""
    sent: int
    """As it was last written down; the daemon is further."""
    received: int
    oldest: int
    rows: Mapping[str, int]
    """By table; at most `ROW_COUNT_MAX` unless the whole file was read."""
    faults: int
    """What a check has found; 0: nothing."""
    checked: str
    """What was checked: the small tables while a daemon serves doors with it, else the whole file."""
    locks: tuple[str, ...]
    """Their ids, 16 hex digits, as `gatewayd status` shows them."""


def count(tx: Transaction, *, whole: bool = False) -> StoreCounts:
    """Return the numbers. `whole` reads the whole file; else the cost is that of a start."""
    ((schema_version,),) = tx.execute("PRAGMA user_version")
    ((boot, size, sent, received, oldest),) = tx.execute("SELECT boot, log_size, sent, received, oldest FROM gateway")
    tables = [name for (name,) in tx.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    checks = [f"quick_check({CHECK_COUNT_MAX})"] if whole else [f"quick_check({table})" for table in SMALL_TABLES]
    found = [row for check in checks for row in tx.execute(f"PRAGMA {check}")]
    return StoreCounts(
        schema_version=schema_version,
        boot=boot,
        size=size,
        sent=sent,
        received=received,
        oldest=oldest,
        rows={table: _rows(tx, table, -1 if whole else ROW_COUNT_MAX) for table in tables if table.isidentifier()},
        faults=sum(row != ("ok",) for row in found),
        checked="the whole file" if whole else "the small tables",
        locks=tuple(lock_id.hex() for (lock_id,) in tx.execute("SELECT lock_id FROM lock_homes ORDER BY lock_id")),
    )


def count_file(path: Path) -> StoreCounts:
    """Return the numbers of a store that no daemon has open; nothing is written.

    Raises:
        StoreError: LOCKED, ABSENT, FOREIGN, DAMAGED, NEWER_SCHEMA, IO.
    """
    database = Database(path, opening=Opening.INSPECTION)
    try:
        return database.look(lambda tx: count(tx, whole=True))
    finally:
        database.close()


def _rows(tx: Transaction, table: str, count_max: int) -> int:
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT ?)"  # noqa: S608 - the schema's name, an identifier
    ((number,),) = tx.execute(sql, (count_max,))
    return int(number)
