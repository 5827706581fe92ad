"""Lets the first call of the disk fail, then the second, and so on (SQLite's own method), and checks what is left."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import apsw

from gatewayd.journal.verification import Keys, verify_log
from gatewayd.store import commands, database, locks
from gatewayd.store.creation import create_file
from gatewayd.store.faults import StoreError
from gatewayd.store.log import check_whole, read_log
from tests.support.journal_bench import GATEWAY, LOG_ID, SALT, TIME, JournalBench, heartbeat, public
from tests.support.power_cuts import FAST, FOLDED_AT
from tests.support.store_rows import HOME, KID, LOCK, SEEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.store.database import Transaction

WORK_COUNT: Final = 16
_numbers = count(1)


@unique
class Failure(Enum):
    """What fails, and for how long."""

    ONE_CALL = "one call"
    ALL_FROM_ONE_ON = "all calls from one on"
    NO_ROOM_FROM_ONE_ON = "no room from one write on"


class FailingDisk(apsw.VFS):
    """The real disk, on which the n-th call fails."""

    def __init__(self, name: str, failure: Failure, number: int) -> None:
        super().__init__(name, base="")
        self.name = name
        self._failure = failure
        self._number = number
        self.call_count = 0
        self.armed = True

    @property
    def was_met(self) -> bool:
        """Whether there were so many calls."""
        return self.call_count >= self._number

    def call(self, result: int, *, is_write: bool = False) -> None:
        """Count a call, or let it fail with SQLite's own result code."""
        if not self.armed or (self._failure is Failure.NO_ROOM_FROM_ONE_ON and not is_write):
            return
        self.call_count += 1
        if self.call_count == self._number or (self.was_met and self._failure is not Failure.ONE_CALL):
            is_full = self._failure is Failure.NO_ROOM_FROM_ONE_ON
            raise apsw.exception_for(apsw.SQLITE_FULL if is_full else result)

    def xOpen(  # noqa: N802 - apsw's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open."""
        self.call(apsw.SQLITE_CANTOPEN)
        return _FailingFile(name, flags, self)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 - apsw's
        """Delete."""
        self.call(apsw.SQLITE_IOERR_DELETE)
        super().xDelete(filename, syncdir)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802 - apsw's name
        """Look."""
        self.call(apsw.SQLITE_IOERR_ACCESS)
        return super().xAccess(pathname, flags)


class _FailingFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: FailingDisk) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - apsw's name
        self._disk.call(apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.call(apsw.SQLITE_IOERR_WRITE, is_write=True)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's name
        self._disk.call(apsw.SQLITE_IOERR_TRUNCATE, is_write=True)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        self._disk.call(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)

    def xFileSize(self) -> int:  # noqa: N802 - apsw's name
        self._disk.call(apsw.SQLITE_IOERR_FSTAT)
        return super().xFileSize()


@dataclass(slots=True)
class _Told:
    """What the store said."""

    indexes: dict[int, int] = field(default_factory=dict)
    """Journal index by number of the work."""
    counters: list[int] = field(default_factory=list)


def fail_each_call(failure: Failure) -> int:
    """Run the same works with a failure at each call in turn; return how many calls there were.

    Raises:
        AssertionError: something that was acknowledged is lost, doubled or damaged.
    """
    with tempfile.TemporaryDirectory(dir=FAST if FAST.is_dir() else None) as name:
        for number in count(1):
            folder = Path(name) / str(number)
            folder.mkdir()
            if not _fail_at(folder / "store.db", failure, number):
                return number - 1
    raise AssertionError


def _fail_at(path: Path, failure: Failure, number: int) -> bool:
    create_file(path, log_id=LOG_ID)
    first = JournalBench.open(path)
    first.run(lambda tx: locks.save_lock_home(tx, HOME))
    first.database.close()
    disk, told = FailingDisk(f"failing-{next(_numbers)}", failure, number), _Told()
    with patch.object(database, "WAL_PAGE_COUNT", FOLDED_AT), suppress(StoreError):
        bench = JournalBench.open(path, vfs=disk.name)
        for work in range(WORK_COUNT):
            with suppress(StoreError):
                _do(bench, work, told)
        with suppress(StoreError):
            bench.database.close()
    disk.armed = False
    _check(path, told, f"{failure.value}: call {number}")
    return disk.was_met


def _do(bench: JournalBench, number: int, told: _Told) -> None:
    def work(tx: Transaction) -> int:
        index = bench.journal.append(tx, heartbeat(number), time=TIME, salt=SALT)
        row = replace(SEEN, command_id=number.to_bytes(16, "big"), journal_index=index, receipt=bytes(2_000))
        commands.reserve(tx, replace(row, command_seq=locks.next_command_seq(tx, LOCK)))
        return index

    told.indexes[number] = bench.run(work)
    told.counters.append(bench.run(lambda tx: locks.reserve_session_ctr(tx, LOCK)))


def _check(path: Path, told: _Told, name: str) -> None:
    bench = JournalBench.open(path)
    bench.run(lambda tx: check_whole(tx, path))
    assert bench.run(lambda tx: tx.execute("PRAGMA integrity_check")) == [("ok",)], name
    kept: Callable[[Transaction], list[tuple[Any, ...]]] = lambda tx: tx.execute(  # noqa: E731 - typed
        "SELECT command_id, journal_index, command_seq FROM commands WHERE kid = ?", (KID,)
    )
    rows = {int.from_bytes(row[0], "big"): row[1] for row in bench.run(kept)}
    assert told.indexes.items() <= rows.items(), f"{name}: told {told.indexes}, kept {rows}"
    assert sorted(rows.values()) == list(range(bench.marks.size)), name
    counter = bench.run(lambda tx: locks.reserve_session_ctr(tx, LOCK))
    assert len({*told.counters, counter}) == len(told.counters) + 1, f"{name}: a session counter again"
    bench.database.close()
    assert verify_log(read_log(path), keys=Keys(gateway=public(GATEWAY))).problems == (), name
