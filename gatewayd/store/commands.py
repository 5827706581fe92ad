"""Commands that have been decided, under (kid, command id): what makes a command act at most once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from gatewayd.access.uses import NEVER_USED, Uses, give_back

if TYPE_CHECKING:
    from gatewayd.store.database import Row, Transaction

SEEN_COUNT_MAX: Final = 50_000
"""Most commands kept at a pruning; the oldest go first. They are long past their expiry, so a replay stays dead."""
GRANT_USES_KEPT_S: Final = 31 * 24 * 3_600
"""The count of a grant's uses outlives the longest grant (30 days)."""
ISSUED_COUNT_MAX: Final = 10_000
"""Most (signer, lock) pairs whose last issue second is kept; the earliest goes: all before it has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCommand:
    """A command that was decided."""

    kid: bytes
    command_id: bytes
    command_sha256: bytes
    lock_id: bytes
    grant_cti: bytes
    action: int
    reserved_utc_s: int
    """The lower end of the time interval when it was decided."""
    command_seq: int | None
    """What the lock knows the movement by; None: it was refused."""
    receipt: bytes
    """The newest signed receipt, returned to whoever sends the same bytes again."""
    code: int
    """Wire number of the newest code."""
    journal_index: int
    use_name: int | None = None
    """Which use of its grant it took (`access.uses.Use.name`); None where none is counted."""


_NAMES: Final = tuple(field.name for field in fields(SeenCommand))
_COLUMNS: Final = ", ".join(_NAMES)
_PLACES: Final = ", ".join("?" * len(_NAMES))
_VALUES: Final = attrgetter(*_NAMES)


def find_seen(tx: Transaction, kid: bytes, command_id: bytes) -> SeenCommand | None:
    """Return what was decided under this signer's command id."""
    rows = tx.execute(f"SELECT {_COLUMNS} FROM commands WHERE kid = ? AND command_id = ?", (kid, command_id))  # noqa: S608 - our own column names
    return _seen(rows[0]) if rows else None


def reserve(tx: Transaction, command: SeenCommand) -> None:
    """Take (kid, command id) for this command; a permitted one stays open until its outcome is known.

    Raises:
        StoreError: MISUSE, it is taken already.
    """
    tx.execute(
        f"INSERT INTO commands ({_COLUMNS}, closed) VALUES ({_PLACES}, ?)",  # noqa: S608 - our own column names
        (*_VALUES(command), int(command.command_seq is None)),
    )


def record_receipt(tx: Transaction, kid: bytes, command_id: bytes, receipt: bytes, code: int, *, closed: bool) -> None:
    """Keep the newest receipt of a command; `closed` once its outcome is known. What is closed stays closed."""
    tx.execute(
        "UPDATE commands SET receipt = ?, code = ?, closed = max(closed, ?) WHERE kid = ? AND command_id = ?",
        (receipt, code, int(closed), kid, command_id),
    )


def open_intents(tx: Transaction) -> tuple[SeenCommand, ...]:
    """Return the permitted commands without a known outcome, oldest first."""
    rows = tx.execute(f"SELECT {_COLUMNS} FROM commands WHERE closed = 0 ORDER BY journal_index")  # noqa: S608 - our own column names
    return tuple(_seen(row) for row in rows)


def last_issued(tx: Transaction, kid: bytes, lock_id: bytes, epoch: bytes) -> int | None:
    """Return when the signer's last executed command on this lock was issued, in seconds of this epoch."""
    rows = tx.execute("SELECT issued FROM issued WHERE kid = ? AND lock_id = ? AND epoch = ?", (kid, lock_id, epoch))
    return rows[0][0] if rows else None


def note_issued(tx: Transaction, kid: bytes, lock_id: bytes, epoch: bytes, issued: int) -> None:
    """Remember it, never backwards within one epoch; those of earlier epochs are void and go."""
    tx.execute("DELETE FROM issued WHERE lock_id = ? AND epoch <> ?", (lock_id, epoch))
    tx.execute(
        "INSERT INTO issued VALUES (?1, ?2, ?3, ?4) ON CONFLICT (kid, lock_id) DO UPDATE SET issued = max(issued, ?4)",
        (kid, lock_id, epoch, issued),
    )
    tx.execute(
        "DELETE FROM issued WHERE (kid, lock_id) IN "
        "(SELECT kid, lock_id FROM issued ORDER BY issued DESC LIMIT -1 OFFSET ?)",
        (ISSUED_COUNT_MAX,),
    )


def load_uses(tx: Transaction, grant_cti: bytes) -> Uses:
    """Return how often a grant has been used."""
    rows = tx.execute("SELECT use_count, episode_ms, movement_count FROM grant_uses WHERE grant_cti = ?", (grant_cti,))
    if not rows:
        return NEVER_USED
    ((count, episode_ms, movement_count),) = rows
    return Uses(count=count, episode_ms=episode_ms, movement_count=movement_count)


def save_uses(tx: Transaction, grant_cti: bytes, uses: Uses, utc_s: int) -> None:
    """Keep how often a grant has been used, as of this second."""
    tx.execute(
        "INSERT INTO grant_uses (grant_cti, use_count, last_utc_s, episode_ms, movement_count) "
        "VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (grant_cti) DO UPDATE SET use_count = ?2, "
        "last_utc_s = max(last_utc_s, ?3), episode_ms = ?4, movement_count = ?5",
        (grant_cti, uses.count, utc_s, uses.episode_ms, uses.movement_count),
    )


def give_back_use(tx: Transaction, kid: bytes, command_id: bytes) -> None:
    """Undo the use that a command took: the lock has proven that nothing moved. A second time changes nothing."""
    place = (kid, command_id)
    for grant_cti, name, utc_s in tx.execute(
        "SELECT grant_cti, use_name, reserved_utc_s FROM commands "
        "WHERE kid = ? AND command_id = ? AND use_name IS NOT NULL",
        place,
    ):
        save_uses(tx, grant_cti, give_back(load_uses(tx, grant_cti), name), utc_s)
        tx.execute("UPDATE commands SET use_name = NULL WHERE kid = ? AND command_id = ?", place)


def prune_seen(tx: Transaction, before_utc_s: int) -> None:
    """Forget commands decided before this second, never one that is still open; bound the tables."""
    tx.execute("DELETE FROM commands WHERE closed = 1 AND reserved_utc_s < ?", (before_utc_s,))
    tx.execute(
        "DELETE FROM commands WHERE closed = 1 AND (kid, command_id) IN "
        "(SELECT kid, command_id FROM commands ORDER BY reserved_utc_s DESC LIMIT -1 OFFSET ?)",
        (SEEN_COUNT_MAX,),
    )
    tx.execute("DELETE FROM grant_uses WHERE last_utc_s < ?", (before_utc_s - GRANT_USES_KEPT_S,))


def _seen(row: Row) -> SeenCommand:
    return SeenCommand(**dict(zip(_NAMES, row, strict=True)))
