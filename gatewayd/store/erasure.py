"""Erases what entries say, and keeps what the tree says of them.

An entry's hash was made with a salt of 16 random bytes inside it: without the entry nobody can guess back from the
hash what it said, and every proof over the rest of the journal still holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayd.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What became of the entries that were asked for."""

    count: int
    """Their words are gone from this store."""
    waiting_count: int
    """The central log has not signed for them yet: erasing them now would lose them (law 4)."""


def erase_entries(tx: Transaction, indexes: Iterable[int]) -> Erased:
    """Erase the words of received entries; an entry that is erased, or pruned, already counts for nothing.

    The words are overwritten where they stand, and once this is durable the write-ahead log has no earlier version of
    their pages. What a release before this one has left about goes with `Database.compact`.
    """
    ((received,),) = tx.execute("SELECT received FROM gateway")
    tx.execute("PRAGMA secure_delete = ON")
    tx.cut_log()
    count = waiting_count = 0
    for index in sorted(indexes):
        if index >= received:
            waiting_count += 1
            continue
        ((before,),) = tx.execute("SELECT total_changes()")
        tx.execute("UPDATE entries SET leaf = x'' WHERE idx = ? AND leaf <> x''", (index,))
        ((after,),) = tx.execute("SELECT total_changes()")
        count += after - before
    tx.execute("PRAGMA secure_delete = FAST")  # ON costs a writing of every page that is freed
    return Erased(count=count, waiting_count=waiting_count)
