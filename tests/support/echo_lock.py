"""A `PeripheralHandler` that says back what it hears and keeps a diary."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.wire import Pipe

INFO: bytes = b"\x01\x01echo"


class EchoLock:
    """Echoes values to whoever sent them. `diary` has one line an event, in order."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.gateway: Pipe | None = None
        self.phones: dict[int, Pipe] = {}
        self._written = asyncio.Event()

    async def wait_for(self, line: str, *, count: int = 1) -> None:
        """Return when `line` stands in the diary `count` times."""
        while self.diary.count(line) < count:
            self._written.clear()
            await self._written.wait()

    def info_value(self) -> bytes:
        """See `PeripheralHandler`."""
        return INFO

    def gateway_connected(self, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self.gateway = pipe
        self._write("gateway connected")

    def gateway_value(self, value: bytes) -> None:
        """See `PeripheralHandler`."""
        assert self.gateway is not None
        self.gateway.send_value(value)

    def gateway_disconnected(self) -> None:
        """See `PeripheralHandler`."""
        self.gateway = None
        self._write("gateway disconnected")

    def phone_connected(self, channel: int, pipe: Pipe) -> None:
        """See `PeripheralHandler`."""
        self.phones[channel] = pipe
        self._write(f"phone {channel} connected")

    def phone_value(self, channel: int, value: bytes) -> None:
        """See `PeripheralHandler`."""
        self.phones[channel].send_value(value)

    def phone_disconnected(self, channel: int) -> None:
        """See `PeripheralHandler`."""
        del self.phones[channel]
        self._write(f"phone {channel} disconnected")

    def _write(self, line: str) -> None:
        self.diary.append(line)
        self._written.set()
