"""Runs a function as another user: root reads everything, so permissions show only to somebody else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOBODY: Final = 65_534


def let_through(folder: Path) -> None:
    """Let everybody pass (not list) the folders above a test's own."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and each.stat().st_mode & 0o011 != 0o011:
            each.chmod(each.stat().st_mode | 0o011)


def as_nobody(function: Callable[[], str], *, gid: int = NOBODY) -> str:
    """Return what `function` returns in a child process of user 65534 and a group; skips where we are not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(NOBODY)
            os.write(writing, function().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said
