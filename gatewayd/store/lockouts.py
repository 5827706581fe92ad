"""Who has been refused too often, kept over restarts: pulling the plug must not end a lock-out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatewayd.access.lockout import FORGIVEN_MS, NEVER_REFUSED, Lockout

if TYPE_CHECKING:
    from gatewayd.store.database import Transaction

LOCKOUT_COUNT_MAX: Final = 10_000
"""Most (signer, lock) pairs kept. All have signed validly, so only who holds so many grants can come near it."""


def load_lockout(tx: Transaction, kid: bytes, lock_id: bytes) -> Lockout:
    """Return what is remembered of a signer at a lock."""
    rows = tx.execute(
        "SELECT refusal_count, last_ms, until_ms FROM lockouts WHERE kid = ? AND lock_id = ?", (kid, lock_id)
    )
    if not rows:
        return NEVER_REFUSED
    ((refusal_count, last_ms, until_ms),) = rows
    return Lockout(refusal_count=refusal_count, last_ms=last_ms, until_ms=until_ms)


def save_lockout(tx: Transaction, kid: bytes, lock_id: bytes, lockout: Lockout) -> None:
    """Remember it; what is forgiven by now goes, and beyond the bound what was refused longest ago."""
    tx.execute("DELETE FROM lockouts WHERE last_ms <= ?", (lockout.last_ms - FORGIVEN_MS,))
    tx.execute(
        "INSERT OR REPLACE INTO lockouts VALUES (?, ?, ?, ?, ?)",
        (kid, lock_id, lockout.refusal_count, lockout.last_ms, lockout.until_ms),
    )
    tx.execute(
        "DELETE FROM lockouts WHERE (kid, lock_id) IN "
        "(SELECT kid, lock_id FROM lockouts ORDER BY last_ms DESC LIMIT -1 OFFSET ?)",
        (LOCKOUT_COUNT_MAX,),
    )


def clear_lockout(tx: Transaction, kid: bytes, lock_id: bytes) -> None:
    """Forget the refusals of a signer who has been let in since."""
    tx.execute("DELETE FROM lockouts WHERE kid = ? AND lock_id = ?", (kid, lock_id))
