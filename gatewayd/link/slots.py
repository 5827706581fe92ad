"""Who may have one of the adapter's few connections: first come, first served, and whoever is at a door before all.

With no more locks than connections every lock keeps its own. With more, locks take turns: one connection is left to
those that are in a hurry, and who has had its visit makes room when another waits.
"""

from __future__ import annotations

import asyncio
from typing import Final

SLOT_COUNT: Final = 5
"""Connections that every adapter on the market holds at once as a central; many hold more."""
VISIT_MS_MIN: Final = 3_000
"""So long a lock keeps its connection at least, once it is ready, in milliseconds: its state and what is new in its
log are read by then."""
HURRIED_VISIT_MS_MIN: Final = 15_000
"""The same for one at whose door somebody waits: the longest life of a phone's channel."""
ROUND_MS: Final = 100_000
"""A lock that made room comes back so long after it was ready, in milliseconds: with the wait for its turn that is
less than the 120 s after which a shown state is unknown, and no more connections than its budget has."""


class _Call:
    """One holder that can make room."""

    __slots__ = ("called", "visited")

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.visited = False


class Slots:
    """The connections of one adapter. A lock's id is only a name here."""

    def __init__(self, slot_count: int = SLOT_COUNT) -> None:
        self._slot_count = slot_count
        self._members: set[bytes] = set()
        self._waiting: dict[bytes, tuple[asyncio.Future[None], bool]] = {}
        """In the order of coming; with whether it is in a hurry."""
        self._held: dict[bytes, _Call | None] = {}
        """In the order of taking; None until it can make room."""

    def join(self, lock_id: bytes) -> None:
        """A lock will want connections."""
        self._members.add(lock_id)

    def leave(self, lock_id: bytes) -> None:
        """A lock will want none any more."""
        self._members.discard(lock_id)

    @property
    def rotates(self) -> bool:
        """Whether there are more locks than connections."""
        return len(self._members) > self._slot_count

    @property
    def held_count(self) -> int:
        """Connections that are taken."""
        return len(self._held)

    async def take(self, lock_id: bytes, *, urgent: bool) -> None:
        """Wait for a connection; give it back with `give_back`. Safe to cancel."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[lock_id] = (turn, urgent)
        self._settle()
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(lock_id, None)
            self.give_back(lock_id)
            raise

    def hurry(self, lock_id: bytes) -> None:
        """Whoever waits for this lock cannot wait for the others."""
        waiting = self._waiting.get(lock_id)
        if waiting is not None:
            self._waiting[lock_id] = (waiting[0], True)
            self._settle()

    def give_back(self, lock_id: bytes) -> None:
        """The link is down; does nothing without a connection."""
        if lock_id in self._held:
            del self._held[lock_id]
            self._settle()

    async def wanted(self, lock_id: bytes, *, visited: bool) -> None:
        """Wait until another lock needs this one's connection; before it is `visited` only one that is in a hurry."""
        call = self._held.get(lock_id) or _Call()
        call.visited = visited
        self._held[lock_id] = call
        self._settle()
        await call.called.wait()

    def _settle(self) -> None:
        """Let in who can be let in, and call one holder out for each other that waits, in their order."""
        called = [call for call in self._held.values() if call is not None and call.called.is_set()]
        for urgent in (True, False):
            for lock_id in [name for name, (_, hurries) in self._waiting.items() if hurries is urgent]:
                if self._admit(lock_id, urgent=urgent):
                    continue
                if called:
                    called.pop()
                else:
                    self._call_out(urgent=urgent)

    def _admit(self, lock_id: bytes, *, urgent: bool) -> bool:
        reserve_count = 1 if self.rotates and not urgent and self._slot_count > 1 else 0
        if len(self._held) >= self._slot_count - reserve_count:
            return False
        turn, _ = self._waiting.pop(lock_id)
        self._held[lock_id] = None
        if not turn.done():
            turn.set_result(None)
        return True

    def _call_out(self, *, urgent: bool) -> None:
        for call in self._held.values():
            if call is not None and not call.called.is_set() and (call.visited or urgent):
                call.called.set()
                return
