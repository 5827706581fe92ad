"""Holds the signed proof that somebody else has our keys, over restarts, until a new PairingOrder ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gatewayd.store import suspicions
from gatewayd.store.store import StoreError

if TYPE_CHECKING:
    from gatewayd.store.store import Store, Transaction

_log = structlog.get_logger()


class Suspicion:
    """Whether this gateway is SUSPECT. It is never entered on an unsigned word: a broker could shut a fleet's doors."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self.active = False

    async def load(self) -> None:
        """Read what an earlier run has kept, and what a PairingOrder has ended since.

        Raises:
            StoreError: the store cannot be read.
        """
        self.active = bool(await self._store.run(suspicions.load_suspicions))

    async def enter(self, reason: str, lock_id: bytes | None = None) -> None:
        """Believe it from now on, of one lock or of all. What cannot be kept is believed until the next start."""
        self.active = True

        def keep(tx: Transaction) -> None:
            if lock_id is None:
                suspicions.suspect_all(tx, reason)
            else:
                suspicions.suspect(tx, lock_id, reason)

        try:
            await self._store.run(keep)
        except StoreError as error:
            _log.error("store.unavailable", code=error.code)
