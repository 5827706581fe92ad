"""Wipes files for good: written over, then removed, so that nothing of them is left to whoever reads the disk.

Flash that levels its wear may keep an old copy of what was written over; that is out of a program's reach. What makes
such a copy worthless is the order before: a lock that was let go, or taken over, takes the old keys no more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gatewayd.store.creation import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CHUNK_SIZE: Final = 1_048_576
_RENAMED: Final = ".wiped"


def wipe_store(path: Path) -> tuple[Path, ...]:
    """Wipe a store that nobody has open, with its logs and whatever was put aside; return what was wiped.

    It is renamed first: a power cut in the middle leaves no store, and no half one that could pass for a damaged one.

    Raises:
        OSError: something could not be wiped.
    """
    if path.exists():
        path.rename(path.with_name(path.name + _RENAMED))
        sync_folder(path.parent)
    return wipe_files(sorted(path.parent.glob(f"{path.name}*")))


def wipe_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Wipe those of the files that are there; return which were.

    Raises:
        OSError: one could not be wiped.
    """
    return tuple(path for path in paths if _wipe(path))


def _wipe(path: Path) -> bool:
    if path.is_symlink():
        # Attack: whoever has taken the service over lays a link among its files, and has root wipe what it points to.
        if path.exists() and path.lstat().st_uid in {0, path.stat().st_uid}:
            _wipe(path.resolve())
        path.unlink()
        return True
    if not path.is_file():
        return False
    with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(bytes(min(left, CHUNK_SIZE)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    sync_folder(path.parent)
    return True
