"""Signed proof against ourselves, kept over restarts: only a new PairingOrder takes it away."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayd.store.database import Transaction


def suspect_all(tx: Transaction, reason: str) -> None:
    """Suspect that a second holder of our keys talks to every lock that we have."""
    tx.execute("INSERT OR IGNORE INTO suspicions SELECT lock_id, ? FROM locks", (reason,))


def suspect(tx: Transaction, lock_id: bytes, reason: str) -> None:
    """Suspect that a second holder of our keys talks to this lock."""
    tx.execute("INSERT OR IGNORE INTO suspicions VALUES (?, ?)", (lock_id, reason))


def clear(tx: Transaction, lock_id: bytes) -> None:
    """A PairingOrder of a higher owner epoch has been taken for this lock."""
    tx.execute("DELETE FROM suspicions WHERE lock_id = ?", (lock_id,))


def load_suspicions(tx: Transaction) -> dict[bytes, str]:
    """Return the reason of each suspected lock."""
    return dict(tx.execute("SELECT lock_id, reason FROM suspicions"))
