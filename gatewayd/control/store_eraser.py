"""Erasure for the control socket: in the daemon's open store, with its entry in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayd.journal.events import LogErased
from gatewayd.store.erasure import Erased, erase_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayd.recorder import Page, Recorder


class StoreEraser:
    """Implements `messages.Eraser`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def erase(self, indexes: Sequence[int]) -> Erased:
        """See `Eraser.erase`."""

        def work(page: Page) -> Erased:
            erased = erase_entries(page.tx, indexes)
            if erased.count:
                page.append(LogErased(entry_count=erased.count))
            return erased

        return await self._recorder.run(work)
