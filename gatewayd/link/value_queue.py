"""Received values between a radio's callback and the coroutine that reads them: bounded, and it can end."""

from __future__ import annotations

import asyncio
from collections import deque

from gatewayd.link.radio import VALUE_QUEUE_COUNT_MAX, RadioCode, RadioError


class ValueQueue:
    """At most `VALUE_QUEUE_COUNT_MAX` values in order. One reader."""

    def __init__(self) -> None:
        self._values: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the link is gone; values may still wait to be read."""
        return self._ended

    def put(self, value: bytes) -> bool:
        """Add `value` and return True; on overflow end, forget everything and return False.

        A message with a hole in it is worth nothing, so nothing of it is kept.
        """
        if self._ended:
            return True
        if len(self._values) == VALUE_QUEUE_COUNT_MAX:
            self._values.clear()
            self.end()
            return False
        self._values.append(value)
        self._changed.set()
        return True

    def end(self) -> None:
        """No more values will come; the reader gets those that are here and then the error."""
        self._ended = True
        self._changed.set()

    async def get(self) -> bytes:
        """Return the oldest value, waiting for one.

        Raises:
            RadioError: `radio.disconnected`, the queue has ended and is empty.
        """
        while not self._values:
            if self._ended:
                raise RadioError(RadioCode.DISCONNECTED)
            self._changed.clear()
            await self._changed.wait()
        return self._values.popleft()
