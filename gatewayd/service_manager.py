"""What systemd hears: the notification protocol of sd_notify(3), and a watchdog that means something."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayd.timekeeping import Clock

STATUS_SIZE_MAX: Final = 256
"""Longest status text, in characters."""
FEEDS_PER_INTERVAL: Final = 4
"""The watchdog is fed at most so often in its interval, and sd_watchdog_enabled(3) asks for at least twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceManager:
    """The way to systemd. Without one, everything here does nothing."""

    address: str | None = None
    """A path, or an abstract name after `@`."""
    watchdog_interval_ms: int | None = None
    """Longest silence before systemd kills the daemon, in milliseconds; None: it does not watch."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ServiceManager:
        """Read $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID; a watchdog for another process is not ours."""
        address = environ.get("NOTIFY_SOCKET", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval_us = environ.get("WATCHDOG_USEC", "")
        watched = ours and interval_us.isascii() and interval_us.isdigit() and int(interval_us) > 0
        return cls(
            address=address if address[:1] in {"/", "@"} and len(address) > 1 else None,
            watchdog_interval_ms=int(interval_us) // 1_000 if watched else None,
        )

    def ready(self) -> None:
        """Say that start-up, or a reload, is over."""
        self._send("READY=1")

    def reloading(self, monotonic_ms: int) -> None:
        """Say that a reload has begun; `ready` ends it."""
        # Rounded up: systemd wants a time that is not before its own signal.
        self._send("RELOADING=1", f"MONOTONIC_USEC={(monotonic_ms + 1) * 1_000}")

    def stopping(self) -> None:
        """Say that the daemon is on its way out."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`; line breaks in it become blanks."""
        self._send("STATUS=" + " ".join(text.split())[:STATUS_SIZE_MAX])

    def feed_watchdog(self) -> None:
        """Say that the daemon lives, to whoever watches. Only `Watchdog` should."""
        if self.watchdog_interval_ms is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self.address is None:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messenger:
            messenger.setblocking(False)  # noqa: FBT003 - the standard library's signature
            # A door must not wait for systemd, and systemd that hears nothing restarts us.
            with contextlib.suppress(OSError):
                messenger.sendto("\n".join(lines).encode(), address)


class Watchdog:
    """Feeds systemd's watchdog only when every part has completed some work since the last time.

    A timer of its own would go on while the radio, the store or the uplink hang; this cannot.
    """

    def __init__(self, manager: ServiceManager, parts: Iterable[str], *, clock: Clock) -> None:
        """Expect a beat from each of `parts`."""
        self._manager = manager
        self._parts = frozenset(parts)
        self._silent = set(self._parts)
        self._clock = clock
        self._fed_ms: int | None = None

    @property
    def feed_s(self) -> float:
        """How often a part should beat so that systemd is fed in time, in seconds; infinite where nobody watches."""
        interval_ms = self._manager.watchdog_interval_ms
        return math.inf if interval_ms is None else interval_ms / FEEDS_PER_INTERVAL / 1_000

    @property
    def silent(self) -> frozenset[str]:
        """The parts that have not completed anything since the last feeding."""
        return frozenset(self._silent)

    def beat(self, part: str) -> None:
        """Note that `part` has completed a piece of work.

        Raises:
            ValueError: our own fault, nobody expects this part.
        """
        if part not in self._parts:
            raise ValueError(f"no part of the watchdog is called {part}")
        self._silent.discard(part)
        if not self._silent and self._is_due():
            self._silent = set(self._parts)
            self._fed_ms = self._clock.now().monotonic_ms
            self._manager.feed_watchdog()

    def _is_due(self) -> bool:
        interval_ms = self._manager.watchdog_interval_ms or 0
        if self._fed_ms is None:
            return True
        return self._clock.now().monotonic_ms - self._fed_ms >= interval_ms // FEEDS_PER_INTERVAL
