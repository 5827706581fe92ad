"""An eavesdropper at the lock, who keeps what the gateway says to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulator.wire import PeripheralHandler, Pipe

COUNT_MAX: Final = 64
"""Most values that are kept: the handshake, and the first records."""


class Tape:
    """A `PeripheralHandler` before the lock's; it keeps the first values of the newest session."""

    def __init__(self, lock: PeripheralHandler) -> None:
        self.values: list[bytes] = []
        self._lock = lock

    def info_value(self) -> bytes:
        """See `PeripheralHandler`."""
        return self._lock.info_value()

    def gateway_connected(self, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self.values = []
        self._lock.gateway_connected(pipe)

    def gateway_value(self, value: bytes) -> None:
        """See `PeripheralHandler`."""
        if len(self.values) < COUNT_MAX:
            self.values.append(value)
        self._lock.gateway_value(value)

    def gateway_disconnected(self) -> None:
        """See `PeripheralHandler`."""
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
