"""The only reader of this machine's clocks and of its randomness for secrets."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Final

from gatewayd.timekeeping import Instant

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""The machine's id of its boot: CLOCK_BOOTTIME counts from there."""


class SystemClock:
    """CLOCK_MONOTONIC, CLOCK_BOOTTIME and the wall clock, read together."""

    def now(self) -> Instant:
        """Read the clocks, in milliseconds."""
        return Instant(
            monotonic_ms=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000,
            boottime_ms=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
            utc_ms=time.time_ns() // 1_000_000,
        )


class SystemEntropy:
    """The kernel's generator."""

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes."""
        return secrets.token_bytes(size)
