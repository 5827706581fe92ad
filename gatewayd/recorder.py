"""The one way into the journal: an event, the time as it is known, a salt, in a durable transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from gatewayd.journal.events import TimeStamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.channel import Entropy
    from gatewayd.journal.events import Event
    from gatewayd.journal.journal import Journal
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeper import TimeKeeper

SALT_SIZE: Final = 16
T = TypeVar("T")


class Recorder:
    """Appends events, and tells whoever drains the journal that it has grown."""

    def __init__(self, *, store: Store, journal: Journal, timekeeper: TimeKeeper, entropy: Entropy) -> None:
        self._store = store
        self._journal = journal
        self._timekeeper = timekeeper
        self._entropy = entropy
        self.grown = asyncio.Event()
        """Set after each commit that may have added entries; the drain clears it."""

    def append(self, tx: Transaction, event: Event) -> int:
        """Append inside a transaction of the caller's and return the entry's index."""
        interval = self._timekeeper.interval()
        hi_ms = interval.hi_ms if interval.trusted else None
        self._timekeeper.save(tx)
        return self._journal.append(
            tx, event, time=TimeStamp(lo_ms=interval.lo_ms, hi_ms=hi_ms), salt=self._entropy.token(SALT_SIZE)
        )

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run a transaction that appends; what it returns is durable.

        Raises:
            StoreError: nothing of it was kept.
        """
        result = await self._store.run(work)
        self.grown.set()
        return result

    async def record(self, event: Event) -> int:
        """Append one event durably and return its index.

        Raises:
            StoreError: it was not kept.
        """
        return await self.run(lambda tx: self.append(tx, event))
