"""The journal for the control socket, read from the daemon's open store in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.store import inspection

if TYPE_CHECKING:
    from gatewayd.journal.copies import LeafCopy
    from gatewayd.journal.journal import SignedCheckpoint
    from gatewayd.store.inspection import LogHeader, StoredTrust
    from gatewayd.store.store import Store


class StoreLog:
    """Implements `messages.LogSource`. Each page is a transaction of its own, so no command waits for a reader."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def header(self) -> LogHeader:
        """See `LogSource.header`."""
        return await self._store.run(inspection.read_header)

    async def leaves(self, from_index: int, count: int, size_max: int) -> tuple[LeafCopy, ...]:
        """See `LogSource.leaves`."""
        return await self._store.run(lambda tx: inspection.read_leaves(tx, from_index, count, size_max))

    async def checkpoints(self, above_size: int, count: int) -> tuple[SignedCheckpoint, ...]:
        """See `LogSource.checkpoints`."""
        return await self._store.run(lambda tx: inspection.read_checkpoints(tx, above_size, count))

    async def trust(self) -> StoredTrust:
        """See `LogSource.trust`."""
        return await self._store.run(inspection.read_trust)
