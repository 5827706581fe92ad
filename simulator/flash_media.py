"""What a lock's flash is made of: bytes that are appended, and that stay when the power goes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class PowerLostError(Exception):
    """The power went in the middle of a write: whoever was running is not running any more."""


class Medium(Protocol):
    """Durable bytes. Each call that returns has reached the medium."""

    def read(self) -> bytes:
        """Return everything."""

    def append(self, data: bytes) -> None:
        """Add `data` at the end; a power loss leaves any prefix of it.

        Raises:
            PowerLostError: it did.
        """

    def cut(self, size: int) -> None:
        """Drop everything from byte `size` on."""

    def replace(self, data: bytes) -> None:
        """Put `data` in the place of everything, whole or not at all.

        Raises:
            PowerLostError: the power went; the old or the new is there.
        """


class MemoryMedium:
    """A medium for virtual time: it lives as long as the object, whatever happens to the lock."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def read(self) -> bytes:
        """See `Medium`."""
        return bytes(self._data)

    def append(self, data: bytes) -> None:
        """See `Medium`."""
        self._data += data

    def cut(self, size: int) -> None:
        """See `Medium`."""
        del self._data[size:]

    def replace(self, data: bytes) -> None:
        """See `Medium`."""
        self._data = bytearray(data)


class FileMedium:
    """A medium in a file, created when absent; synced at each write, so that SIGKILL and a real power cut are survived.

    Raises:
        OSError: the file or its folder is not there to be used.
    """

    MODE: Final = 0o600

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, self.MODE)
        self._sync_folder()

    def read(self) -> bytes:
        """See `Medium`."""
        return self._path.read_bytes()

    def append(self, data: bytes) -> None:
        """See `Medium`."""
        _write_all(self._file, data)

    def cut(self, size: int) -> None:
        """See `Medium`."""
        os.ftruncate(self._file, size)
        os.fsync(self._file)

    def replace(self, data: bytes) -> None:
        """See `Medium`."""
        fresh = self._path.with_name(self._path.name + ".new")
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, self.MODE)
        _write_all(file, data)
        fresh.replace(self._path)
        self._sync_folder()
        os.close(self._file)
        self._file = file

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class FragileMedium:
    """Another medium on a power supply that can be made to fail at a chosen write."""

    def __init__(self, medium: Medium) -> None:
        self.write_count = 0
        """How many writes have been begun."""
        self.on_lost: Callable[[], None] = lambda: None
        """Told when the power goes: whatever else hangs on the same supply."""
        self._medium = medium
        self._fatal_write: int | None = None
        self._kept_size: int | None = None

    def lose_power_at_write(self, number: int, *, kept_size: int | None = None) -> None:
        """Lose the power in the `number`-th write from now, 1 being the next, after `kept_size` bytes of it.

        With None the write is whole and only the return from it is lost. Once; later writes succeed.
        """
        self._fatal_write = self.write_count + number
        self._kept_size = kept_size

    def read(self) -> bytes:
        """See `Medium`."""
        return self._medium.read()

    def append(self, data: bytes) -> None:
        """See `Medium`."""
        if not self._is_fatal():
            self._medium.append(data)
            return
        self._medium.append(data[: self._kept_size])
        self.on_lost()
        raise PowerLostError

    def cut(self, size: int) -> None:
        """See `Medium`. Done on the way up, where the power is back."""
        self._medium.cut(size)

    def replace(self, data: bytes) -> None:
        """See `Medium`."""
        if not self._is_fatal():
            self._medium.replace(data)
            return
        if self._kept_size is None:
            self._medium.replace(data)
        self.on_lost()
        raise PowerLostError

    def _is_fatal(self) -> bool:
        self.write_count += 1
        return self.write_count == self._fatal_write


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.fsync(file)
