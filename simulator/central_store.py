"""What the central log holds, in one SQLite file: entries under verified checkpoints, receipts, lock chains, alarms."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from firmware_protocol.merkle import TREE_SIZE_MAX, Frontier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from simulator.central_erased import Entry

MEMORY: Final = ":memory:"
SUPERVISION_S: Final = 6 * 3_600
"""How often a gateway shows that it lives, where it has not said: the default of `journal.heartbeat_s`."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS logs (
  gateway BLOB, log BLOB, frontier BLOB NOT NULL, note BLOB NOT NULL, PRIMARY KEY (gateway, log)
) STRICT;
CREATE TABLE IF NOT EXISTS entries (
  gateway BLOB, log BLOB, number INTEGER, leaf BLOB NOT NULL, hashed BLOB NOT NULL, PRIMARY KEY (gateway, log, number)
) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
  number INTEGER PRIMARY KEY, gateway BLOB NOT NULL, log BLOB NOT NULL, size INTEGER NOT NULL, note BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS receipts_of_log ON receipts (gateway, log, size);
CREATE TABLE IF NOT EXISTS lock_records (
  lock BLOB, log BLOB, seq INTEGER, record BLOB NOT NULL, head BLOB NOT NULL,
  gateway BLOB NOT NULL, journal BLOB NOT NULL, PRIMARY KEY (lock, log, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS lock_heads (
  lock BLOB, log BLOB, seq INTEGER, head BLOB NOT NULL, PRIMARY KEY (lock, log, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS alarms (
  gateway BLOB, code TEXT, subject TEXT, detail TEXT NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (gateway, code, subject)
) STRICT;
CREATE TABLE IF NOT EXISTS heard (gateway BLOB PRIMARY KEY, utc_s INTEGER NOT NULL, within_s INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS erasures (
  number INTEGER PRIMARY KEY, gateway BLOB NOT NULL, log BLOB NOT NULL, utc_s INTEGER NOT NULL, count INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS holes (
  gateway BLOB, log BLOB, number INTEGER, accounted INTEGER NOT NULL, PRIMARY KEY (gateway, log, number)
) STRICT;
CREATE TABLE IF NOT EXISTS told_erased (
  gateway BLOB, log BLOB, count INTEGER NOT NULL, PRIMARY KEY (gateway, log)
) STRICT;
CREATE TABLE IF NOT EXISTS lock_holes (
  lock BLOB, gateway BLOB, log BLOB, passed INTEGER NOT NULL, PRIMARY KEY (lock, gateway, log)
) STRICT;
CREATE TABLE IF NOT EXISTS orders_used (lock BLOB, epoch INTEGER, PRIMARY KEY (lock, epoch)) STRICT;
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLog:
    """How far one gateway's journal is held: everything below is under a checkpoint that the gateway signed."""

    gateway_id: bytes
    log_id: bytes
    frontier: Frontier
    note: bytes | None
    """The newest checkpoint that was verified, as the gateway signed it; None before any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRecordRow:
    """One record of a lock's log, and the chain's hash over all up to it."""

    lock_id: bytes
    log_id: bytes
    seq: int
    record: bytes
    head: bytes
    gateway_id: bytes
    """Who told it first."""
    journal_id: bytes
    """The log in which it was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """Something that a person must look at."""

    gateway_id: bytes
    code: str
    subject: str
    """What it is about: a log, a lock; one row a subject."""
    detail: str
    count: int = 1


class CentralStore:
    """One connection. `with store.transaction():` around what belongs together."""

    def __init__(self, path: Path | str = MEMORY, *, read_only: bool = False) -> None:
        name = f"file:{path}?mode=ro" if read_only else str(path)
        self._sql = sqlite3.connect(name, uri=read_only, check_same_thread=False)
        if not read_only:
            self._sql.execute("PRAGMA journal_mode = WAL")
            self._sql.execute("PRAGMA synchronous = FULL")
            self._sql.execute("PRAGMA secure_delete = ON")
            self._sql.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    def transaction(self) -> sqlite3.Connection:
        """Return a context in which all that is written becomes durable together, or not at all."""
        return self._sql

    # Journals.

    def logs(self, gateway_id: bytes | None = None) -> tuple[HeldLog, ...]:
        """Return all logs that are held, or those of one gateway."""
        where = "" if gateway_id is None else "WHERE gateway = ?"
        rows = self._sql.execute(
            f"SELECT gateway, log, frontier, note FROM logs {where} ORDER BY rowid",  # noqa: S608 - a constant
            () if gateway_id is None else (gateway_id,),
        )
        return tuple(
            HeldLog(gateway_id=gateway, log_id=log, frontier=Frontier.from_bytes(frontier), note=note)
            for gateway, log, frontier, note in rows
        )

    def log(self, gateway_id: bytes, log_id: bytes) -> HeldLog:
        """Return one log; an empty one where nothing is held of it."""
        for held in self.logs(gateway_id):
            if held.log_id == log_id:
                return held
        return HeldLog(gateway_id=gateway_id, log_id=log_id, frontier=Frontier.empty(), note=None)

    def extend(self, after: HeldLog, entries: Sequence[Entry]) -> None:
        """Write entries at the end of a log, and how far it reaches then; those that are hashes with their receipts."""
        numbered = list(enumerate(entries, start=after.frontier.size - len(entries)))
        self._sql.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?)",
            [(after.gateway_id, after.log_id, number, entry.leaf, entry.hashed) for number, entry in numbered],
        )
        self._sql.executemany(
            "INSERT INTO holes VALUES (?, ?, ?, ?)",
            [
                (after.gateway_id, after.log_id, number, entry.accounted_size)
                for number, entry in numbered
                if not entry.leaf
            ],
        )
        for proof in {entry.proof for entry in entries if entry.proof is not None}:
            if proof.receipt not in self.notes(after, from_size=proof.size, to_size=proof.size):
                self._add_receipt(after, proof.size, proof.receipt)
        self._sql.execute(
            "INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?)",
            (after.gateway_id, after.log_id, after.frontier.to_bytes(), after.note),
        )

    def leaf(self, gateway_id: bytes, log_id: bytes, index: int) -> bytes | None:
        """Return one entry, empty where it was erased, or None where it is not held."""
        found: tuple[bytes] | None = self._sql.execute(
            "SELECT leaf FROM entries WHERE gateway = ? AND log = ? AND number = ?", (gateway_id, log_id, index)
        ).fetchone()
        return None if found is None else found[0]

    def leaves(self, gateway_id: bytes, log_id: bytes) -> tuple[bytes, ...]:
        """Return all entries of a log in order; an erased one is empty."""
        rows = self._sql.execute(
            "SELECT leaf FROM entries WHERE gateway = ? AND log = ? ORDER BY number", (gateway_id, log_id)
        )
        return tuple(leaf for (leaf,) in rows)

    def leaf_hash(self, gateway_id: bytes, log_id: bytes, index: int) -> bytes | None:
        """Return the hash of one entry, erased or not, or None where it is not held."""
        found: tuple[bytes] | None = self._sql.execute(
            "SELECT hashed FROM entries WHERE gateway = ? AND log = ? AND number = ?", (gateway_id, log_id, index)
        ).fetchone()
        return None if found is None else found[0]

    def hashed_leaves(self, held: HeldLog) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries of a log in order, each with its hash."""
        yield from self._sql.execute(
            "SELECT leaf, hashed FROM entries WHERE gateway = ? AND log = ? ORDER BY number",
            (held.gateway_id, held.log_id),
        )

    def notes(self, held: HeldLog, *, from_size: int = 0, to_size: int = TREE_SIZE_MAX) -> tuple[bytes, ...]:
        """Return the receipts that were given for one log, over trees of `from_size` to `to_size` entries."""
        rows = self._sql.execute(
            "SELECT note FROM receipts WHERE gateway = ? AND log = ? AND size BETWEEN ? AND ?",
            (held.gateway_id, held.log_id, from_size, to_size),
        )
        return tuple(note for (note,) in rows)

    # Erasure.

    def erase(
        self, held: HeldLog, indexes: Sequence[int], records: Sequence[tuple[bytes, bytes, int]], *, utc_s: int
    ) -> int:
        """Empty entries and lock records, keep their hashes, and note how many entries; return that."""
        emptied = self._sql.executemany(
            "UPDATE entries SET leaf = x'' WHERE gateway = ? AND log = ? AND number = ? AND leaf <> x''",
            [(held.gateway_id, held.log_id, index) for index in indexes],
        )
        count = max(0, emptied.rowcount)
        self._sql.executemany("UPDATE lock_records SET record = x'' WHERE lock = ? AND log = ? AND seq = ?", records)
        if count:
            self._sql.execute(
                "INSERT INTO erasures (gateway, log, utc_s, count) VALUES (?, ?, ?, ?)",
                (held.gateway_id, held.log_id, utc_s, count),
            )
        return count

    def erased_count(self, held: HeldLog) -> int:
        """Return how many entries of a log were erased here."""
        found: tuple[int | None] = self._sql.execute(
            "SELECT sum(count) FROM erasures WHERE gateway = ? AND log = ?", (held.gateway_id, held.log_id)
        ).fetchone()
        return found[0] or 0

    def hole_count(self, held: HeldLog) -> int:
        """Return how many entries of a log came as hashes, because the gateway had erased their words."""
        ((count,),) = self._sql.execute(
            "SELECT count(*) FROM holes WHERE gateway = ? AND log = ?", (held.gateway_id, held.log_id)
        )
        return int(count)

    def note_told_erased(self, held: HeldLog, count: int) -> None:
        """Note that a gateway has said in its journal how many entries it erased, once more."""
        self._sql.execute(
            "INSERT INTO told_erased VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (held.gateway_id, held.log_id, count),
        )

    def unaccounted_count(self, held: HeldLog) -> int:
        """Return how many entries came as hashes, should have been accounted for by now, and were not; at least 0."""
        key = (held.gateway_id, held.log_id)
        ((due, told),) = self._sql.execute(
            "SELECT (SELECT count(*) FROM holes WHERE gateway = ?1 AND log = ?2 AND accounted <= ?3),"
            " coalesce((SELECT count FROM told_erased WHERE gateway = ?1 AND log = ?2), 0)",
            (*key, held.frontier.size),
        )
        return max(0, int(due) - int(told))

    def cut_log(self) -> None:
        """Leave no earlier version of a page in the write-ahead log."""
        self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # Receipts.

    def add_receipt(self, held: HeldLog, receipt: bytes) -> None:
        """Keep a receipt that is about to be given."""
        self._add_receipt(held, held.frontier.size, receipt)

    def _add_receipt(self, held: HeldLog, size: int, receipt: bytes) -> None:
        self._sql.execute(
            "INSERT INTO receipts (gateway, log, size, note) VALUES (?, ?, ?, ?)",
            (held.gateway_id, held.log_id, size, receipt),
        )

    def receipts(self) -> tuple[tuple[int, bytes], ...]:
        """Return all receipts that were given: size of the tree, and the cosigned checkpoint."""
        return tuple(self._sql.execute("SELECT size, note FROM receipts ORDER BY number"))

    # Lock logs.

    def add_lock_record(self, row: LockRecordRow) -> None:
        """Keep a record that continues its chain."""
        self._sql.execute(
            "INSERT INTO lock_records VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.lock_id, row.log_id, row.seq, row.record, row.head, row.gateway_id, row.journal_id),
        )

    def lock_record(self, lock_id: bytes, log_id: bytes, seq: int) -> LockRecordRow | None:
        """Return one record, or None where it is not held."""
        return self._lock_record("lock = ? AND log = ? AND seq = ?", lock_id, log_id, seq)

    def last_lock_record(self, lock_id: bytes) -> LockRecordRow | None:
        """Return the newest record of this lock, of whichever log it writes now; None before any."""
        return self._lock_record("lock = ? ORDER BY rowid DESC LIMIT 1", lock_id)

    def _lock_record(self, where: str, *values: bytes | int) -> LockRecordRow | None:
        columns = "lock, log, seq, record, head, gateway, journal"
        found: tuple[bytes, bytes, int, bytes, bytes, bytes, bytes] | None = self._sql.execute(
            f"SELECT {columns} FROM lock_records WHERE {where}",  # noqa: S608 - constants
            values,
        ).fetchone()
        if found is None:
            return None
        lock_id, log_id, seq, record, head, gateway_id, journal_id = found
        return LockRecordRow(
            lock_id=lock_id,
            log_id=log_id,
            seq=seq,
            record=record,
            head=head,
            gateway_id=gateway_id,
            journal_id=journal_id,
        )

    def add_lock_head(self, lock_id: bytes, log_id: bytes, seq: int, head: bytes) -> None:
        """Keep what the lock has signed: its chain's hash up to `seq`."""
        self._sql.execute("INSERT OR REPLACE INTO lock_heads VALUES (?, ?, ?, ?)", (lock_id, log_id, seq, head))

    def lock_head(self, lock_id: bytes, log_id: bytes, seq: int) -> bytes | None:
        """Return the hash that the lock has signed for `seq`, or None where it has not."""
        found: tuple[bytes] | None = self._sql.execute(
            "SELECT head FROM lock_heads WHERE lock = ? AND log = ? AND seq = ?", (lock_id, log_id, seq)
        ).fetchone()
        return None if found is None else found[0]

    def signed_lock_seq(self, lock_id: bytes, log_id: bytes) -> int:
        """Return up to which record the lock has signed its chain, whether the record is held or not; 0 for none."""
        found: tuple[int | None] = self._sql.execute(
            "SELECT max(seq) FROM lock_heads WHERE lock = ? AND log = ?", (lock_id, log_id)
        ).fetchone()
        return found[0] or 0

    def pass_hole(self, held: HeldLog) -> None:
        """Note that an entry came as a hash: it may have been a record of any lock that this log tells of."""
        self._sql.execute(
            "INSERT INTO lock_holes VALUES (x'', ?, ?, 1) ON CONFLICT DO UPDATE SET passed = passed + 1",
            (held.gateway_id, held.log_id),
        )

    def holes_since_record(self, lock_id: bytes, gateway_id: bytes, journal_id: bytes) -> int:
        """Return how many entries of a journal came as hashes since its last record of this lock that was read."""
        ((count,),) = self._sql.execute(
            "SELECT coalesce(sum(CASE lock WHEN x'' THEN passed ELSE -passed END), 0) FROM lock_holes"
            " WHERE lock IN (x'', ?) AND gateway = ? AND log = ?",
            (lock_id, gateway_id, journal_id),
        )
        return int(count)

    def close_holes(self, lock_id: bytes, gateway_id: bytes, journal_id: bytes) -> None:
        """Note that a record of this lock was read: what came as hashes before explains no later hole."""
        self._sql.execute(
            "INSERT OR REPLACE INTO lock_holes SELECT ?, gateway, log, passed FROM lock_holes"
            " WHERE lock = x'' AND gateway = ? AND log = ?",
            (lock_id, gateway_id, journal_id),
        )

    def use_order(self, lock_id: bytes, owner_epoch: int) -> bool:
        """Note that a DecommissionOrder explains a new log of its lock; False where it has explained one already."""
        used = self._sql.execute("INSERT OR IGNORE INTO orders_used VALUES (?, ?)", (lock_id, owner_epoch))
        return used.rowcount == 1

    # Signs of life.

    def note_heard(self, gateway_id: bytes, utc_s: int, within_s: int | None) -> None:
        """Note when new entries were verified, and within how many seconds there will be more (None: as before)."""
        self._sql.execute(
            "INSERT INTO heard VALUES (?, ?, coalesce(?, ?)) ON CONFLICT DO UPDATE"
            " SET utc_s = excluded.utc_s, within_s = coalesce(?, within_s)",
            (gateway_id, utc_s, within_s, SUPERVISION_S, within_s),
        )

    def heard(self) -> tuple[tuple[bytes, int, int], ...]:
        """Return for each gateway when news of it was last verified, and within how long it promised more."""
        return tuple(self._sql.execute("SELECT gateway, utc_s, within_s FROM heard ORDER BY gateway"))

    # What to look at.

    def raise_alarm(self, alarm: AlarmRow) -> None:
        """Raise an alarm; the same one again is counted."""
        self._sql.execute(
            "INSERT INTO alarms VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count, detail = excluded.detail",
            (alarm.gateway_id, alarm.code, alarm.subject, alarm.detail, alarm.count),
        )

    def alarms(self) -> tuple[AlarmRow, ...]:
        """Return all alarms, oldest first."""
        rows = self._sql.execute("SELECT gateway, code, subject, detail, count FROM alarms ORDER BY rowid")
        return tuple(
            AlarmRow(gateway_id=gateway, code=code, subject=subject, detail=detail, count=count)
            for gateway, code, subject, detail, count in rows
        )

    def count(self, name: str) -> None:
        """Count one more of `name`."""
        self._sql.execute("INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1", (name,))

    def counts(self) -> dict[str, int]:
        """Return all counters."""
        return dict(self._sql.execute("SELECT name, count FROM counts"))
