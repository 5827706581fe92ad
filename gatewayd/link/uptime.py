"""The lock's clock as the gateway may use it: only so that delay shortens a deadline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from firmware_protocol.constants import UP_MS_ANSWER_AGE_MS_MAX
from gatewayd.timekeeping import DRIFT_PPM

_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UptimeReading:
    """An authenticated lock's word about its uptime."""

    up_ms: int
    received_ms: int
    """CLOCK_BOOTTIME when the word arrived; it was said no later than that."""

    def fresh(self, now_ms: int) -> bool:
        """Whether a deadline may still be computed from it."""
        return now_ms - self.received_ms <= UP_MS_ANSWER_AGE_MS_MAX

    def before_up_ms(self, *, now_ms: int, left_ms: int) -> int:
        """Return the uptime at which the lock must refuse to start, if it has `left_ms` from now.

        The word was said at or before `received_ms`, so the lock's uptime now is at least what is
        computed here: a word held back in the air, like a command held back, only shortens the time.
        Both clocks may be off by `DRIFT_PPM`, which is taken off too.
        """
        elapsed_ms = max(0, now_ms - self.received_ms)
        drift_ms = -(-elapsed_ms * 2 * DRIFT_PPM // _PPM)
        return self.up_ms + elapsed_ms - drift_ms + left_ms
