"""The one way into the journal: an event, the time as it is known, a salt, in a durable transaction.

A transaction runs on the store's writer thread. What it needs of the house's state is taken on the loop
before it starts (`Page`), so that no thread ever looks at what another one is changing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from gatewayd.journal.events import TimeStamp
from gatewayd.store import meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.channel import Entropy
    from gatewayd.journal.events import Event
    from gatewayd.journal.journal import Journal
    from gatewayd.store.meta import StoredTime
    from gatewayd.store.store import Store, Transaction
    from gatewayd.timekeeper import TimeKeeper
    from gatewayd.timekeeping import TimeInterval

SALT_SIZE: Final = 16
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One transaction with the time at which it was begun."""

    tx: Transaction
    time: TimeInterval
    stored_time: StoredTime
    journal: Journal
    entropy: Entropy
    indexes: list[int] = field(default_factory=list)
    """Of what has been appended on it."""

    def append(self, event: Event) -> int:
        """Append an event and return its index; floor and anchors of time ride along."""
        if not self.indexes:
            meta.save_time(self.tx, self.stored_time)
        stamp = TimeStamp(lo_ms=self.time.lo_ms, hi_ms=self.time.hi_ms if self.time.trusted else None)
        index = self.journal.append(self.tx, event, time=stamp, salt=self.entropy.token(SALT_SIZE))
        self.indexes.append(index)
        return index


class Recorder:
    """Runs transactions that may append, and tells whoever drains the journal that it has grown."""

    def __init__(self, *, store: Store, journal: Journal, timekeeper: TimeKeeper, entropy: Entropy) -> None:
        self._store = store
        self._journal = journal
        self._timekeeper = timekeeper
        self._entropy = entropy
        self.grown = asyncio.Event()
        """Set after each commit that may have added entries; the drain clears it."""

    def interval(self) -> TimeInterval:
        """Return the time as it is known now."""
        return self._timekeeper.interval()

    async def run(self, work: Callable[[Page], T]) -> T:
        """Run a transaction; what it returns is durable.

        Raises:
            StoreError: nothing of it was kept.
        """
        time, stored_time = self._timekeeper.interval(), self._timekeeper.to_store()
        evidence = self._timekeeper.evidence
        journal, entropy = self._journal, self._entropy

        def transact(tx: Transaction) -> tuple[T, bool]:
            page = Page(tx=tx, time=time, stored_time=stored_time, journal=journal, entropy=entropy)
            return work(page), bool(page.indexes)

        result, has_appended = await self._store.run(transact)
        if has_appended:
            self._timekeeper.note_saved(evidence)
        self.grown.set()
        return result

    async def record(self, event: Event) -> int:
        """Append one event durably and return its index.

        Raises:
            StoreError: it was not kept.
        """
        return await self.run(lambda page: page.append(event))
