"""Whose bytes are verified next: one command at a time, the channels in turn.

Verifying, and before it looking for the grant that a command names, is the dear part of refusing a stranger. With a
turn for each channel a flood on one of them makes the others wait for one verification, never for the flood; and after
each the loop carries values, feeds the watchdog and reads the radio before the next.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable


class Turns:
    """Used on one loop. How many wait is bounded by whoever hands submissions in."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_taken = False

    @asynccontextmanager
    async def turn(self, channel: Hashable) -> AsyncIterator[None]:
        """Wait for this channel's turn, and hold it for the block."""
        if self._is_taken:
            await self._wait(channel)
        self._is_taken = True
        try:
            yield
        finally:
            # Not at once: who else is ready in this round of the loop is to line up, not to slip through.
            asyncio.get_running_loop().call_soon(self._pass_on)

    async def _wait(self, channel: Hashable) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(channel, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it had just become ours
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            channel, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[channel] = queue  # behind the others now
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._is_taken = False
