"""The one SQLite connection: its settings, its transactions, and its faults. The only importer of apsw.

Measured over simulated power cuts: WAL with synchronous=NORMAL loses committed rows, FULL and EXTRA lose
none. One connection with an exclusive lock needs no shared memory, keeps a second daemon out, and never
meets the WAL-reset bug, which needs two.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto, unique
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import apsw

from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.laid_links import refuse_laid_links

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
Bindings: TypeAlias = "Sequence[int | str | bytes | None] | Mapping[str, int | str | bytes | None]"

APPLICATION_ID: Final = 0x434C474B
"""`CLGK`: tells this store from any other SQLite file."""
SCHEMA_VERSION: Final = 5
"""Of the newest schema (`schema.STEPS`); a file of a higher one is opened where that one says that this is enough."""
WAL_PAGE_COUNT: Final = 1_000
"""The write-ahead log is folded back into the file at this length, in pages of 4 KiB."""
WAL_PAGE_COUNT_MAX: Final = 8_000
"""A log that cannot be folded (no room in the file, a disk that fails) grows to this length, and no further: 32 MiB."""
WAL_SIZE_KEPT: Final = 8 * 1024 * 1024
"""What a burst has made longer than this, in bytes, is cut again."""

VOLATILE: Final = (
    "PRAGMA temp_store = MEMORY; "
    "CREATE TEMP TABLE volatile (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"
)
"""What may be forgotten at a restart, but is part of a transaction until then: session counters, the sent mark."""

_CODES: Final[Mapping[int, StoreCode]] = {
    apsw.SQLITE_BUSY: StoreCode.LOCKED,
    apsw.SQLITE_LOCKED: StoreCode.LOCKED,
    apsw.SQLITE_FULL: StoreCode.FULL,
    apsw.SQLITE_IOERR_SHMSIZE: StoreCode.FULL,  # a reader beside nobody, for whose index there is no room
    apsw.SQLITE_READONLY: StoreCode.READ_ONLY,
    apsw.SQLITE_PERM: StoreCode.READ_ONLY,
    apsw.SQLITE_CORRUPT: StoreCode.DAMAGED,
    apsw.SQLITE_NOTADB: StoreCode.DAMAGED,
    apsw.SQLITE_IOERR: StoreCode.IO,
    apsw.SQLITE_CANTOPEN: StoreCode.IO,
    apsw.SQLITE_NOMEM: StoreCode.IO,
}
_DETAILS: Final[Mapping[StoreCode, str]] = {
    StoreCode.LOCKED: "another process has it open; is gatewayd running?",
    StoreCode.FULL: "the disk is full; make room",
    StoreCode.READ_ONLY: "it cannot be written; check its owner, its mode and the mount",
    StoreCode.DAMAGED: "it is damaged; it is left as it is",
    StoreCode.IO: "the disk failed",
}


def fault_of(error: apsw.Error, path: Path) -> StoreError:
    """Translate by SQLite's result code, never by text: the text changes between releases."""
    result = getattr(error, "result", apsw.SQLITE_MISUSE)
    extended = getattr(error, "extendedresult", result)
    code = _CODES.get(extended) or _CODES.get(result, StoreCode.MISUSE)
    detail = _DETAILS.get(code, "a statement that the schema does not allow")
    return StoreError(code, f"{path}: {detail} (SQLite result {extended})")


class Transaction:
    """What a work may do while its transaction is open, and not after."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self.must_cut_log = False
        """Whether earlier versions of what it changes are to leave the disk with its commit."""

    def cut_log(self) -> None:
        """Leave no earlier version of any page in the write-ahead log once this is durable."""
        self.must_cut_log = True

    def execute(self, sql: str, bindings: Bindings = ()) -> list[Row]:
        """Run one statement and return its rows.

        Raises:
            StoreError: by SQLite's result code.
        """
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise fault_of(error, self._path) from error


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """A work's result; it is durable."""

    value: T


@dataclass(frozen=True, slots=True)
class Dropped:
    """Nothing of the work was kept, for this reason."""

    error: BaseException


Outcome: TypeAlias = "Kept[Any] | Dropped"
Work: TypeAlias = "Callable[[Transaction], Any]"


@unique
class Opening(Enum):
    """What a file is opened for."""

    DAEMON = auto()
    """To be the one writer."""
    NEW = auto()
    """To make a store of an empty file."""
    INSPECTION = auto()
    """To read what is there while nobody writes."""
    SALVAGE = auto()
    """To take out of a copy of a damaged file what can still be read."""
    READING = auto()
    """To go on reading where the file system is mounted read-only: nobody writes there, and nothing can be locked."""


_READ_ONLY: Final = frozenset({Opening.INSPECTION, Opening.READING})
_FLAGS: Final = MappingProxyType(
    {
        Opening.DAEMON: apsw.SQLITE_OPEN_READWRITE,
        Opening.NEW: apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
        Opening.INSPECTION: apsw.SQLITE_OPEN_READONLY,
        Opening.SALVAGE: apsw.SQLITE_OPEN_READWRITE,
        Opening.READING: apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
    }
)


class Database:
    """The connection, used by one thread at a time."""

    def __init__(self, path: Path, *, opening: Opening = Opening.DAEMON, vfs: str | None = None) -> None:
        """Open a file and take its lock.

        Raises:
            StoreError: ABSENT, LOCKED, READ_ONLY, FOREIGN, DAMAGED, NEWER_SCHEMA, IO; the file is left as it is.
        """
        if opening is not Opening.NEW:
            refuse_non_file(path)
        if opening is Opening.DAEMON:
            refuse_laid_links(path)
        self.path = path
        if opening is Opening.INSPECTION and is_mounted_read_only(path):
            opening = Opening.READING
        self._opening = opening
        # A write lock needs a file that can be written: without one SQLite cannot even read a log that was left.
        self._vfs = "unix-none" if opening is Opening.READING else vfs
        self.fold_fault: str | None = None
        """Why the write-ahead log could not be folded into the file, of `StoreCode`; None where it could."""
        self.has_written = False
        """Whether the last batch reached the disk."""
        self._wal_page_count = 0
        self._is_bounded = False
        self._connection: apsw.Connection | None = self._connect()

    @property
    def is_writable(self) -> bool:
        """Whether it was opened to be written."""
        return self._opening not in _READ_ONLY

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Run one work in a durable transaction and return its result.

        Raises:
            StoreError: nothing was kept (IO: it is not known).
        """
        (outcome,) = self.run_batch([work])
        if isinstance(outcome, Dropped):
            raise outcome.error
        kept: T = outcome.value
        return kept

    def run_batch(self, works: Sequence[Work]) -> list[Outcome]:
        """Run the works in one durable transaction and return an outcome for each, in order.

        A work that raises is rolled back alone. A fault of the disk drops all of them; after one that
        leaves open what was written, the connection is replaced before the next batch.
        """
        try:
            return self._run_batch(self._live(), works)
        except StoreError as fault:
            if fault.code in {StoreCode.IO, StoreCode.DAMAGED}:
                self._abandon()
            return [Dropped(fault)] * len(works)

    def look(self, work: Callable[[Transaction], T]) -> T:
        """Run a work that only reads, at one moment of the file, and return its result.

        Raises:
            StoreError: by SQLite's result code.
        """
        transaction = Transaction(self._live(), self.path)
        transaction.execute("BEGIN")
        try:
            return work(transaction)
        finally:
            transaction.execute("ROLLBACK")

    def stream(self, sql: str) -> Iterator[Row]:
        """Yield the rows of one query without holding them all.

        Raises:
            StoreError: by SQLite's result code.
        """
        try:
            yield from self._live().execute(sql)
        except apsw.Error as error:
            raise fault_of(error, self.path) from error

    def compact(self) -> None:
        """Write the file anew, without what was deleted or overwritten: it takes as long as the file is large.

        Raises:
            StoreError: FULL, READ_ONLY, IO; nothing is lost.
        """
        try:
            self._live().execute("VACUUM")
        except apsw.Error as error:
            raise fault_of(error, self.path) from error

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of the lock. Closing twice is fine.

        Raises:
            StoreError: the log could not be folded; what was committed is in it all the same.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except apsw.Error as error:
                _let_go(connection)
                raise fault_of(error, self.path) from error

    def _run_batch(self, connection: apsw.Connection, works: Sequence[Work]) -> list[Outcome]:
        transaction = Transaction(connection, self.path)
        self.has_written = False
        if self._wal_page_count >= WAL_PAGE_COUNT_MAX:
            self._fold(connection)
        transaction.execute("BEGIN" if self._is_bounded else "BEGIN IMMEDIATE")
        try:
            if len(works) == 1:
                outcomes = [self._run_only(connection, transaction, works[0])]
            else:
                outcomes = [self._run_alone(connection, transaction, work) for work in works]
            if connection.in_transaction:
                transaction.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                transaction.execute("ROLLBACK")
            raise
        if transaction.must_cut_log:
            self._fold(connection, apsw.SQLITE_CHECKPOINT_TRUNCATE)
        elif self.has_written and self._wal_page_count >= WAL_PAGE_COUNT:
            self._fold(connection)
        return outcomes

    def _fold(self, connection: apsw.Connection, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> None:
        """Fold the log into the file; one that cannot be folded grows to its bound, then nothing more is written."""
        try:
            connection.wal_checkpoint("main", mode=mode)
            self.fold_fault, self._wal_page_count = None, 0
        except apsw.Error as error:
            self.fold_fault = fault_of(error, self.path).code
        self._is_bounded = self._wal_page_count >= WAL_PAGE_COUNT_MAX
        connection.execute(f"PRAGMA query_only = {int(self._is_bounded)}")

    def _note_written(self, _connection: apsw.Connection, _schema: str, page_count: int) -> int:
        self.has_written, self._wal_page_count = True, page_count
        return apsw.SQLITE_OK

    def _run_only(self, connection: apsw.Connection, transaction: Transaction, work: Work) -> Outcome:
        """Run a work that has the transaction to itself: it needs no savepoint to be rolled back alone."""
        outcome = self._attempt(connection, transaction, work)
        if isinstance(outcome, Dropped):
            transaction.execute("ROLLBACK")
        return outcome

    def _run_alone(self, connection: apsw.Connection, transaction: Transaction, work: Work) -> Outcome:
        transaction.execute("SAVEPOINT work")
        outcome = self._attempt(connection, transaction, work)
        if isinstance(outcome, Dropped):
            transaction.execute("ROLLBACK TO work")
        transaction.execute("RELEASE work")
        return outcome

    def _attempt(self, connection: apsw.Connection, transaction: Transaction, work: Work) -> Outcome:
        try:
            outcome: Outcome = Kept(work(transaction))
        except Exception as error:  # noqa: BLE001 - it is the caller's, and goes back to the caller
            outcome = Dropped(error)
        if not connection.in_transaction:
            # A failing disk makes SQLite roll back everything in mid-statement; a savepoint after that would
            # be a transaction of its own.
            raise _fault_behind(outcome, self.path)
        return outcome

    def _live(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _abandon(self) -> None:
        # After a failed write or fsync the page cache may show what the disk does not hold (Rebello et al.,
        # "Can Applications Recover from fsync Failures?"): closing folds back what was committed, and a new
        # connection reads nothing that this one had in memory.
        connection, self._connection = self._connection, None
        if connection is not None:
            _let_go(connection)

    def _connect(self) -> apsw.Connection:
        try:
            connection = apsw.Connection(self._name(), flags=_FLAGS[self._opening], vfs=self._vfs)
        except apsw.Error as error:
            raise fault_of(error, self.path) from error
        try:
            self._admit(connection)
            if self.is_writable:
                _set_up(connection)
                connection.set_wal_hook(self._note_written)  # instead of SQLite's own folding, whose faults are silent
            connection.execute(VOLATILE)
        except apsw.Error as error:
            _let_go(connection)
            raise fault_of(error, self.path) from error
        except StoreError:
            _let_go(connection)
            raise
        return connection

    def _name(self) -> str:
        if self._opening is not Opening.READING or self.path.with_name(f"{self.path.name}-wal").exists():
            return str(self.path)
        # Stopped in order, the file has no log any more, and SQLite reads it only if it may make one: unless it is told
        # that nobody can write there.
        return f"{self.path.absolute().as_uri()}?immutable=1"

    def _admit(self, connection: apsw.Connection) -> None:
        """Take the lock and read the header; nothing is written, whatever the file turns out to be."""
        # A file is input too: no function or view that a stranger wrote into its schema is run.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if self._opening is not Opening.INSPECTION:
            # Before the first access: then the index of the log is kept in memory, not in a shared file.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            if self.is_writable and connection.readonly("main"):
                raise StoreError(StoreCode.READ_ONLY, f"{self.path}: {_DETAILS[StoreCode.READ_ONLY]}")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        application_id, version = (_number(connection, f"PRAGMA {name}") for name in ("application_id", "user_version"))
        if self._opening is Opening.SALVAGE:
            return
        if _is_cut(self.path, _number(connection, "PRAGMA page_size")):
            raise StoreError(StoreCode.DAMAGED, f"{self.path}: cut in the middle of a page")
        if self._opening is not Opening.NEW and application_id != APPLICATION_ID:
            raise StoreError(StoreCode.FOREIGN, f"{self.path}: a database, but no store of this gateway")
        if version > SCHEMA_VERSION and _number(connection, "SELECT readable_from FROM gateway") > SCHEMA_VERSION:
            detail = f"written by a newer gatewayd (schema {version}, this one knows {SCHEMA_VERSION})"
            raise StoreError(StoreCode.NEWER_SCHEMA, f"{self.path}: {detail}")


def sqlite_version() -> str:
    """Return the version of the SQLite that is linked in."""
    return apsw.sqlite_lib_version()


def is_mounted_read_only(path: Path) -> bool:
    """Tell whether nobody can write on the file system of this file."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False  # the opening finds out what is wrong


def _let_go(connection: apsw.Connection) -> None:
    with suppress(apsw.Error):  # on a disk that fails the closing fails too; what it failed of first is what counts
        connection.close(force=True)


def _is_cut(path: Path, page_size: int) -> bool:
    # SQLite finds whole pages missing, but reads half a page as if zeros followed. While the write-ahead log holds
    # something, a fold that a power cut interrupted may have left half a page: the log has it whole.
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size % page_size != 0 and not (log.exists() and log.stat().st_size)


def _number(connection: apsw.Connection, sql: str) -> int:
    ((number,),) = connection.execute(sql).fetchall()
    return int(number or 0)


def _set_up(connection: apsw.Connection) -> None:
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_SIZE_KEPT}")
    connection.execute("PRAGMA secure_delete = FAST")  # no stale copy of a row stays beside it; costs no writing


def _fault_behind(outcome: Outcome, path: Path) -> StoreError:
    match outcome:
        case Dropped(error=StoreError() as fault):
            return fault
        case _:
            return StoreError(StoreCode.IO, f"{path}: SQLite has rolled the transaction back")


def refuse_non_file(path: Path) -> None:
    """Refuse what is no store at a glance. Never opens the file: closing it again would drop POSIX locks.

    Raises:
        StoreError: ABSENT; FOREIGN, not a file; DAMAGED, empty, or a write-ahead log without its file.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.with_name(f"{path.name}-wal").exists():
            raise StoreError(StoreCode.DAMAGED, f"{path}: gone, but its write-ahead log is still there") from None
        raise StoreError(StoreCode.ABSENT, f"{path}: there is no store here") from None
    except OSError as error:
        raise StoreError(StoreCode.IO, f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(StoreCode.FOREIGN, f"{path}: not a file")
    if status.st_size == 0:
        raise StoreError(StoreCode.DAMAGED, f"{path}: empty; everything that it held is gone")
