"""An apsw VFS over the real one that fills up or fails on demand, and counts what reaches the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import apsw

if TYPE_CHECKING:
    import threading
    from pathlib import Path

HOLD_S_MAX: Final = 10
"""Longest that a sync is held, in seconds: a test that fails ends all the same."""


class FaultyDisk(apsw.VFS):
    """Works until told otherwise. Faults are SQLite's own result codes, once or until mended."""

    def __init__(self, name: str) -> None:
        super().__init__(name, base="")
        self.name = name
        self.sync_count = 0
        self.read_count = 0
        self.write_count = 0
        self.written_size = 0
        self._sync_faults: list[int] = []
        self._write_fault: int | None = None
        self._fault_in: str | None = None
        self._fault_while: Path | None = None
        self._hold: tuple[threading.Event, threading.Event] | None = None

    def fail_next_sync(self) -> None:
        """Let the next fsync report EIO, once."""
        self._sync_faults.append(apsw.SQLITE_IOERR_FSYNC)

    def hold_next_sync(self, begun: threading.Event, go: threading.Event) -> None:
        """Let the next fsync take until `go`, as when a card tidies itself up; `begun` is set when it has begun."""
        self._hold = (begun, go)

    def fill(self, *, while_there: Path | None = None, file: str | None = None) -> None:
        """Let writes find no room: in all files or in the one whose name ends so, until mended or a file goes."""
        self._write_fault, self._fault_while, self._fault_in = apsw.SQLITE_FULL, while_there, file

    def mount_read_only(self) -> None:
        """Let every write be refused, as after `errors=remount-ro`."""
        self._write_fault = apsw.SQLITE_READONLY

    def mend(self) -> None:
        """Work again."""
        self._write_fault, self._fault_while, self._fault_in = None, None, None

    def xOpen(  # noqa: N802 - apsw's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open through the real disk."""
        return _FaultyFile(name, flags, self)

    def before_sync(self) -> None:
        """Count an fsync, or fail it."""
        if self._hold is not None:
            (begun, go), self._hold = self._hold, None
            begun.set()
            go.wait(HOLD_S_MAX)
        self.sync_count += 1
        if self._sync_faults:
            raise apsw.exception_for(self._sync_faults.pop())

    def before_write(self, name: str, size: int) -> None:
        """Count a write, or fail it."""
        if self._fault_while is not None and not self._fault_while.exists():
            self.mend()
        if self._write_fault is not None and name.endswith(self._fault_in or ""):
            raise apsw.exception_for(self._write_fault)
        self.write_count += 1
        self.written_size += size


class _FaultyFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: FaultyDisk) -> None:
        super().__init__("", name, flags)
        self._name = "" if name is None else name if isinstance(name, str) else name.filename()
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        self._disk.before_sync()
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - apsw's name
        self._disk.read_count += 1
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.before_write(self._name, len(data))
        super().xWrite(data, offset)
