"""An apsw VFS over the real one that fills up or fails on demand, and counts what reaches the disk."""

from __future__ import annotations

import apsw


class FaultyDisk(apsw.VFS):
    """Works until told otherwise. Faults are SQLite's own result codes, once or until mended."""

    def __init__(self, name: str) -> None:
        super().__init__(name, base="")
        self.name = name
        self.sync_count = 0
        self.write_count = 0
        self.written_size = 0
        self._sync_faults: list[int] = []
        self._write_fault: int | None = None

    def fail_next_sync(self) -> None:
        """Let the next fsync report EIO, once."""
        self._sync_faults.append(apsw.SQLITE_IOERR_FSYNC)

    def fill(self) -> None:
        """Let every write find no room."""
        self._write_fault = apsw.SQLITE_FULL

    def mount_read_only(self) -> None:
        """Let every write be refused, as after `errors=remount-ro`."""
        self._write_fault = apsw.SQLITE_READONLY

    def mend(self) -> None:
        """Work again."""
        self._write_fault = None

    def xOpen(  # noqa: N802 - apsw's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open through the real disk."""
        return _FaultyFile(name, flags, self)

    def before_sync(self) -> None:
        """Count an fsync, or fail it."""
        self.sync_count += 1
        if self._sync_faults:
            raise apsw.exception_for(self._sync_faults.pop())

    def before_write(self, size: int) -> None:
        """Count a write, or fail it."""
        if self._write_fault is not None:
            raise apsw.exception_for(self._write_fault)
        self.write_count += 1
        self.written_size += size


class _FaultyFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: FaultyDisk) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        self._disk.before_sync()
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.before_write(len(data))
        super().xWrite(data, offset)
