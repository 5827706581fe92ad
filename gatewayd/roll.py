"""Which locks are this gateway's now: one value that everybody who asks reads at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Roll:
    """The ids of the locks; replaced as a whole, so that the store's thread too reads one moment of it."""

    def __init__(self, lock_ids: Iterable[bytes]) -> None:
        self.lock_ids = frozenset(lock_ids)

    def add(self, lock_id: bytes) -> None:
        """A lock has become this gateway's."""
        self.lock_ids |= {lock_id}

    def strike(self, lock_id: bytes) -> None:
        """A lock has been let go."""
        self.lock_ids -= {lock_id}
