"""Signed objects that say who may do what. They are kept as received and verified again when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from gatewayd.store.database import Transaction

GRANT_COUNT_MAX: Final = 2_000
"""Most grants kept; the one that expires first goes first. A home sees some ten a day."""
AUTHORITY_COUNT_MAX: Final = 64
"""Most providers' Authorities kept; the one saved longest ago goes first."""

_KEYSET: Final = "keyset"
_AUTHORITY_STATE: Final = "authority_state"


def save_keyset(tx: Transaction, raw: bytes, version: int) -> None:
    """Keep the Keyset. The same version again changes nothing.

    Raises:
        StoreError: OUTDATED, a higher version is held.
    """
    _save(tx, _KEYSET, raw, version, 0)


def load_keyset(tx: Transaction) -> bytes | None:
    """Return the Keyset's bytes."""
    return _load(tx, _KEYSET)


def save_authority_state(tx: Transaction, raw: bytes, keyset_version: int, seq: int) -> None:
    """Keep the AuthorityState, ordered by (Keyset version, seq). The same number again changes nothing.

    Raises:
        StoreError: OUTDATED, a later one is held.
    """
    _save(tx, _AUTHORITY_STATE, raw, keyset_version, seq)


def load_authority_state(tx: Transaction) -> bytes | None:
    """Return the AuthorityState's bytes."""
    return _load(tx, _AUTHORITY_STATE)


def save_authority(tx: Transaction, kid: bytes, raw: bytes) -> None:
    """Keep the Authority of the provider whose key has this id, in place of an earlier one."""
    tx.execute("DELETE FROM authorities WHERE kid = ? AND raw <> ?", (kid, raw))
    tx.execute("INSERT OR IGNORE INTO authorities (kid, raw) VALUES (?, ?)", (kid, raw))
    tx.execute(
        "DELETE FROM authorities WHERE saved <= (SELECT saved FROM authorities ORDER BY saved DESC LIMIT 1 OFFSET ?)",
        (AUTHORITY_COUNT_MAX,),
    )


def load_authorities(tx: Transaction) -> dict[bytes, bytes]:
    """Return every Authority's bytes by the provider's key id."""
    return dict(tx.execute("SELECT kid, raw FROM authorities ORDER BY saved"))


def save_grant(tx: Transaction, sha256: bytes, raw: bytes, exp_s: int) -> None:
    """Keep a grant under the SHA-256 of its bytes; at the bound those that expire first make room."""
    tx.execute("INSERT OR IGNORE INTO grants (sha256, raw, exp_s) VALUES (?, ?, ?)", (sha256, raw, exp_s))
    tx.execute(
        "DELETE FROM grants WHERE rowid IN (SELECT rowid FROM grants ORDER BY exp_s DESC LIMIT -1 OFFSET ?)",
        (GRANT_COUNT_MAX,),
    )


def load_grants(tx: Transaction) -> dict[bytes, bytes]:
    """Return every grant's bytes by their SHA-256."""
    return dict(tx.execute("SELECT sha256, raw FROM grants"))


def _save(tx: Transaction, kind: str, raw: bytes, keyset_version: int, seq: int) -> None:
    for held_version, held_seq in tx.execute("SELECT keyset_version, seq FROM signed_objects WHERE kind = ?", (kind,)):
        if (keyset_version, seq) < (held_version, held_seq):
            raise StoreError(StoreCode.OUTDATED, f"{kind} {keyset_version}/{seq}, {held_version}/{held_seq} is held")
        if (keyset_version, seq) == (held_version, held_seq):
            return
    tx.execute(
        "INSERT OR REPLACE INTO signed_objects (kind, raw, keyset_version, seq) VALUES (?, ?, ?, ?)",
        (kind, raw, keyset_version, seq),
    )


def _load(tx: Transaction, kind: str) -> bytes | None:
    for (raw,) in tx.execute("SELECT raw FROM signed_objects WHERE kind = ?", (kind,)):
        return bytes(raw)
    return None
