"""Makes a new store: whole or not at all, and never over something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatewayd.store.database import Database, Opening
from gatewayd.store.faults import StoreCode, StoreError
from gatewayd.store.schema import build

if TYPE_CHECKING:
    from pathlib import Path


def create_file(path: Path, *, log_id: bytes) -> None:
    """Make a store with an empty journal called `log_id` (16 random bytes) at `path`, mode 0600.

    It is made beside `path` and appears there whole: a power cut leaves no half store that could later
    pass for a damaged one.

    Raises:
        StoreError: EXISTS: there is something at `path` already, whatever it is; FULL, READ_ONLY, IO.
    """
    _refuse_leftover_logs(path)
    new = path.with_name(f"{path.name}.new")
    try:
        _build_beside(new, log_id)
        os.link(new, path)  # unlike a rename it never replaces anything
        new.unlink()
        sync_folder(path.parent)
    except FileExistsError:
        new.unlink()
        raise StoreError(StoreCode.EXISTS, f"{path}: is there already; a store is never made over another") from None
    except OSError as error:
        raise StoreError(StoreCode.IO, f"{path}: {error.strerror}") from error


def _refuse_leftover_logs(path: Path) -> None:
    # A log left behind by a deleted file would be folded into the new one.
    for log in _logs_of(path):
        if os.path.lexists(log):
            raise StoreError(StoreCode.EXISTS, f"{log}: is there already; it belongs to a store that is gone")


def _logs_of(path: Path) -> tuple[Path, ...]:
    return tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))


def _build_beside(new: Path, log_id: bytes) -> None:
    for leftover in (new, *_logs_of(new)):
        leftover.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    database = Database(new, opening=Opening.NEW)
    try:
        build(database, log_id=log_id)
    finally:
        database.close()


def sync_folder(folder: Path) -> None:
    """See that what was made, renamed or removed in a folder is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
