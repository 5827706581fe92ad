"""How a lock's radio misbehaves, between its GATT server and its firmware: whatever firmware a gateway may meet.

Counts are of values on the gateway's link, from each connection on; 0 is never. What is true of the bolt stays true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.seams import Scheduler
    from simulator.wire import PeripheralHandler, Pipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What goes wrong."""

    latency_ms: int = 0
    """Every value to the gateway is late by this, in milliseconds; the order stays."""
    drop_after: int = 0
    """The link drops once so many values have come from the gateway, before any of them is answered."""
    mute_after: int = 0
    """Nothing is sent any more once so many values have come from the gateway, and nothing is heard: the link stays."""
    reboot_after: int = 0
    """The lock reboots once so many values have come from the gateway."""
    garble_every: int = 0
    """Every so many-th value to the gateway has a bit flipped."""
    cut_every: int = 0
    """Every so many-th value to the gateway lacks its last byte."""
    double_every: int = 0
    """Every so many-th value to the gateway is sent twice."""


class QuirkyLock:
    """A `PeripheralHandler` before another. Phones are served without a quirk."""

    def __init__(
        self, lock: PeripheralHandler, quirks: Quirks, scheduler: Scheduler, *, reboot: Callable[[], None]
    ) -> None:
        self._lock = lock
        self._quirks = quirks
        self._scheduler = scheduler
        self._reboot = reboot
        self._pipe: QuirkyPipe | None = None
        self._heard_count = 0

    def info_value(self) -> bytes:
        """See `PeripheralHandler`."""
        return self._lock.info_value()

    def gateway_connected(self, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self._heard_count = 0
        self._pipe = QuirkyPipe(pipe, self._quirks, self._scheduler)
        self._lock.gateway_connected(self._pipe)

    def gateway_value(self, value: bytes) -> None:
        """See `PeripheralHandler`."""
        pipe = self._pipe
        if pipe is None:
            return
        self._heard_count += 1
        if self._heard_count == self._quirks.drop_after:
            pipe.end()
            self._lock.gateway_value(value)
            pipe.disconnect()
            return
        if self._heard_count == self._quirks.reboot_after:
            self._reboot()
            return
        if self._quirks.mute_after and self._heard_count >= self._quirks.mute_after:
            pipe.end()
            return
        self._lock.gateway_value(value)

    def gateway_disconnected(self) -> None:
        """See `PeripheralHandler`."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.end()
        self._lock.gateway_disconnected()

    def phone_connected(self, channel: int, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self._lock.phone_connected(channel, pipe)

    def phone_value(self, channel: int, value: bytes) -> None:
        """See `PeripheralHandler`."""
        self._lock.phone_value(channel, value)

    def phone_disconnected(self, channel: int) -> None:
        """See `PeripheralHandler`."""
        self._lock.phone_disconnected(channel)


class QuirkyPipe:
    """The gateway's `Pipe`, with what goes wrong on the way out."""

    def __init__(self, pipe: Pipe, quirks: Quirks, scheduler: Scheduler) -> None:
        self._pipe = pipe
        self._quirks = quirks
        self._scheduler = scheduler
        self._sent_count = 0
        self._has_ended = False

    @property
    def value_size_max(self) -> int:
        """See `Pipe`."""
        return self._pipe.value_size_max

    def send_value(self, value: bytes) -> None:
        """See `Pipe`."""
        self._sent_count += 1
        if self._is_due(self._quirks.garble_every):
            value = value[:-1] + bytes((value[-1] ^ 1,))
        if self._is_due(self._quirks.cut_every):
            value = value[:-1]
        self._send(value)
        if self._is_due(self._quirks.double_every):
            self._send(value)

    def disconnect(self) -> None:
        """See `Pipe`."""
        self._pipe.disconnect()

    def end(self) -> None:
        """Send nothing any more."""
        self._has_ended = True

    def _is_due(self, every: int) -> bool:
        return every > 0 and self._sent_count % every == 0

    def _send(self, value: bytes) -> None:
        if self._quirks.latency_ms:
            self._scheduler.call_later(self._quirks.latency_ms, lambda: self._send_now(value))
        else:
            self._send_now(value)

    def _send_now(self, value: bytes) -> None:
        if not self._has_ended:
            self._pipe.send_value(value)
