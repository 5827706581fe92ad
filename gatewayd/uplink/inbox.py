"""Received messages between a broker's callback and the coroutine that reads them: bounded, and it can end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gatewayd.uplink.seam import INCOMING_COUNT_MAX, BrokerCode, BrokerError, Incoming

if TYPE_CHECKING:
    from collections.abc import Callable


class Inbox:
    """Messages in order. One reader.

    Nothing is thrown away when it is full: a retained grant that was dropped would be missed until the next
    connect. `full` tells the session to stop reading, and `on_room` when it may go on.
    """

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._on_room = on_room
        self._messages: deque[Incoming] = deque()
        self._changed = asyncio.Event()
        self._ended: BrokerError | None = None
        self._was_full = False

    @property
    def full(self) -> bool:
        """Whether the session should stop reading."""
        return len(self._messages) >= INCOMING_COUNT_MAX

    def put(self, message: Incoming) -> None:
        """Add a message. What a read has already begun may still come in beyond the bound."""
        self._messages.append(message)
        self._was_full = self._was_full or self.full
        self._changed.set()

    def end(self, code: BrokerCode, detail: str) -> None:
        """No more messages will come; the reader gets those that are here and then this error."""
        self._ended = BrokerError(code, detail)
        self._changed.set()

    async def get(self) -> Incoming:
        """Return the oldest message, waiting for one.

        Raises:
            BrokerError: the session has ended and the inbox is empty.
        """
        while not self._messages:
            if self._ended is not None:
                raise BrokerError(self._ended.broker_code, self._ended.detail)
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        if self._was_full and len(self._messages) <= INCOMING_COUNT_MAX // 2:
            self._was_full = False
            self._on_room()
        return message
