"""Root follows no link that somebody else has laid among a store's files.

The installer's commands run as root in a folder that belongs to the service's user. Attack: whoever has taken the
service over lays a link in the place of the store or of one of its logs, and has root write into what it points to.
The daemon is stopped then, so nobody can lay one between this look and the opening.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gatewayd.store.faults import StoreCode, StoreError

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


def refuse_laid_links(path: Path) -> None:
    """Refuse a store that is to be written by root through another user's link.

    Raises:
        StoreError: FOREIGN.
    """
    if os.geteuid() != 0:
        return
    for suffix in _SUFFIXES:
        each = path.with_name(path.name + suffix)
        if each.is_symlink() and each.lstat().st_uid != 0:
            raise StoreError(StoreCode.FOREIGN, f"{each}: a link that somebody else has laid; see where it points")
