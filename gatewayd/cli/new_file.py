"""A file that a command makes for people to take along: there whole, or not at all, and never over another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MODE: Final = 0o600


def write_new(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that only its owner can read; whatever stops it in the middle leaves none.

    It is made in its place and not linked there: what people take along is often a FAT stick, which has no links.

    Raises:
        OSError: it is there already, or cannot be written; `filename` says which.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except FileExistsError as error:
        raise OSError(error.errno, "is there already and stays as it is; name a new file", str(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(descriptor)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
