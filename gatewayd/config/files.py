"""Reading the small files that a configuration is made of, with every way in which that fails."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

READ_BY_OTHERS: Final = 0o077
"""Permission bits that a secret must not have: anything for the group or for others."""
WRITTEN_BY_OTHERS: Final = 0o002
"""Permission bit that what we trust must not have."""


class FileProblem(Exception):  # noqa: N818 - caught and turned into a ConfigProblem, which says where
    """A file that cannot be used: `problem` and `hint` as in `ConfigProblem`; `absent`: there is none."""

    def __init__(self, problem: str, hint: str = "", *, absent: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.absent = absent

    def __str__(self) -> str:
        return f"{self.problem} ({self.hint})" if self.hint else self.problem


def read_file(path: Path, *, size_max: int, forbidden_mode: int = 0) -> bytes:
    """Return the content of a regular file, whose mode has none of the bits `forbidden_mode`.

    Raises:
        FileProblem: absent, unreadable, no file, too long, or open to others.
    """
    try:
        # Without O_NONBLOCK, a FIFO under this name would hold the start for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _cannot_open(error) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)  # `open` would refuse a folder in words of its own
        raise FileProblem("is a folder, not a file" if stat.S_ISDIR(status.st_mode) else "is not a file")
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, so that what is checked is what is read
        if status.st_mode & forbidden_mode:
            raise _too_open(path, stat.S_IMODE(status.st_mode), writing_only=forbidden_mode == WRITTEN_BY_OTHERS)
        content = file.read(size_max + 1)
    if len(content) > size_max:
        raise FileProblem(f"has more than {size_max} bytes")
    return content


def _cannot_open(error: OSError) -> FileProblem:
    match error:
        case FileNotFoundError():
            return FileProblem("does not exist", absent=True)
        case PermissionError():
            return FileProblem(f"cannot be read by uid {os.geteuid()}", "give it to the user of the service")
        case _:
            return FileProblem(f"cannot be opened: {os.strerror(error.errno or 0)}")


def _too_open(path: Path, mode: int, *, writing_only: bool) -> FileProblem:
    if writing_only:
        return FileProblem(f"can be written by anybody (mode {mode:04o})", f"chmod o-w {path}")
    return FileProblem(f"is a secret that others can read (mode {mode:04o})", f"chmod 600 {path}")
