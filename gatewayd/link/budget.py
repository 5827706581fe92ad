"""How often a lock may be connected to: every connection costs it battery. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

CONNECT_BURST: Final = 30
"""Connections that may follow each other without a pause: a bad hour of the air."""
CONNECT_REFILL_MS: Final = 100_000
"""One more is allowed each so many milliseconds: 36 an hour. A connection with its handshake costs a lock about 3 µAh,
so that a day at this rate takes 2.6 mAh of some 2 500; an idle link that is held takes 0.4 a day."""
CONNECTS_PER_DAY_MAX: Final = CONNECT_BURST + 24 * 3_600_000 // CONNECT_REFILL_MS
"""What no day exceeds, but for commands that were permitted: 894."""
_HOUR_MS: Final = 3_600_000


class ConnectBudget:
    """One lock's. Takes monotonic milliseconds."""

    def __init__(self, now_ms: int) -> None:
        self._level_ms = CONNECT_BURST * CONNECT_REFILL_MS
        self._at_ms = now_ms
        self._recent: deque[int] = deque()

    def spend(self, now_ms: int) -> None:
        """Note a connection that came up. What is permitted beyond the budget is owed to it, down to nothing."""
        self._level_ms = max(0, self._level(now_ms) - CONNECT_REFILL_MS)
        self._at_ms = now_ms
        self._recent.append(now_ms)
        self._forget(now_ms)

    def wait_ms(self, now_ms: int) -> int:
        """Return how long the next connection has to wait, in milliseconds."""
        return max(0, CONNECT_REFILL_MS - self._level(now_ms))

    def left(self, now_ms: int) -> int:
        """Return how many connections may follow at once."""
        return self._level(now_ms) // CONNECT_REFILL_MS

    def hour_count(self, now_ms: int) -> int:
        """Return the connections of the last hour."""
        self._forget(now_ms)
        return len(self._recent)

    def _level(self, now_ms: int) -> int:
        return min(CONNECT_BURST * CONNECT_REFILL_MS, self._level_ms + now_ms - self._at_ms)

    def _forget(self, now_ms: int) -> None:
        while self._recent and self._recent[0] <= now_ms - _HOUR_MS:
            self._recent.popleft()
