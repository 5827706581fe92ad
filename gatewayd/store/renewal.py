"""Begins the journal anew, under another name, where the old one cannot be borne out any more.

Nothing that the central log has not signed for is lost: it waits as a former entry until it is carried over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_protocol.merkle import Frontier
from gatewayd.store.entries import load_frontier

if TYPE_CHECKING:
    from gatewayd.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerLog:
    """The log that was, as far as it is known."""

    log_id: bytes
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerEntry:
    """An entry of it that was not received."""

    index: int
    leaf: bytes


def note_doubt(tx: Transaction, reason: str) -> None:
    """Remember durably that the journal must begin anew, and why; the first reason stands."""
    tx.execute("UPDATE gateway SET doubt = ? WHERE doubt = ''", (reason,))


def load_doubt(tx: Transaction) -> str:
    """Return why the journal must begin anew; empty where it need not."""
    ((reason,),) = tx.execute("SELECT doubt FROM gateway")
    return str(reason)


def begin_anew(tx: Transaction, log_id: bytes) -> FormerLog:
    """Make the journal an empty one called `log_id`, and return what it was.

    What was received of the locks' logs stays received. An index of the old log means nothing in the new one, so
    the places of the other records are learned again when their entries are carried over. What it says of revocations
    is doubted too, until a newer AuthorityState is saved.
    """
    tree = load_frontier(tx)
    ((former_id, received),) = tx.execute("SELECT log_id, received FROM gateway")
    tx.execute("INSERT OR IGNORE INTO former_entries SELECT idx, leaf FROM entries WHERE idx >= ?", (received,))
    for table in ("entries", "checkpoints"):
        tx.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    tx.execute("DELETE FROM lock_records WHERE journal_index >= ?", (received,))
    tx.execute("UPDATE lock_records SET journal_index = -1")
    tx.execute("DELETE FROM volatile WHERE name = 'journal/sent'")
    empty = Frontier.empty().to_bytes()
    tx.execute(
        "UPDATE gateway SET log_id = ?1, log_size = 0, frontier = ?2, sent = 0, received = 0, oldest = 0, "
        "oldest_frontier = ?2, doubt = '', repaired = 1",
        (log_id, empty),
    )
    return FormerLog(log_id=former_id, size=tree.size, root=tree.root())


def read_former(tx: Transaction, count: int) -> tuple[FormerEntry, ...]:
    """Return the oldest entries that wait to be carried over."""
    rows = tx.execute("SELECT idx, leaf FROM former_entries ORDER BY idx LIMIT ?", (count,))
    return tuple(FormerEntry(index=index, leaf=leaf) for index, leaf in rows)


def forget_former(tx: Transaction, index: int) -> None:
    """Forget one that has been carried over."""
    tx.execute("DELETE FROM former_entries WHERE idx = ?", (index,))
