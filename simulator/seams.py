"""What simulated devices need of the world: time that passes, and chance. Real time, virtual time, seeded or not."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer(Protocol):
    """Something that will happen unless it is cancelled."""

    def cancel(self) -> None:
        """Let it not happen; does nothing when it has."""


class Scheduler(Protocol):
    """A clock that only goes forward, and work at a later time of it."""

    def now_ms(self) -> int:
        """Return the time, in milliseconds from a start of its own."""

    def call_later(self, delay_ms: int, work: Callable[[], None]) -> Timer:
        """Do `work` once `delay_ms` have passed, never within this call."""


class Entropy(Protocol):
    """Where keys, nonces and challenges come from."""

    def token(self, size: int) -> bytes:
        """Return `size` bytes that nobody can guess (or, in tests, that a seed repeats)."""


class LoopScheduler:
    """The running asyncio loop as a `Scheduler`: real time, or virtual where the loop's time is."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now_ms(self) -> int:
        """See `Scheduler`."""
        return int(self._loop.time() * 1_000)

    def call_later(self, delay_ms: int, work: Callable[[], None]) -> Timer:
        """See `Scheduler`."""
        return self._loop.call_later(delay_ms / 1_000, work)


class SystemEntropy:
    """The operating system's `Entropy`."""

    def token(self, size: int) -> bytes:
        """See `Entropy`."""
        return secrets.token_bytes(size)
