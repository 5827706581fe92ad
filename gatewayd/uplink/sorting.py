"""Which received message is next: whoever needs the door never waits behind papers that are sent for later.

A broker has one line. A provider's shift plan puts thousands of grants on it, each dear to verify and to keep, and the
command of somebody at the door may stand behind them all. So the line is read ahead of the work, within bounds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gatewayd.uplink.seam import Incoming

LIVE_COUNT_MAX: Final = 64
"""Messages of those who wait for an answer; more than these wait in the session's own inbox."""
LIVE_RUN_COUNT_MAX: Final = 16
"""So many in a row, and a paper has its turn: a flood must not keep a revocation out."""
PAPER_SIZE_MAX: Final = 8 * 1_024 * 1_024
"""What the waiting papers may take of memory, in bytes: some 13,000 grants. Beyond it the line is not read on."""
PAPER_OVERHEAD_SIZE: Final = 320
"""What Python adds to the bytes of one, in bytes."""
QUIET_S: Final = 0.01
"""Papers wait until none has come for so long, in seconds: while they stream in, a command may stand behind them."""
PAPER_INTERVAL_S: Final = 0.25
"""One is taken so often, in seconds, however fast others come."""


class Sorting:
    """Messages in order of need: live ones, then papers; each kind in the order of its arrival. One putter, one getter.

    Papers are the signed documents (Keyset, Authority, AuthorityState) and the grants. Documents go first: a revocation
    is in force sooner, and a grant finds what bears it out. Nothing is thrown away.
    """

    def __init__(self, *, documents: tuple[str, ...], grants: tuple[str, ...]) -> None:
        """Begin empty; the two say how the topics of papers begin. What begins otherwise is live."""
        self._document_topics = documents
        self._grant_topics = grants
        self._live: deque[Incoming] = deque()
        self._live_run_count = 0
        self._documents: deque[Incoming] = deque()
        self._grants: deque[Incoming] = deque()
        self._waiting: set[tuple[str, bytes]] = set()
        self._paper_size = 0
        self._due_s = 0.0
        """When the next paper may be taken; nought is now."""
        self._quiet_s = 0.0
        """When it is quiet, if no more of them come."""
        self._latest_s = 0.0
        """When the next one is taken, although more of them come."""
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether a putter has to wait."""
        return len(self._live) >= LIVE_COUNT_MAX or self._paper_size >= PAPER_SIZE_MAX

    async def put(self, message: Incoming) -> None:
        """Add a message, waiting for room. A paper that waits here already, byte for byte, is not kept twice."""
        while self.full:
            self._room.clear()
            await self._room.wait()
        if message.topic.startswith(self._document_topics):
            self._put_paper(message, self._documents)
        elif message.topic.startswith(self._grant_topics):
            self._put_paper(message, self._grants)
        else:
            self._live.append(message)
        self._changed.set()

    async def get(self) -> Incoming:
        """Return the next message, waiting for one."""
        while True:
            if self._live and (self._live_run_count < LIVE_RUN_COUNT_MAX or not self._waiting):
                self._live_run_count += 1
                self._room.set()
                return self._live.popleft()
            if self._waiting and (self._live or self.full or self._due_s <= 0):
                self._live_run_count = 0
                return self._take_paper()
            await self._wait()

    async def _wait(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout_at(self._due_s if self._waiting else None):
                await self._changed.wait()
        except TimeoutError:
            self._due_s = 0.0

    def _put_paper(self, message: Incoming, queue: deque[Incoming]) -> None:
        if (message.topic, message.payload) in self._waiting:
            return  # retained papers come again with each session, those of the last one may still be here
        now_s = asyncio.get_running_loop().time()
        self._quiet_s = now_s + QUIET_S
        if not self._waiting:
            self._latest_s = now_s + PAPER_INTERVAL_S
        self._due_s = min(self._quiet_s, self._latest_s)
        self._waiting.add((message.topic, message.payload))
        self._paper_size += _size(message)
        queue.append(message)

    def _take_paper(self) -> Incoming:
        now_s = asyncio.get_running_loop().time()
        self._latest_s = now_s + PAPER_INTERVAL_S
        self._due_s = self._quiet_s if now_s < self._quiet_s else 0.0
        message = (self._documents or self._grants).popleft()
        self._waiting.discard((message.topic, message.payload))
        self._paper_size -= _size(message)
        self._room.set()
        return message


def _size(message: Incoming) -> int:
    return len(message.topic) + len(message.payload) + PAPER_OVERHEAD_SIZE
