"""The journal in this store: bound to its rows for the daemon, or copied out to be checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatewayd.journal.copies import LeafCopy, LogCopy
from gatewayd.journal.journal import Journal
from gatewayd.store import entries
from gatewayd.store.database import Database, Opening
from gatewayd.store.entries import CHECKPOINT_COLUMNS, checkpoint_of, frontier_of
from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayd.store.database import Transaction


def load_journal(tx: Transaction, *, gateway_id: bytes) -> Journal:
    """Return this store's journal."""
    ((log_id,),) = tx.execute("SELECT log_id FROM gateway")
    return Journal(gateway_id=gateway_id, log_id=log_id, store=entries)


SMALL_TABLES: Final = (
    *("gateway", "locks", "lock_homes", "signed_objects", "keysets", "authorities", "suspicions", "lockouts", "alarms"),
    "buckets",
)
"""What is read whole at a start, and checked row by row before it is believed."""


def check_whole(tx: Transaction, path: Path) -> None:
    """Check at opening what can be checked without reading everything.

    The small tables row by row, and that tree and entries end together: the same cost at any size of the journal.

    Raises:
        StoreError: DAMAGED.
    """
    for table in SMALL_TABLES:
        if tx.execute(f"PRAGMA quick_check({table})") != [("ok",)]:
            raise StoreError(StoreCode.DAMAGED, f"{path}: table {table} is not what was written")
    rows = tx.execute("SELECT log_size, oldest FROM gateway")
    if not rows:
        raise StoreError(StoreCode.DAMAGED, f"{path}: its one row is gone")
    ((size, oldest),) = rows
    ((last,),) = tx.execute("SELECT max(idx) FROM entries")
    end = oldest if last is None else last + 1
    if (entries.load_frontier(tx).size, end) != (size, size) or entries.load_oldest_frontier(tx).size != oldest:
        raise StoreError(StoreCode.DAMAGED, f"{path}: it states {size} entries, and they end at {end}")


def read_log(path: Path) -> LogCopy:
    """Return a copy of the journal in a store that no daemon has open; its leaves are read as they are asked for.

    Raises:
        StoreError: LOCKED, a daemon has it open: ask the daemon, or stop it. ABSENT, DAMAGED, NEWER_SCHEMA, IO.
    """
    database = Database(path, opening=Opening.INSPECTION)
    heads = list(database.stream("SELECT log_id, log_size, frontier, received, oldest_frontier FROM gateway"))
    if not heads:
        raise StoreError(StoreCode.DAMAGED, f"{path}: its one row is gone")
    ((log_id, size, frontier, received, before),) = heads
    checkpoints = database.stream(f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints ORDER BY log_size")  # noqa: S608 - our own column names
    return LogCopy(
        log_id=log_id,
        size=size,
        root=frontier_of(frontier).root(),
        before=frontier_of(before),
        leaves=_leaves(database),
        checkpoints=tuple(checkpoint_of(row) for row in checkpoints),
        received=received,
    )


def _leaves(database: Database) -> Iterator[LeafCopy]:
    try:
        for index, leaf, hashed in database.stream("SELECT idx, leaf, leaf_hash FROM entries ORDER BY idx"):
            yield LeafCopy(index=index, leaf=leaf, hashed=hashed)
    finally:
        database.close()
