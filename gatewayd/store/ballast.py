"""Room kept back on the disk, given up when the disk is full: a full disk can neither delete nor fold its log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

BALLAST_SIZE: Final = 4 * 1024 * 1024
"""Bytes: some hundred events one by one, and the alarm that says why."""
ROOM_FACTOR: Final = 4
"""It is laid again once so many times its size are free: else it would come and go."""


class Ballast:
    """A file beside the store that holds nothing. Never raises: it must not stop what it is there for."""

    def __init__(self, store: Path, size: int = BALLAST_SIZE) -> None:
        self.path = store.with_name(f"{store.name}.ballast")
        self._size = size

    def lay(self) -> bool:
        """See that it is there, and return whether it is."""
        try:
            if self.path.exists() and self.path.stat().st_size >= self._size:
                return True
            if not self._has_room():
                return False
            descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)  # a hole would hold no room
            finally:
                os.close(descriptor)
        except OSError:
            self.spend()
            return False
        return True

    def spend(self) -> bool:
        """Give its room to others; False where there was none."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True

    def _has_room(self) -> bool:
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize >= ROOM_FACTOR * self._size
