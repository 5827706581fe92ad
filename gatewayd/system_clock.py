"""The only reader of this machine's clocks and of its randomness for secrets."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatewayd.timekeeping import Instant

if TYPE_CHECKING:
    from collections.abc import Mapping

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
BOOT_CREDENTIAL: Final = "machine-boot"
"""The same file among the credentials: the service sees nothing of /proc but processes."""


def machine_boot(environ: Mapping[str, str]) -> str:
    """Return the machine's id of its boot: CLOCK_BOOTTIME counts from there.

    Raises:
        OSError: it can't be read.
    """
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), BOOT_CREDENTIAL)
    return (credential if credential.is_file() else BOOT_ID).read_text().strip()


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
