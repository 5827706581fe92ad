"""Time that passes when a test says so."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ManualTimer:
    """See `simulator.seams.Timer`."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work

    def cancel(self) -> None:
        """See `Timer`."""
        self.work = None


class ManualScheduler:
    """A `simulator.seams.Scheduler`; `advance` is the only thing that makes its time pass."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._order = itertools.count()
        self._due: list[tuple[int, int, ManualTimer]] = []

    def now_ms(self) -> int:
        """See `Scheduler`."""
        return self._now_ms

    def call_later(self, delay_ms: int, work: Callable[[], None]) -> ManualTimer:
        """See `Scheduler`."""
        timer = ManualTimer(work)
        heapq.heappush(self._due, (self._now_ms + delay_ms, next(self._order), timer))
        return timer

    def advance(self, duration_ms: int) -> None:
        """Let time pass, doing what falls due in order, each at its own time."""
        end_ms = self._now_ms + duration_ms
        while self._due and self._due[0][0] <= end_ms:
            due_ms, _, timer = heapq.heappop(self._due)
            self._now_ms = max(self._now_ms, due_ms)
            if timer.work is not None:
                timer.work()
        self._now_ms = end_ms
