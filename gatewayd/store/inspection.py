"""What the outside may read of a store: pages of the journal, and the signed objects that name its keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_protocol.merkle import Frontier
from gatewayd.journal.copies import LeafCopy
from gatewayd.store import locks, trust
from gatewayd.store.database import Database, Opening
from gatewayd.store.entries import CHECKPOINT_COLUMNS, checkpoint_of

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayd.journal.journal import SignedCheckpoint
    from gatewayd.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHeader:
    """A journal at one moment; pages of it follow."""

    log_id: bytes
    """16 bytes."""
    size: int
    """Entries ever appended."""
    root: bytes
    """Of the tree over them, 32 bytes."""
    before: bytes
    """`Frontier.to_bytes` of the tree over the entries that were pruned."""
    received: int
    """Entries below it are covered by a receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrust:
    """Signed objects as they are kept; whoever reads them verifies them."""

    keyset: bytes | None
    doors: tuple[bytes, ...]


def read_header(tx: Transaction) -> LogHeader:
    """Return where the journal stands."""
    ((log_id, size, frontier, received, before),) = tx.execute(
        "SELECT log_id, log_size, frontier, received, oldest_frontier FROM gateway"
    )
    return LogHeader(
        log_id=log_id, size=size, root=Frontier.from_bytes(frontier).root(), before=before, received=received
    )


def read_leaves(tx: Transaction, from_index: int, count: int, size_max: int) -> tuple[LeafCopy, ...]:
    """Return entries in order: at most `count`, and `size_max` bytes, but always one if there is one."""
    rows = tx.execute(
        "SELECT idx, leaf, leaf_hash FROM entries WHERE idx >= ? ORDER BY idx LIMIT ?", (from_index, count)
    )
    taken: list[LeafCopy] = []
    for index, leaf, hashed in rows:
        size_max -= len(leaf)
        if taken and size_max < 0:
            break
        taken.append(LeafCopy(index=index, leaf=leaf, hashed=hashed))
    return tuple(taken)


def read_checkpoints(tx: Transaction, above_size: int, count: int) -> tuple[SignedCheckpoint, ...]:
    """Return remembered checkpoints of more than `above_size` entries, by size."""
    rows = tx.execute(
        f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints WHERE log_size > ? ORDER BY log_size LIMIT ?",  # noqa: S608 - our own column names
        (above_size, count),
    )
    return tuple(checkpoint_of(row) for row in rows)


def read_trust(tx: Transaction) -> StoredTrust:
    """Return the signed objects that name keys."""
    homes = locks.load_lock_homes(tx)
    return StoredTrust(keyset=trust.load_keyset(tx), doors=tuple(home.door for home in homes))


def read_trust_file(path: Path) -> StoredTrust:
    """Return the same from a store that no daemon has open.

    Raises:
        StoreError: LOCKED, ABSENT, DAMAGED, NEWER_SCHEMA, IO.
    """
    database = Database(path, opening=Opening.INSPECTION)
    try:
        keysets = [raw for (raw,) in database.stream("SELECT raw FROM signed_objects WHERE kind = 'keyset'")]
        doors = tuple(raw for (raw,) in database.stream("SELECT door FROM lock_homes ORDER BY lock_id"))
    finally:
        database.close()
    return StoredTrust(keyset=keysets[0] if keysets else None, doors=doors)
