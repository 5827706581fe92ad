"""At most so many things in so much time, for answers that nobody has earned."""

from __future__ import annotations


class Pace:
    """A bucket of `burst` that refills one each `interval_s` seconds."""

    def __init__(self, *, burst: int, interval_s: float) -> None:
        self._interval_s = interval_s
        self._slack_s = (burst - 1) * interval_s
        self._arrival_s = float("-inf")
        """When the bucket is full again (GCRA's theoretical arrival time)."""

    def allows(self, now_s: float) -> bool:
        """Take one out of the bucket, unless it is empty."""
        arrival_s = max(self._arrival_s, now_s)
        if arrival_s - now_s > self._slack_s:
            return False
        self._arrival_s = arrival_s + self._interval_s
        return True
