"""Waits that grow from one unanswered attempt to the next."""

from __future__ import annotations


class Patience:
    """`min_s`, then twice as long each time, up to `max_s`; from the start after `reset`."""

    def __init__(self, *, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._next_s = min_s

    def next_s(self) -> float:
        """Return how long to wait this time, in seconds."""
        wait_s, self._next_s = self._next_s, min(self._max_s, 2 * self._next_s)
        return wait_s

    def reset(self) -> None:
        """An answer came: begin anew."""
        self._next_s = self._min_s
