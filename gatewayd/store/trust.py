"""Signed objects that say who may do what. They are kept as received and verified again when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import TYPE_CHECKING, Final

from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from gatewayd.store.database import Transaction

GRANT_COUNT_PER_ISSUER_MAX: Final = 2_000
"""Most grants kept of one signer: who sends a flood fills no more than an own share. A home sees some ten a day."""
KEYSET_COUNT_MAX: Final = 16
"""Most Keysets kept; the lowest version goes."""
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
    tx.execute("INSERT OR IGNORE INTO keysets VALUES (?, ?)", (version, raw))
    tx.execute(
        "DELETE FROM keysets WHERE version IN (SELECT version FROM keysets ORDER BY version DESC LIMIT -1 OFFSET ?)",
        (KEYSET_COUNT_MAX,),
    )


def load_keysets(tx: Transaction) -> tuple[bytes, ...]:
    """Return the bytes of every Keyset that was in force, newest first."""
    return tuple(raw for (raw,) in tx.execute("SELECT raw FROM keysets ORDER BY version DESC"))


def load_keyset(tx: Transaction) -> bytes | None:
    """Return the Keyset's bytes."""
    return _load(tx, _KEYSET)


def save_authority_state(tx: Transaction, raw: bytes, keyset_version: int, seq: int) -> None:
    """Keep the AuthorityState, ordered by (Keyset version, seq). The same number again changes nothing.

    A later one ends the doubt of a repair. The same one does not: it may be the one before what was lost, replayed.

    Raises:
        StoreError: OUTDATED, a later one is held.
    """
    if _save(tx, _AUTHORITY_STATE, raw, keyset_version, seq):
        tx.execute("UPDATE gateway SET repaired = 0 WHERE repaired")


def is_repaired(tx: Transaction) -> bool:
    """Tell whether the store was repaired, and no later AuthorityState was saved since."""
    ((repaired,),) = tx.execute("SELECT repaired OR doubt <> '' FROM gateway")
    return bool(repaired)


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


def replace_authority(tx: Transaction, kid: bytes, raw: bytes, *, instead_of: bytes | None) -> bytes:
    """Keep the Authority if what is held is still `instead_of`, or nothing; return what is held now.

    Attack: two of them come at once, one in a bundle. Each is newer than what was held; the older of the two must not
    be the one that stays because it was written last.
    """
    held = next((each for (each,) in tx.execute("SELECT raw FROM authorities WHERE kid = ?", (kid,))), None)
    if held not in {None, instead_of, raw}:
        return bytes(held)
    save_authority(tx, kid, raw)
    return raw


def load_authorities(tx: Transaction) -> dict[bytes, bytes]:
    """Return every Authority's bytes by the provider's key id."""
    return dict(tx.execute("SELECT kid, raw FROM authorities ORDER BY saved"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGrant:
    """A grant as it is kept: verified when it came, and verified again when it is used."""

    sha256: bytes
    issuer_kid: bytes
    cti: bytes
    exp_s: int
    raw: bytes


@unique
class Kept(Enum):
    """What became of a grant that came."""

    NEW = "new"
    HELD = "held"
    """It was here already."""
    FULL = "full"
    """Its signer's share is full: the grants of others never make room for it."""


def save_grant(tx: Transaction, grant: StoredGrant, *, now_s: int) -> Kept:
    """Keep a grant under the SHA-256 of its bytes, and forget all that have ended by now."""
    if tx.execute("SELECT 1 FROM grants WHERE sha256 = ?", (grant.sha256,)):
        return Kept.HELD
    tx.execute("DELETE FROM grants WHERE exp_s <= ?", (now_s,))
    ((of_issuer,),) = tx.execute("SELECT count(*) FROM grants WHERE issuer_kid = ?", (grant.issuer_kid,))
    if of_issuer >= GRANT_COUNT_PER_ISSUER_MAX:
        return Kept.FULL
    tx.execute(
        "INSERT INTO grants (sha256, issuer_kid, cti, exp_s, raw) VALUES (?, ?, ?, ?, ?)",
        (grant.sha256, grant.issuer_kid, grant.cti, grant.exp_s, grant.raw),
    )
    return Kept.NEW


def find_grant(tx: Transaction, sha256: bytes) -> bytes | None:
    """Return the bytes of the grant with this hash."""
    return next((raw for (raw,) in tx.execute("SELECT raw FROM grants WHERE sha256 = ?", (sha256,))), None)


def list_grants(tx: Transaction, after: bytes, count_max: int) -> tuple[StoredGrant, ...]:
    """Return grants in the order of their hashes, those behind `after`."""
    rows = tx.execute(
        "SELECT sha256, issuer_kid, cti, exp_s, raw FROM grants WHERE sha256 > ? ORDER BY sha256 LIMIT ?",
        (after, count_max),
    )
    return tuple(StoredGrant(sha256=row[0], issuer_kid=row[1], cti=row[2], exp_s=row[3], raw=row[4]) for row in rows)


def count_grants(tx: Transaction) -> int:
    """Return how many grants are kept."""
    ((count,),) = tx.execute("SELECT count(*) FROM grants")
    return int(count)


def _save(tx: Transaction, kind: str, raw: bytes, keyset_version: int, seq: int) -> bool:
    """Keep a signed object and tell whether it is a later one than what was kept."""
    for held_version, held_seq in tx.execute("SELECT keyset_version, seq FROM signed_objects WHERE kind = ?", (kind,)):
        if (keyset_version, seq) < (held_version, held_seq):
            raise StoreError(StoreCode.OUTDATED, f"{kind} {keyset_version}/{seq}, {held_version}/{held_seq} is held")
        if (keyset_version, seq) == (held_version, held_seq):
            return False
    tx.execute(
        "INSERT OR REPLACE INTO signed_objects (kind, raw, keyset_version, seq) VALUES (?, ?, ?, ?)",
        (kind, raw, keyset_version, seq),
    )
    return True


def _load(tx: Transaction, kind: str) -> bytes | None:
    for (raw,) in tx.execute("SELECT raw FROM signed_objects WHERE kind = ?", (kind,)):
        return bytes(raw)
    return None
