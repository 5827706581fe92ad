"""What is known of each lock: its home, its counters, and how far its log has been copied and received."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_protocol.lock_log import LogPosition
from gatewayd.store import suspicions
from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from gatewayd.store.database import Row, Transaction

SESSION_BLOCK_COUNT: Final = 64
"""Session counters reserved with one write; a restart skips what is left of the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHome:
    """A lock as it was paired with this gateway."""

    lock_id: bytes
    """8 bytes."""
    pairing_order: bytes
    """The signed PairingOrder, as received."""
    door: bytes
    """The signed Door, as received."""
    owner_epoch: int
    """Of the order: counters begin anew with each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAt:
    """When a lock's order was taken in."""

    machine_boot: str
    """The machine's id of its boot; empty where nobody noted it."""
    boottime_ms: int
    """CLOCK_BOOTTIME in that boot."""


def save_lock_home(tx: Transaction, home: LockHome) -> None:
    """Keep a lock's home. A higher owner epoch begins its session and command counters anew.

    Raises:
        StoreError: OUTDATED, a higher owner epoch is held: an old order must not bring old counters back.
    """
    held = tx.execute("SELECT owner_epoch FROM locks WHERE lock_id = ?", (home.lock_id,))
    if held and home.owner_epoch < held[0][0]:
        raise StoreError(StoreCode.OUTDATED, f"owner epoch {home.owner_epoch}, {held[0][0]} is held")
    if not held:
        tx.execute("INSERT INTO locks (lock_id, owner_epoch) VALUES (?, ?)", (home.lock_id, home.owner_epoch))
    elif home.owner_epoch > held[0][0]:
        tx.execute(
            "UPDATE locks SET owner_epoch = ?, session_reserved = 0, command_seq = 0 WHERE lock_id = ?",
            (home.owner_epoch, home.lock_id),
        )
        tx.execute("DELETE FROM volatile WHERE name = ?", (_counter_name(home.lock_id),))
        suspicions.clear(tx, home.lock_id)  # whoever held our keys for this lock holds nothing now
    tx.execute(
        "INSERT INTO lock_homes (lock_id, pairing_order, door) VALUES (?1, ?2, ?3) ON CONFLICT (lock_id) DO UPDATE "
        "SET pairing_order = ?2, door = ?3 WHERE pairing_order <> ?2 OR door <> ?3",
        (home.lock_id, home.pairing_order, home.door),
    )


def release_lock_home(tx: Transaction, lock_id: bytes, owner_epoch: int) -> None:
    """Forget that a lock is ours, by the order of an owner epoch, which stays: no old order brings it back."""
    tx.execute("DELETE FROM lock_homes WHERE lock_id = ?", (lock_id,))
    tx.execute("UPDATE locks SET owner_epoch = max(owner_epoch, ?) WHERE lock_id = ?", (owner_epoch, lock_id))


def is_released(tx: Transaction, lock_id: bytes, owner_epoch: int) -> bool:
    """Tell whether a lock was ours, and an order of this owner epoch or a later one has let it go."""
    query = (
        "SELECT count(*) FROM locks LEFT JOIN lock_homes USING (lock_id) "
        "WHERE lock_id = ? AND owner_epoch >= ? AND pairing_order IS NULL"
    )
    ((count,),) = tx.execute(query, (lock_id, owner_epoch))
    return bool(count)


def load_lock_homes(tx: Transaction) -> tuple[LockHome, ...]:
    """Return every lock's home."""
    rows = tx.execute(
        "SELECT lock_id, pairing_order, door, owner_epoch FROM lock_homes JOIN locks USING (lock_id) ORDER BY lock_id"
    )
    return tuple(LockHome(lock_id=row[0], pairing_order=row[1], door=row[2], owner_epoch=row[3]) for row in rows)


def save_paired_at(tx: Transaction, lock_id: bytes, paired_at: PairedAt) -> None:
    """Note when a lock's order was taken in."""
    tx.execute(
        "UPDATE lock_homes SET paired_machine_boot = ?, paired_boottime_ms = ? WHERE lock_id = ?",
        (paired_at.machine_boot, paired_at.boottime_ms, lock_id),
    )


def load_paired_at(tx: Transaction) -> dict[bytes, PairedAt]:
    """Return when each lock's order was taken in."""
    rows = tx.execute("SELECT lock_id, paired_machine_boot, paired_boottime_ms FROM lock_homes")
    return {row[0]: PairedAt(machine_boot=row[1], boottime_ms=row[2]) for row in rows}


def reserve_session_ctr(tx: Transaction, lock_id: bytes) -> int:
    """Return the next session counter, from 1: never one that any earlier run may have used.

    The block's end is durable, the place in the block is not: on 63 of 64 calls nothing is written to disk.
    """
    ((reserved,),) = _lock_row(tx, "session_reserved", lock_id)
    name = _counter_name(lock_id)
    used = next((value for (value,) in tx.execute("SELECT value FROM volatile WHERE name = ?", (name,))), reserved)
    if used >= reserved:
        tx.execute("UPDATE locks SET session_reserved = ? WHERE lock_id = ?", (reserved + SESSION_BLOCK_COUNT, lock_id))
    tx.execute("INSERT OR REPLACE INTO volatile (name, value) VALUES (?, ?)", (name, used + 1))
    return int(used + 1)


def resume_session_ctr(tx: Transaction, lock_id: bytes, lock_ctr: int) -> int | None:
    """Return the counter after `lock_ctr`, the lock's own as it has proven it, where a disk takes no new block.

    None where that lies outside of the durable block: it may have been used by somebody else. Nothing is
    written to disk; `reserve_session_ctr` goes on from there.
    """
    ((reserved,),) = _lock_row(tx, "session_reserved", lock_id)
    counter = lock_ctr + 1
    if not reserved - SESSION_BLOCK_COUNT < counter <= reserved:
        return None
    tx.execute("INSERT OR REPLACE INTO volatile (name, value) VALUES (?, ?)", (_counter_name(lock_id), counter))
    return counter


def next_command_seq(tx: Transaction, lock_id: bytes, *, above: int = 0) -> int:
    """Return the number of the lock's next command, from 1 in each owner epoch, and count it.

    It is greater than `above` too: what the lock has obeyed while the disk took nothing.
    """
    query = "UPDATE locks SET command_seq = max(command_seq, ?) + 1 WHERE lock_id = ? RETURNING command_seq"
    rows = tx.execute(query, (above, lock_id))
    if not rows:
        raise _unpaired(lock_id)
    return int(rows[0][0])


def last_command_seq(tx: Transaction, lock_id: bytes) -> int:
    """Return the number of the lock's last command, 0 before any."""
    ((command_seq,),) = _lock_row(tx, "command_seq", lock_id)
    return int(command_seq)


def raise_command_seq(tx: Transaction, lock_id: bytes, command_seq: int) -> None:
    """Go on above what the lock has seen, which on a new or restored card is more than is counted here."""
    if command_seq > last_command_seq(tx, lock_id):  # asked first: see `raise_version_floor`
        tx.execute("UPDATE locks SET command_seq = ? WHERE lock_id = ?", (command_seq, lock_id))


def version_floor(tx: Transaction, lock_id: bytes) -> int:
    """Return the lowest protocol version that this lock may still speak; 0 before any session."""
    ((version,),) = _lock_row(tx, "version_floor", lock_id)
    return int(version)


def raise_version_floor(tx: Transaction, lock_id: bytes, version: int) -> None:
    """Remember that the lock has spoken `version`: somebody in the air may not talk it down afterwards."""
    # Asked first: on a disk that takes nothing even a change of nothing fails, and the session with it.
    if version > version_floor(tx, lock_id):
        tx.execute("UPDATE locks SET version_floor = ? WHERE lock_id = ?", (version, lock_id))


def load_log_position(tx: Transaction, lock_id: bytes) -> LogPosition | None:
    """Return how far the lock's log has been copied, or None before the first batch."""
    ((log_id, seq, head),) = _lock_row(tx, "log_id, log_seq, log_head", lock_id)
    return None if log_id is None else LogPosition(log_id=log_id, seq=seq, head=head)


def save_log_position(tx: Transaction, lock_id: bytes, position: LogPosition) -> None:
    """Keep how far the lock's log has been copied; belongs into the transaction that journals the records."""
    _lock_row(tx, "log_id", lock_id)
    tx.execute(
        "UPDATE locks SET log_id = ?, log_seq = ?, log_head = ? WHERE lock_id = ?",
        (position.log_id, position.seq, position.head, lock_id),
    )


def note_lock_record(tx: Transaction, lock_id: bytes, log_id: bytes, seq: int, journal_index: int) -> None:
    """Remember which journal entry holds a record of the lock."""
    tx.execute(
        "DELETE FROM lock_records WHERE lock_id = ?1 AND journal_index < (SELECT received FROM gateway) "
        "AND (log_id <> ?2 OR seq < ?3)",
        (lock_id, log_id, received_seq(tx, lock_id, log_id)),
    )
    tx.execute("INSERT INTO lock_records VALUES (?, ?, ?, ?)", (lock_id, log_id, seq, journal_index))


def received_seq(tx: Transaction, lock_id: bytes, log_id: bytes) -> int:
    """Return the last record of this log that the central log has signed for, 0 before any.

    Records are journaled in their order, so all before it are received too: the lock may prune up to it.
    """
    rows = tx.execute(
        "SELECT seq FROM lock_records WHERE lock_id = ? AND log_id = ? "
        "AND journal_index < (SELECT received FROM gateway) ORDER BY seq DESC LIMIT 1",
        (lock_id, log_id),
    )
    return rows[0][0] if rows else 0


def _lock_row(tx: Transaction, columns: str, lock_id: bytes) -> list[Row]:
    rows = tx.execute(f"SELECT {columns} FROM locks WHERE lock_id = ?", (lock_id,))  # noqa: S608 - our own words
    if not rows:
        raise _unpaired(lock_id)
    return rows


def _unpaired(lock_id: bytes) -> StoreError:
    return StoreError(StoreCode.MISUSE, f"no lock {lock_id.hex()} has been paired")


def _counter_name(lock_id: bytes) -> str:
    return f"session_ctr/{lock_id.hex()}"
