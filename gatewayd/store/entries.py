"""The journal's rows; this module, as it is, implements `journal.journal.JournalStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.merkle import Frontier
from gatewayd.journal.journal import Marks, SignedAt, SignedCheckpoint
from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from gatewayd.journal.journal import Handle
    from gatewayd.store.database import Row

CHECKPOINT_COUNT_MAX: Final = 256
"""Checkpoints remembered, two months of idle ones; a receipt over an older one is refused, and the next one counts."""
SENT_COUNT_LOST_MAX: Final = 256
"""The sent mark is written to disk when it is so far ahead of there: what a restart sends twice at most."""

CHECKPOINT_COLUMNS: Final = "log_size, root, note, signed_boot, signed_boottime_ms, receipt"
_SENT: Final = "journal/sent"


def load_marks(tx: Handle) -> Marks:
    """Return how far everybody is."""
    ((size, sent, received, oldest),) = tx.execute(
        "SELECT log_size, coalesce((SELECT value FROM volatile WHERE name = ?), sent), received, oldest FROM gateway",
        (_SENT,),
    )
    return Marks(size=size, sent=sent, received=received, oldest=oldest)


def load_frontier(tx: Handle) -> Frontier:
    """Return the frontier of the whole tree."""
    ((frontier,),) = tx.execute("SELECT frontier FROM gateway")
    return frontier_of(frontier)


def load_oldest_frontier(tx: Handle) -> Frontier:
    """Return the frontier of the tree over what has been pruned."""
    ((frontier,),) = tx.execute("SELECT oldest_frontier FROM gateway")
    return frontier_of(frontier)


def add_entry(tx: Handle, leaf: bytes, hashed: bytes, frontier: Frontier) -> None:
    """Append an entry; `frontier` is the tree's with it."""
    tx.execute("INSERT INTO entries (idx, leaf, leaf_hash) VALUES (?, ?, ?)", (frontier.size - 1, leaf, hashed))
    tx.execute("UPDATE gateway SET log_size = ?, frontier = ?", (frontier.size, frontier.to_bytes()))


def read_entries(tx: Handle, from_index: int, count: int) -> list[tuple[int, bytes, bytes]]:
    """Return entries in order: index, leaf, leaf hash."""
    sql = "SELECT idx, leaf, leaf_hash FROM entries WHERE idx >= ? ORDER BY idx LIMIT ?"
    return [(index, leaf, hashed) for index, leaf, hashed in tx.execute(sql, (from_index, count))]


def newest_checkpoint(tx: Handle) -> SignedCheckpoint | None:
    """Return the remembered checkpoint over most entries."""
    rows = tx.execute(f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints ORDER BY log_size DESC LIMIT 1")  # noqa: S608 - our own column names
    return checkpoint_of(rows[0]) if rows else None


def save_sent(tx: Handle, sent: int) -> None:
    """Move the sent mark, either way; the disk hears of it when it falls below, or far behind."""
    tx.execute("INSERT OR REPLACE INTO volatile (name, value) VALUES (?, ?)", (_SENT, sent))
    tx.execute(
        "UPDATE gateway SET sent = ?1 WHERE sent > ?1 OR sent + ?2 <= ?1",
        (sent, SENT_COUNT_LOST_MAX),
    )


def save_received(tx: Handle, received: int, receipt: bytes) -> None:
    """Raise the received mark, and keep the receipt that says so; what is received has been sent."""
    tx.execute("UPDATE gateway SET received = ?1, sent = max(sent, ?1) WHERE received < ?1", (received,))
    tx.execute("UPDATE checkpoints SET receipt = ? WHERE log_size = ?", (receipt, received))


def load_receipt(tx: Handle) -> bytes | None:
    """Return the receipt that says how far we are received."""
    rows = tx.execute("SELECT receipt FROM checkpoints WHERE log_size = (SELECT received FROM gateway)")
    return rows[0][0] if rows else None


def drop_oldest(tx: Handle, count: int) -> None:
    """Forget the oldest entries; their hashes go into the frontier at the new oldest one."""
    ((oldest, raw),) = tx.execute("SELECT oldest, oldest_frontier FROM gateway")
    frontier = frontier_of(raw)
    end = oldest + count
    for (hashed,) in tx.execute("SELECT leaf_hash FROM entries WHERE idx < ? ORDER BY idx", (end,)):
        frontier = frontier.append(hashed)
    if frontier.size != end:
        raise StoreError(StoreCode.DAMAGED, f"{end - frontier.size} entries are missing below {end}")
    tx.execute("DELETE FROM entries WHERE idx < ?", (end,))
    tx.execute("UPDATE gateway SET oldest = ?, oldest_frontier = ?", (end, frontier.to_bytes()))


def save_checkpoint(tx: Handle, checkpoint: SignedCheckpoint) -> None:
    """Remember a checkpoint; only the newest ones are kept, and the one whose receipt says how far we are received."""
    tx.execute(
        "INSERT INTO checkpoints (log_size, root, note, signed_boot, signed_boottime_ms) VALUES (?, ?, ?, ?, ?)",
        (
            checkpoint.size,
            checkpoint.root,
            checkpoint.note,
            checkpoint.signed_at.boot,
            checkpoint.signed_at.boottime_ms,
        ),
    )
    tx.execute(
        "DELETE FROM checkpoints WHERE log_size <= "
        "(SELECT log_size FROM checkpoints ORDER BY log_size DESC LIMIT 1 OFFSET ?)"
        " AND log_size <> (SELECT received FROM gateway)",
        (CHECKPOINT_COUNT_MAX,),
    )


def find_checkpoint(tx: Handle, size: int) -> SignedCheckpoint | None:
    """Return the remembered checkpoint of this size."""
    rows = tx.execute(f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints WHERE log_size = ?", (size,))  # noqa: S608 - our own column names
    return checkpoint_of(rows[0]) if rows else None


def frontier_of(raw: bytes) -> Frontier:
    """Return a tree as it is kept.

    Raises:
        StoreError: DAMAGED.
    """
    try:
        return Frontier.from_bytes(raw)
    except (RemoteProtocolError, TypeError) as error:  # in a page that rotted even the type may be another
        raise StoreError(StoreCode.DAMAGED, "a tree whose hashes do not fit its size") from error


def checkpoint_of(row: Row) -> SignedCheckpoint:
    """Return a row of `CHECKPOINT_COLUMNS`."""
    size, root, note, boot, boottime_ms, receipt = row
    return SignedCheckpoint(
        size=size, root=root, note=note, signed_at=SignedAt(boot=boot, boottime_ms=boottime_ms), receipt=receipt
    )
