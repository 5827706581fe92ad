"""The journal in this store: bound to its rows for the daemon, or copied out to be checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.merkle import Frontier
from gatewayd.journal.journal import Journal
from gatewayd.journal.verification import LeafCopy, LogCopy
from gatewayd.store import entries
from gatewayd.store.database import Database, Opening
from gatewayd.store.entries import CHECKPOINT_COLUMNS, checkpoint_of
from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayd.store.database import Transaction


def load_journal(tx: Transaction, *, gateway_id: bytes) -> Journal:
    """Return this store's journal.

    Raises:
        StoreError: DAMAGED, the entries do not reach as far as the tree over them.
    """
    ((log_id, size, oldest),) = tx.execute("SELECT log_id, log_size, oldest FROM gateway")
    ((last,),) = tx.execute("SELECT max(idx) FROM entries")
    if entries.load_frontier(tx).size != size or (oldest if last is None else last + 1) != size:
        raise StoreError(StoreCode.DAMAGED, f"the tree covers {size} entries, the last one kept is {last}")
    return Journal(gateway_id=gateway_id, log_id=log_id, store=entries)


def read_log(path: Path) -> LogCopy:
    """Return a copy of the journal in a store that no daemon has open; its leaves are read as they are asked for.

    Raises:
        StoreError: LOCKED, a daemon has it open: ask the daemon, or stop it. ABSENT, DAMAGED, NEWER_SCHEMA, IO.
    """
    database = Database(path, opening=Opening.INSPECTION)
    ((log_id, size, frontier, received, before),) = database.stream(
        "SELECT log_id, log_size, frontier, received, oldest_frontier FROM gateway"
    )
    return LogCopy(
        log_id=log_id,
        size=size,
        root=Frontier.from_bytes(frontier).root(),
        before=Frontier.from_bytes(before),
        leaves=_leaves(database),
        checkpoints=tuple(
            checkpoint_of(row)
            for row in database.stream(f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints ORDER BY log_size")  # noqa: S608 - our own column names
        ),
        received=received,
    )


def _leaves(database: Database) -> Iterator[LeafCopy]:
    try:
        for index, leaf, hashed in database.stream("SELECT idx, leaf, leaf_hash FROM entries ORDER BY idx"):
            yield LeafCopy(index=index, leaf=leaf, hashed=hashed)
    finally:
        database.close()
